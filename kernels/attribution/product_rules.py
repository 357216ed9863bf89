"""Rules for products of two values that both hang on the input, and for the softmax that makes weights of one.

Gates and signals: Arras et al. (EMNLP-WASSA 2017, and 2019). Attention: Ali et al. (arXiv:2202.07304), Achtibat et al.
(arXiv:2402.05602).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..array_types import Array, Num
from .shares import divided, fitted
from .stabilize import as_stabilizer

Arrays = Sequence[Num[Array, "..."]]


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

    def backward(self, relevance, inputs, outputs, function, gates=(), summed=False) -> Arrays:
        """Returns the relevance of the factors; see `SignalTakesAll`."""
        return _of_factors(self.stabilizer, relevance, inputs, outputs, function, range(len(inputs)), summed)


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
        return tuple(fitted(divided(relevance[0] * part, whole), x) for part, x in zip(parts, inputs, strict=True))


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
    return tuple(fitted(share, x) if i in signals else jnp.zeros_like(x) for i, x in enumerate(inputs))


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


OF_PRODUCTS = (SignalTakesAll, Uniform, Proportional)
