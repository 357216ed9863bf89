"""What lxt 2.1 and autolrp 0.2.0 do where it is another thing than our rules do, as rules for our engine.

autolrp shares by magnitudes: of a sum, of a product, and between what a layer computes and its bias. The classes here
are that, from its behaviour; they are also how a rule of one's own is written.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp

from kernels.attribution import composites, rules

TINY = 1e-11  # autolrp's stabiliser


@dataclasses.dataclass(frozen=True)
class ByMagnitude:
    """For a sum or a product of two values: in proportion to their magnitudes."""

    def backward(self, relevance, inputs, outputs, function):
        """Returns the relevance of both."""
        whole = sum(abs(x) for x in inputs) + TINY
        return tuple(relevance[0] * abs(x) / whole for x in inputs)


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
        return (inputs[0] * pull((rest / rules.Stabilizer(TINY)(z),))[0],)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """For an activation: relevance times y / x, which is a gradient's factor and conserves nothing."""

    def backward(self, relevance, inputs, outputs, function):
        """Returns the relevance of the one input."""
        return (relevance[0] * outputs[0] / rules.Stabilizer(TINY)(inputs[0]),)


@dataclasses.dataclass(frozen=True)
class SecondTakesAll:
    """For a gated product: nothing for the gate, which stands first."""

    def backward(self, relevance, inputs, outputs, function):
        """Returns the relevance of both."""
        return jnp.zeros_like(inputs[0]), relevance[0]


def plus(epsilon: float):
    """Returns lxt's stabiliser, which does not look at the sign."""
    return lambda z: z + epsilon


def lxt(layer_map=()) -> composites.Composite:
    """AttnLRP as lxt computes it by explicit functions: norms share by z, their means and shifts keep their part."""
    norms = ("norm_layer", rules.Norm(plus(1e-8)))
    pairs = (*layer_map, ("attention", rules.Uniform(plus(5e-9))), norms)
    return composites.attnlrp(plus(1e-6), plus(1e-8), layer_map=pairs, hold_means=False)


def lxt_efficient(layer_map=()) -> composites.Composite:
    """AttnLRP as lxt computes it by the input times a gradient: the same without stabilisers."""
    pairs = (*layer_map, ("norm_layer", rules.Norm(0.0)))
    return composites.attnlrp(0.0, 0.0, layer_map=pairs, hold_means=False)


WEIGHTS = {"layer_map": (("attention", rules.SignalTakesAll(0.0)),)}
GATES = {"layer_map": (*WEIGHTS["layer_map"], ("product", SecondTakesAll()))}
# What a norm or a table of positions adds; the rest of a norm passes.
SHIFTS = re.compile(r"(^|/)norm\d?#2$|^(positions|bias)$")


def autolrp(softmax=None, attention=None, activation=None, gates=("product#2",)) -> composites.Composite:
    """As autolrp computes it from its table BASE, with other rules in some places.

    Args:
        softmax, attention, activation: rules; None is what BASE has.
        gates: names of the entrywise products.
    """
    kinds = (
        ("attention_weights", softmax or rules.Pass()), ("softmax", softmax or rules.Pass()),
        ("attention", attention or rules.Uniform(TINY)), ("product", rules.Uniform(TINY)),
        ("activation", activation or rules.Pass()), ("norm_layer", rules.Pass()), ("bias", BiasByMagnitude(True)),
        (("sum", "product"), ByMagnitude()), ("affine", BiasByMagnitude()),
    )  # fmt: skip
    names = tuple((name, ByMagnitude()) for name in gates)
    return composites.Composite(kinds, name_map=names, fold_norm=False)


def with_shifts(composite: composites.Composite) -> composites.Composite:
    """The composite for a network with norms that add a bias, which keeps its part by magnitude."""
    names = (*composite.name_map, (SHIFTS, BiasByMagnitude(passes=True)))
    return dataclasses.replace(composite, name_map=names)
