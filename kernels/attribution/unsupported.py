"""What is said of an operation that no rule covers: which, where in the model, and what to do."""

from __future__ import annotations

from .tracing.operations import Operation, Program

REMEDIES = {
    "softmax": "Explain the logits: leave the softmax (or log-softmax) out of the function",
    "attention": "The product of a softmax with values has no rule yet. To take its weights as constants, so that "
    'relevance goes through the values: layer_map=(("attention", rules.SignalTakesAll()), ("softmax", '
    "rules.Gradient())) in a composite",
    "recurrent": "Unroll the loop in Python",
    "call": "It is a function with a derivative of its own, whose body cuts relevance off. Write it with operations "
    "that have derivatives, or give it a rule",
}


def _trail(operation: Operation, program: Program):
    """The equation and those that its operands come from: JAX hides the lines of its own functions."""
    yield operation.equations[-1]
    for value in operation.inputs:
        if value in program.facts.producer:
            yield program.facts.producer[value]


def no_rule(operation: Operation, program: Program) -> NotImplementedError:
    """Returns the error of an operation without a rule."""
    equation = operation.equations[-1]
    source = next((e.source for e in _trail(operation, program) if e.source), "an unknown line")
    shapes = ", ".join(str(list(value.shape)) for value in equation.inputs)
    position = program.operations.index(operation)
    layer = next((o.name for o in reversed(program.operations[:position]) if o.affine is not None), "the input")
    remedy = REMEDIES.get(operation.kinds[0], "Give it a rule")
    scope = f", in {equation.scope}" if equation.scope else ""
    return NotImplementedError(
        f"no rule for the primitive {equation.primitive!r} of operands {shapes}, after layer {layer!r}{scope}, at "
        f"{source}. {remedy}. A rule for this call alone: by name, "
        f'name_map=(("{operation.name}", rules.Gradient()),) in a composite, or by primitive, '
        f'primitive_rules={{"{equation.primitive}": rule}} in `attribute`, where rule is rules.Gradient(), '
        "rules.Pass(), rules.Norm() or a function (relevance, inputs, outputs, function) that returns the relevance "
        "of the inputs."
    )
