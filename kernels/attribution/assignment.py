"""Which rule an operation gets: by layer name, by first place in execution order, by kind.

What no map names takes the gradient; an operation of kind "unknown" is an error unless `default` is set.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..array_types import Array
from . import rules
from .tracing.operations import CARRY, Operation

KINDS = (
    "affine", "conv", "conv_transpose", "dense", "norm_layer", "bias", "sum", "avg_pool", "max_pool", "max",
    "activation", "relu", "product", "embedding", "layout", "softmax", "attention_weights", "attention", "branch",
    "recurrent", "call", "registered", "unknown",
)  # fmt: skip

READING = ("fold_norm", "hold_means", "join_products")  # how a composite wants a function to be read

Kind = str | tuple[str, ...]
Pairs = Sequence[tuple[Any, Any]]  # (kind, kinds, pattern or patterns) and a rule
Epsilon = float | Callable[[Array], Array]  # or `rules.Stabilizer`


@dataclasses.dataclass(frozen=True)
class Composite:
    """A choice of rules. Names go before the first layer, the first layer before kinds, kinds before the default.

    Args:
        layer_map: pairs (kind or kinds, rule), the first that fits counts.
        first_map: pairs as in `layer_map`, for the first operations that fit one of them.
        name_map: pairs (pattern or patterns, rule) on layer names such as "backbone/conv1": a glob, or a compiled
            regular expression that is searched for.
        default: rule of whatever no pair fits, unknown primitives included; None: the gradient for known ones.
        first: which operations are the first. "inputs": all that have none that fits before them, so that every input
            and every branch gets the rule. "execution": the one that is executed first, as in Zennit. Otherwise a
            pattern of the name of the one.
        fold_norm: as for `attribute`, which takes this one where it is given none.
        hold_means: whether a mean that a norm takes off counts as a constant, so that relevance passes the norm as it
            is. False: it is a sum of the values, with relevance of its own.
        join_products: whether products that are summed are one with one bias, as in a cell of an LSTM.

    Raises:
        ValueError: for a kind that does not exist or an entry that is no rule; from `attribute` for a name that no
            operation has.
    """

    layer_map: Pairs = ()
    first_map: Pairs = ()
    name_map: Pairs = ()
    default: object | None = None
    first: str | re.Pattern = "inputs"
    fold_norm: bool | str = True
    hold_means: bool = True
    join_products: bool = False

    def __post_init__(self):
        for field in ("layer_map", "first_map", "name_map"):
            object.__setattr__(self, field, tuple((key, rule) for key, rule in getattr(self, field)))
        for key, rule in (*self.layer_map, *self.first_map):
            for kind in several(key):
                if kind not in KINDS:
                    raise ValueError(f"no kind of operation {kind!r}; there are {', '.join(KINDS)}.")
            check_rule(rule)
        for _, rule in self.name_map:
            check_rule(rule)

    def assign(self, operations: Sequence[Operation]) -> list[object | None]:
        """Returns a rule for every operation, None where no map has one."""
        self._check_names(operations)
        first = _first(self.first_map, self.first, operations)
        return [self._rule_of(operation, first) for operation in operations]

    def idle_first(self, operations: Sequence[Operation]) -> str:
        """Says why the rules for the first layers apply to none of `operations`; nothing where one applies."""
        if not self.first_map or not any(operation.affine is not None for operation in operations):
            return ""
        if _first(self.first_map, self.first, operations):
            return ""
        kinds = ", ".join(dict.fromkeys(kind for key, _ in self.first_map for kind in several(key)))
        names = ", ".join(dict.fromkeys(type(rule).__name__ for _, rule in self.first_map))
        fitting = [one.name for one in operations if any(_fits(one, kind) for kind, _ in self.first_map)]
        if not fitting:
            return f"the rule for first layers, {names}, applies to nothing: fn has none of kind {kinds}."
        return (
            f"the rule for first layers, {names}, applies to nothing: {fitting[0]} gets the state of a loop, as do "
            "layers whose weights are stacked in a lax.scan, and no step of these is the first layer alone. Call the "
            "first layer before the loop and scan over the others; or take a composite without such a rule, "
            "epsilon_plus for one."
        )

    def _check_names(self, operations) -> None:
        for patterns, _ in self.name_map if operations else ():
            if not any(named(operation, pattern) for operation in operations for pattern in several(patterns)):
                names = ", ".join(dict.fromkeys(operation.base for operation in operations if operation.equations))
                raise ValueError(f"name_map has {patterns!r}, which names no operation; there are {names}.")

    def _rule_of(self, operation, first):
        if operation.bodies or not operation.equations:  # what is inside has rules, which only its kind overrules
            return next((rule for kind, rule in self.layer_map if _fits(operation, kind)), None)
        for patterns, rule in self.name_map:
            if any(named(operation, pattern) for pattern in several(patterns)):
                return rule
        if operation in first:
            return first[operation]
        return next((rule for kind, rule in self.layer_map if _fits(operation, kind)), self.default)


@dataclasses.dataclass(frozen=True)
class Mixed:
    """Several composites: the first that has a rule for an operation decides. Functions are read as for the first."""

    composites: tuple

    def __getattr__(self, name):
        if name in READING and self.composites:
            return getattr(self.composites[0], name)
        raise AttributeError(name)

    def assign(self, operations: Sequence[Operation]) -> list[object | None]:
        """Returns a rule for every operation, None where no composite has one."""
        choices = zip(*(composite.assign(operations) for composite in self.composites), strict=True)
        return [next((rule for rule in rules_of if rule is not None), None) for rules_of in choices]


def named(operation: Operation, pattern: str | re.Pattern) -> bool:
    """Whether a pattern fits the name of an operation, its layer, or a layer that is folded into it."""
    names = (operation.name, operation.base, *operation.aliases)
    if isinstance(pattern, re.Pattern):
        return any(pattern.search(name) for name in names)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _first(first_map, first, operations) -> dict[Operation, object]:
    """The operations that count as the first, with their rules."""
    result, behind = {}, set()
    for operation in operations if first_map else ():
        rule = next((rule for kind, rule in first_map if _fits(operation, kind)), None)
        if first not in ("inputs", "execution"):
            rule = rule if named(operation, first) else None
        elif operation.kinds[0] == CARRY:  # after the first step it comes from the operations behind it
            behind.update(operation.outputs)
        elif any(value in behind for value in operation.inputs):
            rule = None if first == "inputs" else rule
            behind.update(operation.outputs)
        if rule is not None:
            result[operation] = rule
            behind.update(operation.outputs)
            if first != "inputs":
                return result
    if first_map and first not in ("inputs", "execution"):
        names = ", ".join(dict.fromkeys(operation.name for operation in operations if operation.affine is not None))
        raise ValueError(f"no operation that the first map fits is named {first!r}; affine ones are {names}.")
    return result


def _fits(operation: Operation, kind: Kind) -> bool:
    return any(name in operation.kinds for name in several(kind))


def several(value: Any) -> tuple:
    """Returns one or several as a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def check_rule(rule: Any, where: str = "") -> None:
    """Raises ValueError for what is no instance of a rule."""
    if not any(hasattr(rule, name) for name in ("branches", "backward", "through")) or isinstance(rule, type):
        raise ValueError(
            f"{where or 'this'}: {rule!r} is no rule; expected one of rules.{', rules.'.join(rules.__all__[:3])}, ... "
            "as an instance."
        )
