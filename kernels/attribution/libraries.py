"""What lxt 2.1 and autolrp 0.2.0 do where it is another thing than the rules of this room, from their behaviour.

autolrp shares by magnitudes: of a sum, of an entrywise product, and between what a layer computes and its bias. The
composites `lxt` and `autolrp` put these rules where the libraries have them; `make peers-lrp` compares them live.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .precision import applied, widened
from .product_rules import SignalTakesAll, Uniform
from .shares import fitted
from .stabilize import Stabilizer
from .tracing.dependence import PARAMETERS
from .tracing.jaxpr import Value
from .tracing.norms import SHIFTS
from .tracing.operations import Operation, Program

TINY = 1e-11  # autolrp's stabiliser
STABLE = Stabilizer(TINY)


def plus(epsilon: float) -> Callable:
    """Returns lxt's stabiliser, which does not look at the sign."""
    return lambda z: z + epsilon


@dataclasses.dataclass(frozen=True)
class SumByMagnitude:
    """For a sum of several values, or of the entries of one: in proportion to their magnitudes."""

    def backward(self, relevance, inputs, outputs, function):
        """Returns the relevance of what is summed."""
        if len(inputs) == 1:
            sizes = abs(inputs[0])
            (total,), pull = jax.vjp(function, sizes)
            return (sizes * pull((relevance[0] / STABLE(total),))[0],)
        whole = sum(abs(x) for x in inputs) + TINY
        return tuple(fitted(relevance[0] * abs(x) / whole, x) for x in inputs)


@dataclasses.dataclass(frozen=True)
class ProductByMagnitude:
    """For an entrywise product: in proportion to the magnitudes of the factors. One that is summed: half each."""

    def through(self, operation: Operation, relevance, values: Mapping[Value, Any], program: Program):
        """Returns the relevance of the factors."""
        inputs, outputs, function = _arrays(operation, values)
        if _is_summed(operation):
            return Uniform(TINY).backward(relevance, inputs, outputs, function, summed=True)
        return SumByMagnitude().backward(relevance, inputs, outputs, function)


@dataclasses.dataclass(frozen=True)
class ActivationTakesNothing:
    """For a gated product: nothing for the factor that is an activation; half each where products are summed."""

    def through(self, operation: Operation, relevance, values: Mapping[Value, Any], program: Program):
        """Returns the relevance of the factors."""
        inputs, outputs, function = _arrays(operation, values)
        if _is_summed(operation):
            return Uniform(0.0).backward(relevance, inputs, outputs, function, summed=True)
        gates = [n for n, value in enumerate(operation.inputs) if value in program.facts.dominator]
        return SignalTakesAll(0.0).backward(relevance, inputs, outputs, function, gates or operation.gates)


@dataclasses.dataclass(frozen=True)
class BiasByMagnitude:
    """For z + b: the bias keeps |b| / (|z| + |b|); the rest goes to the inputs of z, or through as it is."""

    passes: bool = False

    def backward(self, relevance, inputs, outputs, function):
        """Returns the relevance of the one input."""
        (bias,) = function(jnp.zeros_like(inputs[0]))
        z = outputs[0] - bias
        rest = relevance[0] * abs(z) / (abs(z) + abs(bias) + TINY)
        if self.passes:
            return (rest,)
        _, pull = jax.vjp(function, *inputs)
        return (inputs[0] * pull((rest / STABLE(z),))[0],)


@dataclasses.dataclass(frozen=True)
class ShiftByMagnitude:
    """For the steps of a norm: what parameters add keeps its part by magnitude, all else passes relevance on."""

    def through(self, operation: Operation, relevance, values: Mapping[Value, Any], program: Program):
        """Returns the relevance of the one input."""
        equation = operation.equations[-1]
        others = [value for value in equation.inputs if not value.active]
        adds = equation.primitive in SHIFTS and all(
            program.facts.depends[value].source == PARAMETERS and program.facts.leaves[value] for value in others
        )
        if not adds or equation in program.held:
            return (relevance[0],)
        inputs, outputs, function = _arrays(operation, values)
        return BiasByMagnitude(passes=True).backward(relevance, inputs, outputs, function)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """For an activation: relevance times y / x, which is a gradient's factor and conserves nothing."""

    def backward(self, relevance, inputs, outputs, function):
        """Returns the relevance of the one input."""
        return (relevance[0] * outputs[0] / STABLE(inputs[0]),)


@dataclasses.dataclass(frozen=True)
class Unknown:
    """For an operation whose rule in the library is not here."""

    def through(self, operation: Operation, relevance, values: Mapping[Value, Any], program: Program):
        """Raises NotImplementedError."""
        raise NotImplementedError(
            f"{operation.place}: this preset of autolrp has a rule of its own for convolutions, which is not here. "
            'Give the composite one, layer_map=(("conv", rules.Gamma(0.25)),), or take another preset.'
        )


def _arrays(operation: Operation, values: Mapping[Value, Any]) -> tuple[tuple, tuple, Callable]:
    """Inputs and outputs of an operation, and it as a function of its inputs."""
    inputs, outputs = (
        tuple(widened(values[value]) for value in side) for side in (operation.inputs, operation.outputs)
    )
    return inputs, outputs, operation.function(values, applied)


def _is_summed(operation: Operation) -> bool:
    return operation.equations[0].primitive in ("dot_general", "conv_general_dilated")


LXT = ("attnlrp", "cp_lrp")
AUTOLRP = ("BASE", "ATTNLRP", "CPLRP", "attnlrp", "cplrp")


def of_lxt(method: str, efficient: bool) -> tuple[float | Callable, float | Callable, Sequence[tuple]]:
    """Returns (epsilon, stabiliser, pairs of kinds and rules before those of AttnLRP) of a method of lxt."""
    from .rules import Norm

    whole, small = (0.0, 0.0) if efficient else (plus(1e-6), plus(1e-8))
    attention: Any = Uniform(0.0 if efficient else plus(5e-9))
    pairs: list[tuple] = [("norm_layer", Norm(small))]
    if method == "cp_lrp":
        attention = SignalTakesAll(whole)
        pairs += [("product", ActivationTakesNothing())] if efficient else []
    return whole, small, [("attention", attention), *pairs]


def of_autolrp(preset: str) -> Sequence[tuple]:
    """Returns pairs of kinds and rules of a table or a preset of autolrp."""
    from .rules import Pass, Softmax

    softmax = Softmax() if preset in ("ATTNLRP", "attnlrp") else Pass()
    attention = SignalTakesAll(TINY) if preset in ("CPLRP", "cplrp") else Uniform(TINY)
    return (
        (("attention_weights", "softmax"), softmax), ("attention", attention), ("product", ProductByMagnitude()),
        ("activation", Ratio() if preset == "attnlrp" else Pass()), ("norm_layer", ShiftByMagnitude()),
        ("bias", BiasByMagnitude(passes=True)), ("sum", SumByMagnitude()),
        *([("conv", Unknown())] if preset == "attnlrp" else ()),
        ("affine", BiasByMagnitude()),
    )  # fmt: skip
