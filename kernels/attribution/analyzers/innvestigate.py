"""Rules as iNNvestigate 2.1.2 has them (Alber et al., JMLR 2019): branches and terms, as in `rules`.

They differ from Zennit's: only denominators that are exactly zero are touched (Epsilon apart), AlphaBeta has the whole
bias in both denominators, and the squares, ones and bounds have none. "IB" is to ignore the bias. `layers` of the
analyzers says which of them goes where.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

from ...scalars import not_negative, positive, real
from .. import rules
from ..rules import WHOLE, Bound, Branch, Term, ZeroParams
from ..stabilize import Stabilizer, ZeroGuard

__all__ = [
    "NAMES",
    "AlphaBeta",
    "AlphaBetaX",
    "AlphaBetaX1000",
    "AlphaBetaX1001",
    "AlphaBetaX1010",
    "AlphaBetaX2m100",
    "Bounded",
    "Epsilon",
    "Flat",
    "WSquare",
    "Z",
    "ZPlus",
    "ZPlusFast",
    "by_name",
]

_same, _positive, _negative, _ones = rules._same, rules._positive, rules._negative, rules._ones


def _square(w):
    return w * w


class _Guarded:
    """What the rules have in common: zeros of the denominator become 1e-7, and no parameter counts as zero."""

    zero_params: ClassVar[ZeroParams] = None

    @property
    def stabilizer(self):
        """What the denominators go through."""
        return ZeroGuard()


@dataclasses.dataclass(frozen=True)
class Z(_Guarded):
    """Relevance in proportion to the contributions to z; the bias is an input that keeps its share."""

    bias: bool = True

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return (Branch(WHOLE if self.bias else (Term("x", _same, None),)),)


@dataclasses.dataclass(frozen=True)
class Epsilon(_Guarded):
    """Z with the denominator moved away from zero by epsilon, zero itself upwards.

    Raises:
        ValueError: epsilon is not above 0.
    """

    epsilon: float = 1e-7
    bias: bool = True

    def __post_init__(self):
        real("epsilon", self.epsilon, "a finite number > 0", positive)

    @property
    def stabilizer(self):
        """What the denominators go through."""
        return Stabilizer(self.epsilon)

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return Z(self.bias).branches()


@dataclasses.dataclass(frozen=True)
class AlphaBeta(_Guarded):
    """Positive contributions times alpha minus negative ones times beta; the whole bias stands in both denominators.

    Args:
        alpha, beta: either may be left to follow from the other.
        bias: False ignores it.

    Raises:
        ValueError: unless alpha >= 1, beta >= 0 and alpha - beta = 1.
    """

    alpha: float | None = None
    beta: float | None = None
    bias: bool = True

    def __post_init__(self):
        alpha, beta = self.alpha, self.beta
        if alpha is None and beta is None:
            raise ValueError("alpha and beta are None; expected at least one of them, as alpha=2.")
        alpha = real("beta", beta, "a finite number >= 0", not_negative) + 1 if alpha is None else alpha
        real("alpha", alpha, "a finite number >= 1", lambda value: value >= 1 and math.isfinite(value))
        beta = alpha - 1 if beta is None else real("beta", beta, "a finite number >= 0", not_negative)
        if not math.isclose(alpha - beta, 1, rel_tol=1e-9):
            raise ValueError(f"alpha is {alpha} and beta {beta}; expected alpha - beta = 1, such as (2, 1).")
        object.__setattr__(self, "alpha", float(alpha))
        object.__setattr__(self, "beta", float(beta))

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        assert self.alpha is not None and self.beta is not None, "one follows from the other"
        bias = _same if self.bias else None
        up = Branch((Term("x+", _positive, bias), Term("x-", _negative, None)), self.alpha)
        down = Branch((Term("x+", _negative, bias), Term("x-", _positive, None)), -self.beta)
        return (up, down) if self.beta else (up,)


@dataclasses.dataclass(frozen=True)
class ZPlus(_Guarded):
    """AlphaBeta(1, 0) that ignores the bias."""

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return AlphaBeta(1, 0, bias=False).branches()


@dataclasses.dataclass(frozen=True)
class ZPlusFast(_Guarded):
    """Positive weights only, inputs as they are: ZPlus where no input is negative."""

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return (Branch((Term("x", _positive, None),)),)


@dataclasses.dataclass(frozen=True)
class WSquare(_Guarded):
    """By the squares of the weights, whatever x and the bias."""

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return (Branch((Term("1", _square, None, factor=False),)),)


@dataclasses.dataclass(frozen=True)
class Flat(_Guarded):
    """Evenly over the inputs of every output; padding counts as no input."""

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        return (Branch((Term("1", _ones, None, factor=False),)),)


@dataclasses.dataclass(frozen=True, eq=False)
class Bounded(_Guarded):
    """For inputs between `low` and `high`, numbers or arrays by channel or of a sample's shape; without the bias."""

    low: Bound = -1.0
    high: Bound = 1.0

    def __post_init__(self):
        rules.ZBox(self.low, self.high)  # refuses what are no bounds

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        terms = (
            Term("x", _same, None),
            Term(self.low, _positive, None, sign=-1),
            Term(self.high, _negative, None, sign=-1),
        )
        return (Branch(terms),)


