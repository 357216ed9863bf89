"""What is said of an operation that no rule covers: which, where in the model, and what to do."""

from __future__ import annotations

from .operations import Operation, Program

REMEDIES = {
    "softmax": "Explain the logits and leave the softmax out of the function, or register a rule",
    "attention": "Products of two values that both hang on the input, as in attention, have no rule yet: register one",
    "recurrent": "Unroll the loop in Python, or register a rule for it",
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
    remedy = REMEDIES.get(operation.kinds[0], "Register one in three lines")
    return NotImplementedError(
        f"no rule for the primitive {equation.primitive!r} of operands {shapes}, after layer {layer!r}"
        f"{f', in {equation.scope}' if equation.scope else ''}, at {source}. {remedy}: "
        f'@attribution.register("{equation.primitive}") above a function (relevance, inputs, outputs, function) that '
        "returns the relevance of the inputs; or give register a rule: rules.Gradient(), rules.Pass(), rules.Norm()."
    )
