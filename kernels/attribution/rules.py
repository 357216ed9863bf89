"""Rules: how relevance passes from the result of an operation to its inputs.

A rule for affine operations is data: branches, each the sum of a few terms, and a term says what becomes of x, W and b:

    R' = sum over branches of c * sum over terms of i(x) * fT(mask * R / st(d); w(W)),
    d  = sum over terms of f(i(x); w(W)) + b(b)

After Bach et al. (PLoS ONE 2015), Montavon et al. (Pattern Recognition 2017; LRP overview 2019) and, for the numerics,
the behaviour of Zennit 1.0.0 (arXiv:2106.13200). The other rules are functions of relevance, inputs and outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Real, Scalar
from ..scalars import not_negative, positive, real, reals
from .product_rules import OF_PRODUCTS, Arrays, Proportional, SignalTakesAll, Softmax, Uniform
from .shares import divided, fitted
from .stabilize import Stabilizer, as_stabilizer, stabilize

__all__ = [
    "AlphaBeta",
    "Epsilon",
    "Flat",
    "Gamma",
    "Gradient",
    "Norm",
    "Pass",
    "Proportional",
    "ReLUBetaSmooth",
    "ReLUDeconvNet",
    "ReLUGuidedBackprop",
    "SignalTakesAll",
    "Softmax",
    "Stabilizer",
    "Uniform",
    "WSquare",
    "ZBox",
    "ZPlus",
    "stabilize",
]


@dataclasses.dataclass(frozen=True)
class Term:
    """One product of a branch.

    Attributes:
        data: "x", "x+", "x-", "1" (ones, whatever x) or an array for every sample.
        weight, bias: functions of W and of b; bias None: the term has none.
        sign: of the term in the denominator and in the relevance.
        factor: whether the term's relevance is multiplied by its data.
    """

    data: object
    weight: Callable
    bias: Callable | None
    sign: int = 1
    factor: bool = True


@dataclasses.dataclass(frozen=True)
class Branch:
    """Terms with a common denominator. `mask` is 1 or -1 for outputs z > 0 or z < 0 only, 0 for all."""

    terms: tuple[Term, ...]
    coefficient: float = 1.0
    mask: int = 0


def _same(w):
    return w


def _positive(w):
    return jnp.maximum(w, 0)


def _negative(w):
    return jnp.minimum(w, 0)


def _ones(w):
    return jnp.ones_like(w)


def _plus(gamma: float, part: Callable) -> Callable:
    return lambda w: w + gamma * part(w)


WHOLE = (Term("x", _same, _same),)  # the denominator is z itself

ZeroParams = str | Sequence[str] | None
Bound = Scalar | Real[AnyArray, "..."] | Sequence  # of inputs: one number, by channel, or of a sample's shape


def _zeroed(zero_params: ZeroParams) -> tuple[str, ...]:
    names = (zero_params,) if isinstance(zero_params, str) else tuple(zero_params or ())
    wrong = [name for name in names if name not in ("bias", "weight")]
    if wrong:
        raise ValueError(f"zero_params names {wrong[0]!r}; expected 'bias', 'weight' or both.")
    return names


def _check(rule) -> None:
    _zeroed(rule.zero_params)
    name = "epsilon" if hasattr(rule, "epsilon") else "stabilizer"
    as_stabilizer(getattr(rule, name, 0.0), name)


@dataclasses.dataclass(frozen=True)
class Epsilon:
    """Relevance in proportion to the contributions to z = f(x; W) + b; the bias and epsilon keep theirs.

    Args:
        epsilon: a number, a Stabilizer or any function of z. 0 is LRP-0; a z of exactly zero then passes nothing on.
        zero_params: "bias", "weight" or both count as zero inside the rule.
        bias_factor: what of the relevance that bias and epsilon keep is shared out evenly over the inputs of each
            output, padding left out; at 1 all of it (Arras et al., EMNLP-WASSA 2017).
    """

    epsilon: float | Callable = 1e-6
    zero_params: ZeroParams = None
    bias_factor: float = 0.0

    def __post_init__(self):
        _check(self)
        real("bias_factor", self.bias_factor, "a finite number >= 0", not_negative)

    @property
    def stabilizer(self) -> float | Callable:
        """What the denominators go through."""
        return self.epsilon

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return (Branch(WHOLE),)


@dataclasses.dataclass(frozen=True)
class ZPlus:
    """Positive contributions only, of inputs of both signs: AlphaBeta(1, 0)."""

    stabilizer: float | Callable = 1e-6
    zero_params: ZeroParams = None

    def __post_init__(self):
        _check(self)

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return (Branch((Term("x+", _positive, _positive), Term("x-", _negative, None))),)


@dataclasses.dataclass(frozen=True)
class AlphaBeta:
    """Positive contributions times alpha minus negative ones times beta, each with a denominator of its own.

    Raises:
        ValueError: unless alpha, beta >= 0 and alpha - beta = 1.
    """

    alpha: float = 2.0
    beta: float = 1.0
    stabilizer: float | Callable = 1e-6
    zero_params: ZeroParams = None

    def __post_init__(self):
        _check(self)
        for name in ("alpha", "beta"):
            real(name, getattr(self, name), "a finite number >= 0", not_negative)
        if self.alpha - self.beta != 1:
            raise ValueError(
                f"alpha is {self.alpha} and beta {self.beta}; expected both >= 0 and alpha - beta = 1, such as (2, 1)."
            )

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        positive = Branch((Term("x+", _positive, _positive), Term("x-", _negative, None)), self.alpha)
        negative = Branch((Term("x+", _negative, _negative), Term("x-", _positive, None)), -self.beta)
        return (positive, negative) if self.beta else (positive,)


@dataclasses.dataclass(frozen=True)
class Gamma:
    """Positive contributions count 1 + gamma times where z > 0, negative ones where z < 0; z = 0 passes nothing.

    The generalised form, for inputs of both signs (Andeol et al., 2021).
    """

    gamma: float = 0.25
    stabilizer: float | Callable = 1e-6
    zero_params: ZeroParams = None

    def __post_init__(self):
        _check(self)
        real("gamma", self.gamma, "a finite number >= 0", not_negative)

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        up, down = _plus(self.gamma, _positive), _plus(self.gamma, _negative)
        return (
            Branch((Term("x+", up, up), Term("x-", down, None)), mask=1),
            Branch((Term("x+", down, down), Term("x-", up, None)), mask=-1),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ZBox:
    """For inputs between `low` and `high`: numbers, or arrays by channel or of a sample's shape."""

    low: Bound
    high: Bound
    stabilizer: float | Callable = 1e-6
    zero_params: ZeroParams = None

    def __post_init__(self):
        _check(self)
        for name in ("low", "high"):
            reals(name, getattr(self, name), "finite numbers, the ends of the inputs' range")
        concrete = not any(isinstance(bound, jax.core.Tracer) for bound in (self.low, self.high))
        if concrete and np.any(np.asarray(self.low) > np.asarray(self.high)):
            raise ValueError(f"low is {self.low} and high {self.high}; expected low <= high everywhere.")

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        terms = (
            Term("x", _same, _same),
            Term(self.low, _positive, _positive, sign=-1),
            Term(self.high, _negative, _negative, sign=-1),
        )
        return (Branch(terms),)


