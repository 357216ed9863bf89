"""What is said of an operation that no rule covers: which, where in the model, and what to do."""

from __future__ import annotations

from .tracing.operations import Operation, Program

QUOTIENT = (
    "It divides by something that hangs on the example too, and it is no norm that is known here: a norm divides "
    "values by a sum of squares, of absolute values or a maximum of the same values (by .mean, .sum, jnp.var, einsum, "
    "dot, a product with equal weights, differences of all pairs). Write the norm that way. Weights, values of no "
    "negative sign, are divided by their sum before they are multiplied with others: w / w.sum() first. For attention "
    "leave its softmax as jax.nn.softmax, which has a remedy of its own; to take the gradient through it, give it "
    "rules.Gradient()"
)
PRODUCT = "It is a product of two values that both hang on the example. Give it a rule"
WINDOW = (
    "A maximum over windows that starts from -inf (minimum: inf) has one, and so has one from the dtype's "
    "jnp.finfo(dtype).min, or from 0 behind a ReLU, if each window holds data. Start from -inf, or give it a rule"
)

REMEDIES = {
    "softmax": "Explain the logits: leave the softmax (or log-softmax) out of the function",
    "attention": "The product of a softmax with values has no rule here. Take a composite for attention: "
    "composites.attnlrp(), or composites.cp_lrp(), where its weights are constants; or give this composite "
    'layer_map=(("attention", rules.SignalTakesAll()),)',
    "attention_weights": "These are weights, as of attention. Take a composite for attention, composites.attnlrp() or "
    'composites.cp_lrp(); or give this composite layer_map=(("attention_weights", rules.Softmax()),)',
    "recurrent": "How often this loop runs hangs on arrays: no way leads back through it. Give it a number of steps: "
    "lax.scan, or lax.fori_loop with Python numbers as bounds, and jnp.where for steps that do not count",
    "call": "It is a function with a derivative of its own, whose body cuts relevance off. Write it with operations "
    "that have derivatives, or give it a rule",
}


def _trail(operation: Operation, program: Program):
    """The equation and those that its operands come from: JAX hides the lines of its own functions."""
    yield operation.equations[-1]
    for value in operation.inputs:
        if value in program.facts.producer:
            yield program.facts.producer[value]


def _remedy(operation: Operation) -> str:
    """What the operation is, where its primitive does not say, and what to do."""
    equation = operation.equations[-1]
    if operation.kinds[0] in REMEDIES:
        return REMEDIES[operation.kinds[0]]
    if equation.primitive in ("div", "mul", "dot_general"):
        return QUOTIENT if equation.primitive == "div" else PRODUCT
    if equation.primitive == "reduce_window":
        return WINDOW
    return "Give it a rule"


def no_rule(operation: Operation, program: Program) -> NotImplementedError:
    """Returns the error of an operation without a rule."""
    equation = operation.equations[-1]
    source = next((e.source for e in _trail(operation, program) if e.source), "an unknown line")
    shapes = ", ".join(str(list(value.shape)) for value in equation.inputs)
    position = program.operations.index(operation)
    layer = next((o.name for o in reversed(program.operations[:position]) if o.affine is not None), "the input")
    remedy = _remedy(operation)
    scope = f", in {equation.scope}" if equation.scope else ""
    return NotImplementedError(
        f"no rule for the primitive {equation.primitive!r} of operands {shapes}, after layer {layer!r}{scope}, at "
        f"{source}. {remedy}. A rule for this call alone: by name, "
        f'name_map=(("{operation.name}", rules.Gradient()),) in a composite, or for every one of fn, '
        f'primitive_rules={{"{equation.primitive}": rule}} in `attribute`, where rule is rules.Gradient(), '
        "rules.Pass(), rules.Norm() or a function (relevance, inputs, outputs, function) that returns the relevance "
        "of the inputs."
    )
