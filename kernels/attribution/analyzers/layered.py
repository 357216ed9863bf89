"""Which of iNNvestigate's rules goes to which operation: composites as `attribute` takes them, by its kinds of layers.

A layer with weights has its rule, and so have norms. Sums of branches and means go by Z, activations pass relevance on,
and all else takes the gradient: maxima, what moves values, products, differences.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from .. import rules
from ..assignment import named
from ..stabilize import ZeroGuard
from ..tracing.operations import LINK, Operation
from .innvestigate import AlphaBeta, WSquare
from .norm_rules import BatchNorm

Condition = str | tuple[str, ...] | Callable | None  # a kind, kinds, a test of an operation; None: any

SUM = rules.Norm(ZeroGuard())


@dataclasses.dataclass(frozen=True, eq=False)
class Layered:
    """Layer-wise relevance propagation.

    Args:
        pairs: (condition, rule) for layers with weights; the first that fits counts.
        sequence: instead of `pairs`, rules taken from the end, one for each layer with weights in execution order: the
            last rule is that of the first layer. Measured with iNNvestigate 2.1.2.
        norm: rule of norms, see `norm_rules`; scales and shifts by constants have the norms' own.
        first: rule of the layers whose inputs are the model's, or None.
        until, until_rule: the number of the last layer with weights, counted from 0 in execution order, or the name of
            one, up to which `until_rule` holds.
        relu: "pass", or "gradient" at ReLUs that follow no layer with weights directly.
        fold_norm: as for `attribute`.
    """

    pairs: tuple[tuple[Condition, Any], ...] = ()
    sequence: tuple | None = None
    norm: Any = BatchNorm()
    first: Any = None
    until: int | str | None = None
    until_rule: Any = None
    relu: str = "pass"
    fold_norm: bool | str = "apart"

    def assign(self, operations: Sequence[Operation]) -> list[Any]:
        """Returns a rule for every operation, None for the gradient."""
        layers = [operation for operation in operations if operation.affine is not None]
        chosen = dict(zip(layers, self._sequence(layers), strict=True)) if self.sequence is not None else {}
        for layer in layers if self.sequence is None else ():
            chosen[layer] = self._fitting(layer)
        for layer in layers[: self._until(layers)]:
            chosen[layer] = self.until_rule
        if self.first is not None and operations:
            chosen.update(dict.fromkeys(input_layers(operations), self.first))
        ends = {output for layer in layers for output in layer.outputs}
        return [chosen[o] if o in chosen else self._other(o, any(v in ends for v in o.inputs)) for o in operations]

    def _sequence(self, layers):
        if len(layers) != len(self.sequence):
            raise ValueError(
                f"rule has {len(self.sequence)} rules, and the function {len(layers)} layers with weights "
                f"({', '.join(layer.name for layer in layers)}); expected one for each, the last layer's first."
            )
        return tuple(reversed(self.sequence))

    def _fitting(self, layer):
        for condition, rule in self.pairs:
            if condition is None or (callable(condition) and condition(layer)):
                return rule
            if not callable(condition) and any(kind in layer.kinds for kind in _several(condition)):
                return rule
        raise ValueError(f"no rule applies to {layer.place}, of kinds {', '.join(layer.kinds)}: add a pair for it.")

    def _until(self, layers) -> int:
        if self.until is None:
            return 0
        if isinstance(self.until, str):
            places = [place for place, layer in enumerate(layers) if named(layer, self.until)]
            if not places:
                names = ", ".join(layer.name for layer in layers)
                raise ValueError(f"until_layer_idx={self.until!r} names no layer with weights; there are {names}.")
            return places[-1] + 1
        if self.until >= len(layers):
            raise ValueError(
                f"until_layer_idx={self.until}: expected below {len(layers)}, the number of layers with weights."
            )
        return self.until + 1

    def _other(self, operation, behind_layer):
        if "norm_layer" in operation.kinds:
            return BatchNorm() if _by_constants(operation) else self.norm
        if "sum" in operation.kinds:
            return None if operation.equations[0].primitive == "sub" and "bias" not in operation.kinds else SUM
        if "activation" in operation.kinds:
            gradient = self.relu == "gradient" and "relu" in operation.kinds and not behind_layer
            return rules.Gradient() if gradient else rules.Pass()
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class DeepTaylor:
    """Deep Taylor decomposition: layers with weights by AlphaBeta(1, 0) without their bias, else the gradient.

    Args:
        first: rule of the layers whose inputs are the model's, or None.
        linear: rule of layers that no ReLU follows directly. iNNvestigate 2.1.2 means WSquare there and takes
            AlphaBeta(1, 0) after all: every layer of Keras that may have an activation counts as one that has.
        relu: "pass": a ReLU that follows a layer with weights directly is the layer's own, and relevance passes it, as
            with Keras' `Dense(..., activation="relu")`; "gradient": all of them are layers of their own.

    Raises:
        ValueError: for an activation that is no ReLU.
    """

    first: Any = None
    linear: Any = AlphaBeta(1, 0, bias=False)
    relu: str = "pass"
    fold_norm: bool | str = "apart"

    def assign(self, operations: Sequence[Operation]) -> list[Any]:
        """Returns a rule for every operation, None for the gradient."""
        only_relus(operations, "deep_taylor")
        before = {operation.inputs[0] for operation in operations if "relu" in operation.kinds}
        ends = {output for operation in operations if operation.affine is not None for output in operation.outputs}
        first = input_layers(operations) if self.first is not None and operations else ()
        result: list[Any] = []
        for operation in operations:
            if operation.affine is None:
                own = self.relu == "pass" and "relu" in operation.kinds and operation.inputs[0] in ends
                result.append(rules.Pass() if own else None)
            elif operation in first:
                result.append(self.first)
            else:
                result.append(AlphaBeta(1, 0, bias=False) if operation.outputs[0] in before else self.linear)
        return result


@dataclasses.dataclass(frozen=True)
class OnlyReLUs:
    """A composite for networks whose activations are all ReLUs; `name` is that of the analyzer."""

    composite: Any
    name: str
    fold_norm: bool | str = False

    def assign(self, operations: Sequence[Operation]) -> list[Any]:
        """Returns a rule for every operation."""
        only_relus(operations, self.name)
        return self.composite.assign(operations)


LINEAR_RULES = {"alpha_1_beta_0_IB": AlphaBeta(1, 0, bias=False), "w_square": WSquare()}


def only_relus(operations: Sequence[Operation], name: str) -> None:
    """Raises ValueError for an activation that is no ReLU."""
    for operation in operations:
        if "activation" in operation.kinds and "relu" not in operation.kinds:
            raise ValueError(
                f"{name} is for networks whose activations are ReLUs, and there is another one: {operation.place}. "
                "Take an analyzer of relevance, such as 'lrp.epsilon', or 'gradient'."
            )


def input_layers(operations: Sequence[Operation]) -> list[Operation]:
    """Returns the layers with weights whose inputs are the model's, perhaps moved, scaled or shifted by constants.

    Raises:
        ValueError: there are none.
    """
    behind: set = set()
    result = []
    for operation in operations:
        reached = any(value in behind for value in operation.inputs)
        if operation.affine is not None and not reached:
            result.append(operation)
        if reached or not _only_moves(operation):
            behind.update(operation.outputs)
    if not result:
        raise ValueError(
            "no layer with weights has the model's inputs as its own: something else comes first "
            f"({operations[0].place}). Move it out of the function, or take an analyzer without a rule for the input."
        )
    return result


def _only_moves(operation: Operation) -> bool:
    """Whether values are rearranged, or scaled and shifted by what are no parameters."""
    return operation.kinds[0] in ("layout", "embedding", LINK) or (
        operation.kinds[0] == "norm_layer" and _by_constants(operation)
    )


def _by_constants(operation: Operation) -> bool:
    """Whether a scale and a shift are no parameters, as of what prepares the inputs."""
    operands = [value for equation in operation.equations for value in equation.inputs if not value.active]
    return operation.base == "norm_layer" or all(value.known is not None for value in operands)


def _several(value) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