Pair = Sequence[float]  # two numbers


@dataclasses.dataclass(frozen=True)
class AlphaBetaX(_Guarded):
    """Contributions by the signs of input and weight, each kind with a factor and a denominator of its own.

    a0 (x+ W+) + a1 (x- W-) - b0 (x+ W-) - b1 (x- W+), the denominators with the bias of the sign of their weights.
    iNNvestigate multiplies x- W- by b1 instead of a1, see `legacy`.
    """

    alpha: Pair = (0.5, 0.5)
    beta: Pair = (0.5, 0.5)
    bias: bool = True

    def __post_init__(self):
        for name in ("alpha", "beta"):
            pair = getattr(self, name)
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(f"{name}={pair!r}: expected two numbers, such as (1, 0)")
            numbers = tuple(real(f"{name}[{place}]", number, "a finite number") for place, number in enumerate(pair))
            object.__setattr__(self, name, numbers)

    @property
    def factors(self) -> tuple[float, float, float, float]:
        """Of x+ W+, x- W-, x+ W-, x- W+."""
        return self.alpha[0], self.alpha[1], -self.beta[0], -self.beta[1]

    def branches(self) -> tuple[Branch, ...]:
        """The rule as data."""
        parts = (("x+", _positive), ("x-", _negative), ("x+", _negative), ("x-", _positive))
        return tuple(
            Branch((Term(data, part, part if self.bias else None),), factor)
            for (data, part), factor in zip(parts, self.factors, strict=True)
            if factor
        )


def AlphaBetaX1000(bias: bool = True) -> AlphaBetaX:
    """Positive inputs by positive weights only."""
    return AlphaBetaX((1, 0), (0, 0), bias)


def AlphaBetaX1010(bias: bool = True) -> AlphaBetaX:
    """Positive weights only, inputs of both signs."""
    return AlphaBetaX((1, 0), (0, -1), bias)


def AlphaBetaX1001(bias: bool = True) -> AlphaBetaX:
    """Inputs and weights of the same sign."""
    return AlphaBetaX((1, 1), (0, 0), bias)


def AlphaBetaX2m100(bias: bool = True) -> AlphaBetaX:
    """Positive inputs: twice their positive contributions minus their negative ones. The presets' rule for norms."""
    return AlphaBetaX((2, 0), (1, 0), bias)


_BY_NAME = {
    "Z": Z(),
    "ZIgnoreBias": Z(bias=False),
    "Epsilon": Epsilon(),
    "EpsilonIgnoreBias": Epsilon(bias=False),
    "WSquare": WSquare(),
    "Flat": Flat(),
    "AlphaBeta": None,
    "AlphaBetaIgnoreBias": None,
    "Alpha2Beta1": AlphaBeta(2, 1),
    "Alpha2Beta1IgnoreBias": AlphaBeta(2, 1, bias=False),
    "Alpha1Beta0": AlphaBeta(1, 0),
    "Alpha1Beta0IgnoreBias": AlphaBeta(1, 0, bias=False),
    "AlphaBetaX1000": AlphaBetaX1000(),
    "AlphaBetaX1010": AlphaBetaX1010(),
    "AlphaBetaX1001": AlphaBetaX1001(),
    "AlphaBetaX2m100": AlphaBetaX2m100(),
    "ZPlus": ZPlus(),
    "ZPlusFast": ZPlusFast(),
    "Bounded": Bounded(),
}
NAMES = tuple(name for name, rule in _BY_NAME.items() if rule is not None)


def by_name(rule: object) -> object:
    """Returns the rule that a text names, as iNNvestigate's lists of rules have them; a rule comes back as it is.

    Raises:
        ValueError: there is none of that name, or it needs arguments.

    Example:
        >>> from havel.kernels import attribution
        >>> attribution.innvestigate.by_name("Alpha2Beta1")
        AlphaBeta(alpha=2.0, beta=1.0, bias=True)
    """
    if isinstance(rule, str):
        if rule in _BY_NAME and _BY_NAME[rule] is None:
            raise ValueError(f"rule {rule!r} needs alpha or beta: give innvestigate.AlphaBeta(alpha=2) instead.")
        if rule not in _BY_NAME:
            raise ValueError(f"no rule {rule!r}; there are {', '.join(NAMES)}.")
        return _BY_NAME[rule]
    if not hasattr(rule, "branches") or isinstance(rule, type):
        raise ValueError(
            f"{rule!r} is no rule for layers; expected one of innvestigate.{', innvestigate.'.join(__all__[1:4])}, ... "
            "as an instance, or its name."
        )
    return rule