@dataclasses.dataclass(frozen=True)
class WSquare:
    """By the squares of the weights, whatever x."""

    stabilizer: float | Callable = 1e-6
    zero_params: ZeroParams = None

    def __post_init__(self):
        _check(self)

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return (Branch((Term("1", jnp.square, jnp.square, factor=False),)),)


@dataclasses.dataclass(frozen=True)
class Flat:
    """Evenly over the inputs of every output, whatever x and W; padding counts as no input."""

    stabilizer: float | Callable = 1e-6
    zero_params: ZeroParams = None

    def __post_init__(self):
        _check(self)

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return (Branch((Term("1", _ones, None, factor=False),)),)


@dataclasses.dataclass(frozen=True)
class Gradient:
    """The vector-Jacobian product: what moves values, the winner of a maximum, or a plain gradient."""

    def backward(self, relevance: Arrays, inputs: Arrays, outputs: Arrays, function: Callable[..., Any]) -> Arrays:
        """Returns the relevance of the inputs."""
        _, pull = jax.vjp(function, *inputs)
        return pull(tuple(relevance))


@dataclasses.dataclass(frozen=True)
class Pass:
    """Relevance goes through an entrywise function as it is."""

    def backward(self, relevance: Arrays, inputs: Arrays, outputs: Arrays, function: Callable[..., Any]) -> Arrays:
        """Returns the relevance of the one input."""
        return (fitted(relevance[0], inputs[0]),)


