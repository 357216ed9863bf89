"""Rules that users register for primitives without one."""

from __future__ import annotations

from collections.abc import Callable

REGISTERED: dict[str, Callable] = {}


def register(primitive: str, rule: Callable | None = None):
    """Registers how relevance passes a primitive, for all calls of `attribute` that are traced afterwards.

    @attribution.register("cumlogsumexp")
    def rule(relevance, inputs, outputs, function):
        return attribution.rules.epsilon_of(function, inputs, relevance)

    Args:
        primitive: its name in the jaxpr, as the error message gives it.
        rule: `rule(relevance, inputs, outputs, function)` gets the relevance of every output, the arrays of the
            operands that relevance can reach, the outputs, and the primitive as a function of these operands that
            returns a tuple of outputs. It returns one relevance for each operand. A rule of `rules`, such as Pass(),
            is taken too. None: use as a decorator.

    Raises:
        ValueError: for something that is neither.
    """
    if rule is None:
        return lambda function: register(primitive, function)
    if not isinstance(primitive, str) or not (callable(rule) or hasattr(rule, "backward")):
        raise ValueError(
            f"register({primitive!r}, {rule!r}): expected the name of a primitive and a function or a rule of `rules`."
        )
    REGISTERED[primitive] = rule
    return rule


def unregister(primitive: str) -> None:
    """Forgets a registered rule; nothing happens where there is none."""
    REGISTERED.pop(primitive, None)
