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

from ..array_types import AnyArray, Array, Float, Num, Real, Scalar
from ..scalars import not_negative, positive, real, reals
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


ZeroParams = str | Sequence[str] | None
Bound = Scalar | Real[AnyArray, "..."] | Sequence  # of inputs: one number, by channel, or of a sample's shape
Arrays = Sequence[Num[Array, "..."]]


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
        return (Branch((Term("x", _same, _same),)),)


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
        return (_fitted(relevance[0], inputs[0]),)


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
class SignalTakesAll:
    """For a product of two values: a gate (a factor between 0 and 1) gets nothing, two signals half each.

    Where products are summed, as by `einsum`, each of them gets its share of the sum first; `stabilizer` is for that.
    The weights of attention are gates (CP-LRP, Ali et al., 2022; for LSTMs Arras et al., 2017).
    """

    stabilizer: float | Callable = 1e-6

    def __post_init__(self):
        as_stabilizer(self.stabilizer)

    def backward(
        self,
        relevance: Arrays,
        inputs: Arrays,
        outputs: Arrays,
        function: Callable[..., Any],
        gates: Sequence[int] = (),
        summed: bool = False,
    ) -> Arrays:
        """Returns the relevance of the factors."""
        signals = [index for index in range(len(inputs)) if index not in gates] or list(range(len(inputs)))
        return _of_factors(self.stabilizer, relevance, inputs, outputs, function, signals, summed)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """For a product of two values: every factor gets the same part, gates and weights of attention too.

    Where products are summed, each of them gets its share of the sum first (AttnLRP, Achtibat et al., 2024).
    """

    stabilizer: float | Callable = 1e-6

    def __post_init__(self):
        as_stabilizer(self.stabilizer)

    def backward(
        self,
        relevance: Arrays,
        inputs: Arrays,
        outputs: Arrays,
        function: Callable[..., Any],
        gates: Sequence[int] = (),
        summed: bool = False,
    ) -> Arrays:
        """Returns the relevance of the factors."""
        return _of_factors(self.stabilizer, relevance, inputs, outputs, function, list(range(len(inputs))), summed)


@dataclasses.dataclass(frozen=True)
class Proportional:
    """For a product of a gate and a signal: in proportion to what goes into their activations (Arras et al., 2019).

    Args:
        absolute: in proportion to the magnitudes, so that no part is negative or larger than the whole.
    """

    stabilizer: float | Callable = 1e-6
    absolute: bool = False

    def __post_init__(self):
        as_stabilizer(self.stabilizer)

    def backward(
        self,
        relevance: Arrays,
        inputs: Arrays,
        outputs: Arrays,
        function: Callable[..., Any],
        gates: Sequence[int] = (),
        summed: bool = False,
        before: Arrays | None = None,
    ) -> Arrays:
        """Returns the relevance of the factors; `before` has what they are activations of, by default themselves."""
        if summed:
            raise ValueError(
                "Proportional is for entrywise products of a gate and a signal, and this one is summed as by einsum: "
                "use SignalTakesAll or Uniform."
            )
        parts = [jnp.abs(part) if self.absolute else part for part in (before or inputs)]
        like = jnp.zeros_like(relevance[0])
        whole = as_stabilizer(self.stabilizer)(sum(parts, like))
        return tuple(_fitted(divided(relevance[0] * part, whole), x) for part, x in zip(parts, inputs, strict=True))


def _of_factors(stabilizer, relevance, inputs, outputs, function, signals: Sequence[int], summed: bool) -> Arrays:
    """The relevance of the factors of a product: the same for each of `signals`, nothing for the others."""
    if summed:
        _, pull = jax.vjp(function, *inputs)
        parts = pull((divided(relevance[0], as_stabilizer(stabilizer)(outputs[0])),))
        # A factor times its derivative is the whole product, and twice that for a product with itself.
        count = 2 if len(inputs) == 1 else len(signals)
        return tuple(
            x * part / count if index in signals else jnp.zeros_like(x)
            for index, (x, part) in enumerate(zip(inputs, parts, strict=True))
        )
    share = relevance[0] / len(signals)
    return tuple(_fitted(share, x) if i in signals else jnp.zeros_like(x) for i, x in enumerate(inputs))


@dataclasses.dataclass(frozen=True)
class Softmax:
    """For a softmax s of logits l, weights of attention for one: l (R - s sum R) (AttnLRP, Achtibat et al., 2024).

    The first-order terms of each weight; what remains is the relevance of a bias. Entries that are masked, whose
    weight is exactly 0, get nothing.
    """

    def backward(
        self,
        relevance: Arrays,
        inputs: Arrays,
        outputs: Arrays,
        function: Callable[..., Any],
        axes: Sequence[int] | None = None,
    ) -> Arrays:
        """Returns the relevance of the logits; `axes` along which weights sum to 1, None where that is not all."""
        weights = outputs[0]
        if axes is None:
            _, pull = jax.vjp(function, *inputs)
            (slope,) = pull((divided(relevance[0], weights),))
        else:  # without the exponentials, which need not be kept then
            received = jnp.where(weights == 0, jnp.zeros((), weights.dtype), relevance[0])
            slope = received - weights * jnp.sum(received, axes, keepdims=True)
        logits = jnp.where(slope == 0, jnp.zeros((), inputs[0].dtype), inputs[0])
        return (logits * slope,)


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


OF_PRODUCTS = (SignalTakesAll, Uniform, Proportional)
# What passes relevance on entry by entry: at a dense layer as wide as its inputs the shapes of its maps fit, and they
# mean nothing.
ENTRYWISE = (Pass, *OF_PRODUCTS, Softmax, ReLUDeconvNet, ReLUGuidedBackprop, ReLUBetaSmooth)


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


def _fitted(relevance, x) -> jax.Array:
    """Relevance of an operand that was broadcast: the sum over its copies."""
    if relevance.ndim > x.ndim:
        relevance = jnp.sum(relevance, axis=tuple(range(relevance.ndim - x.ndim)))
    axes = tuple(axis for axis, size in enumerate(x.shape) if size == 1 and relevance.shape[axis] != 1)
    relevance = jnp.sum(relevance, axis=axes, keepdims=True) if axes else relevance
    if relevance.shape != x.shape:
        raise ValueError(
            f"relevance of shape {relevance.shape} cannot pass to shape {x.shape}: Pass is for entrywise functions."
        )
    return relevance.astype(x.dtype)


def divided(relevance: Float[Array, ...], denominator: Float[Array, ...]) -> Float[Array, ...]:
    """Returns R / denominator, zero where the denominator is exactly zero, with a gradient that is never NaN."""
    safe = jnp.where(denominator == 0, jnp.ones((), denominator.dtype), denominator)
    return jnp.where(denominator == 0, jnp.zeros((), denominator.dtype), relevance / safe)