@dataclasses.dataclass(frozen=True)
class Norm:
    """In proportion to the contributions to a sum or a mean.

    Args:
        stabilizer: a number, a Stabilizer or any function of z.
        bias_factor: what of the relevance that the stabiliser keeps is shared out evenly over all summands of a sample.
    """

    stabilizer: float | Callable = 1e-6
    bias_factor: float = 0.0

    def __post_init__(self):
        as_stabilizer(self.stabilizer)
        real("bias_factor", self.bias_factor, "a finite number >= 0", not_negative)

    def backward(self, relevance: Arrays, inputs: Arrays, outputs: Arrays, function: Callable[..., Any]) -> Arrays:
        """Returns the relevance of every summand."""
        _, pull = jax.vjp(function, *inputs)
        share = tuple(divided(r, as_stabilizer(self.stabilizer)(z)) for r, z in zip(relevance, outputs, strict=True))
        return tuple(x * part for x, part in zip(inputs, pull(share), strict=True))


@dataclasses.dataclass(frozen=True)
class ReLUDeconvNet:
    """At a ReLU, what is positive of the relevance (Zeiler and Fergus, 2014)."""

    def backward(self, relevance: Arrays, inputs: Arrays, outputs: Arrays, function: Callable[..., Any]) -> Arrays:
        """Returns the relevance of the one input."""
        return (jnp.maximum(relevance[0], 0),)


@dataclasses.dataclass(frozen=True)
class ReLUGuidedBackprop:
    """At a ReLU, the gradient where the relevance is positive (Springenberg et al., 2015)."""

    def backward(self, relevance: Arrays, inputs: Arrays, outputs: Arrays, function: Callable[..., Any]) -> Arrays:
        """Returns the relevance of the one input."""
        return (jnp.where((inputs[0] > 0) & (relevance[0] > 0), relevance[0], 0),)


@dataclasses.dataclass(frozen=True)
class ReLUBetaSmooth:
    """At a ReLU, the gradient of a softplus: relevance times sigmoid(beta x) (Dombrowski et al., 2019)."""

    beta_smooth: float = 10.0

    def __post_init__(self):
        real("beta_smooth", self.beta_smooth, "a finite number > 0", positive)

    def backward(self, relevance: Arrays, inputs: Arrays, outputs: Arrays, function: Callable[..., Any]) -> Arrays:
        """Returns the relevance of the one input."""
        return (relevance[0] * jax.nn.sigmoid(self.beta_smooth * inputs[0]),)


OF_RELUS = (ReLUDeconvNet, ReLUGuidedBackprop, ReLUBetaSmooth)
# What passes relevance on entry by entry: at a dense layer as wide as its inputs the shapes of its maps fit, and they
# mean nothing.
ENTRYWISE = (Pass, *OF_PRODUCTS, Softmax, *OF_RELUS)


def _kind(rule) -> str:
    return (
        "products"
        if isinstance(rule, (Uniform, Proportional))
        else "a softmax"
        if isinstance(rule, Softmax)
        else "entrywise operations"
    )


def check_affine(rule, where: str) -> None:
    """Raises ValueError for a rule that is not for affine operations; `where` begins the message."""
    if isinstance(rule, ENTRYWISE):
        raise ValueError(
            f"{where} {rule!r}, a rule for {_kind(rule)}; expected one for convolutions and dense layers, such "
            "as rules.Epsilon(), rules.ZPlus(), rules.Norm() or rules.Gradient(). A rule for the ReLUs alone stands in "
            'a composite: composites.guided_backprop(), or Composite((("relu", rule),), default=rules.Gradient()).'
        )
