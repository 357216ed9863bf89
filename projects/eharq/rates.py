"""Error rates of predictors with intervals, of plain blocks and of weighted ones from strata.

A threshold t predicts a NACK where score >= t. FNR = P(predicted ACK | lost), FPR = P(predicted NACK | delivered);
P_eff = P(predicted ACK and lost) + P(predicted NACK and combined decoding fails); mean transmissions = 1 +
P(predicted NACK). Blocks of equal weight have Clopper and Pearson's interval. Blocks of strata have Fay and Feuer's
(Statistics in Medicine 16, 1997) for weighted sums of Poisson counts, which is the exact Poisson interval where
weights are equal; a binomial count varies less than a Poisson one, so it is no narrower than it should be.
"""

from typing import NamedTuple

import numpy as np

from common.study import statistics

LEVEL = statistics.LEVEL
ROUNDING = 1e-12  # relative, of sums of weights


class Rate(NamedTuple):
    """A share of blocks, estimated.

    Attributes:
      value: of the share; NaN where there are no blocks to have a share of.
      low, high: its 95 % interval, or of the level that was given.
      events, blocks: rows that had it, and that could have.
      bound: one-sided 95 % bound where none had it, about 3.0 / blocks; None otherwise.
    """

    value: float
    low: float
    high: float
    events: int
    blocks: int
    bound: float | None


def share(event: np.ndarray, weight: np.ndarray, among: np.ndarray | None = None, level: float = LEVEL) -> Rate:
    """Returns the share of blocks `among` which the event happens.

    Of weighted blocks, sums of weights are of Poisson counts. Where `among` is None the total is known, and the
    interval of the sum is divided by it. Else the share is A / (A + B) of disjoint, hence independent, counts: A with
    and B without the event. Each gets an interval of level 1 - (1 - level) / 2, and the share lies between A.low /
    (A.low + B.high) and A.high / (A.high + B.low) where both hold, which is at least as often as the level says. A
    normal approximation or a Fieller interval would need many events in A, which is what low FNR do not have.

    Args:
      event: bool [blocks].
      weight: float64 [blocks].
      among: bool [blocks]; None is all of them.
      level: of the interval.
    """
    happens = event if among is None else event & among
    events = int(np.count_nonzero(happens))
    blocks = len(event) if among is None else int(np.count_nonzero(among))
    if not blocks:
        return Rate(float("nan"), 0.0, 1.0, 0, 0, 1.0)
    weights = weight if among is None else weight[among]
    largest = float(weights.max())
    if weights.min() == largest:
        low, high = statistics.share_interval(events, blocks, level)
        return Rate(events / blocks, low, high, events, blocks, None if events else unseen(blocks))
    total, inside = float(weights.sum()), weight[happens]
    value = float(inside.sum()) / total
    if among is None:
        low, high = (min(1.0, end / total) for end in gamma_interval(inside, largest, level))
    else:
        narrow = 1 - (1 - level) / 2
        with_event = gamma_interval(inside, largest, narrow)
        without = gamma_interval(weight[among & ~event], largest, narrow)
        low, high = _part(with_event[0], without[1]), _part(with_event[1], without[0])
    bound = None if events else min(1.0, -largest * float(np.log(1 - LEVEL)) / total)
    return Rate(value, low, high, events, blocks, bound)


def _part(some: float, others: float) -> float:
    return some / (some + others) if some else 0.0


def unseen(blocks: int) -> float:
    """Returns the one-sided 95 % bound of a share that none of so many blocks had, 1 - 0.05^(1 / blocks)."""
    return float(-np.expm1(np.log(1 - LEVEL) / blocks))


def gamma_interval(weights: np.ndarray, largest: float, level: float = LEVEL) -> tuple[float, float]:
    """Returns (low, high) of Fay and Feuer for the mean of a weighted sum of Poisson counts.

    Args:
      weights: float [events], of those that happened.
      largest: weight that an event could have had.
      level: of the interval.
    """
    from scipy import stats

    tail = (1 - level) / 2
    total, square = float(np.sum(weights)), float(np.sum(np.square(weights)))
    low = stats.gamma.ppf(tail, total**2 / square, scale=square / total) if total else 0.0
    total, square = total + largest, square + largest**2
    high = stats.gamma.ppf(1 - tail, total**2 / square, scale=square / total)
    return float(low), float(high)


class Roc(NamedTuple):
    """Both rates at every threshold that tells blocks apart, from the lowest, which calls all lost, to infinity.

    Attributes:
      threshold, fnr, fpr: float64 [distinct scores + 1].
      missed: int64 [distinct scores + 1], lost blocks below the threshold.
    """

    threshold: np.ndarray
    fnr: np.ndarray
    fpr: np.ndarray
    missed: np.ndarray


def roc(scores: np.ndarray, failed: np.ndarray, weight: np.ndarray) -> Roc:
    """Returns the curve of weighted blocks; those of equal scores are on one side of every threshold."""
    order = np.argsort(scores)
    ordered, lost = scores[order], failed[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    below = np.concatenate([[0.0], np.cumsum(np.where(lost, weight[order], 0.0))])
    other = np.concatenate([[0.0], np.cumsum(np.where(lost, 0.0, weight[order]))])
    ends = np.concatenate([first, [len(scores)]])
    with np.errstate(invalid="ignore"):  # of one class only
        fnr, fpr = below[ends] / below[-1], 1 - other[ends] / other[-1]
    missed = np.concatenate([[0], np.cumsum(lost)])[ends]
    return Roc(np.concatenate([ordered[first], [np.inf]]), fnr, np.clip(fpr, 0.0, 1.0), missed)


class Area(NamedTuple):
    """The area under the curve.

    Attributes:
      value: P(score of a lost block > score of a delivered one) + P(equal) / 2.
      low, high: DeLong's 95 % interval (Biometrics 44, 1988), normal on the scale of ln(AUC / (1 - AUC)).
    """

    value: float
    low: float
    high: float


def auc(scores: np.ndarray, failed: np.ndarray, weight: np.ndarray) -> Area:
    """Returns the area under the weighted curve; NaN where one class is missing."""
    lost, delivered = (scores[failed], weight[failed]), (scores[~failed], weight[~failed])
    if not len(lost[0]) or not len(delivered[0]):
        return Area(float("nan"), 0.0, 1.0)
    higher = _placement(*lost, *delivered)  # of each lost block: delivered ones below it
    value = float(np.average(higher, weights=lost[1]))
    variance = 0.0
    for places, (_, weights) in ((higher, lost), (1 - _placement(*delivered, *lost), delivered)):
        variance += float((np.square(weights / weights.sum()) * np.square(places - value)).sum())
    if not 0 < value < 1:
        return Area(value, value, value)
    half = 1.959964 * np.sqrt(variance) / (value * (1 - value))
    middle = np.log(value / (1 - value))
    low, high = (float(1 / (1 + np.exp(-end))) for end in (middle - half, middle + half))
    return Area(value, low, high)


def _placement(scores: np.ndarray, weight: np.ndarray, others: np.ndarray, other_weight: np.ndarray) -> np.ndarray:
    """Returns for each score the weighted share of others below it; an equal one counts half."""
    order = np.argsort(others)
    sums = np.concatenate([[0.0], np.cumsum(other_weight[order])])
    places = [np.searchsorted(others[order], scores, side) for side in ("left", "right")]
    return (sums[places[0]] + sums[places[1]]) / (2 * sums[-1])


def threshold_at(scores: np.ndarray, failed: np.ndarray, weight: np.ndarray, fnr: float) -> float:
    """Returns the highest threshold whose FNR on these blocks is at most `fnr`; minus infinity of no lost blocks.

    It is the score of a lost block. At an FNR below the weight of any one of them it is the lowest of their scores.
    """
    distinct, below, total = _lost_below(scores, failed, weight)
    if not len(distinct):
        return -np.inf
    return float(distinct[np.flatnonzero(below <= fnr * total * (1 + ROUNDING))[-1]])


def _lost_below(scores, failed, weight) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns the distinct scores of lost blocks from the lowest, the weight of those below each, and of all."""
    order = np.argsort(scores[failed])
    ordered = scores[failed][order]
    sums = np.concatenate([[0.0], np.cumsum(weight[failed][order])])
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else []
    return ordered[first], sums[first], float(sums[-1])


class PointRates(NamedTuple):
    """A predictor at one threshold.

    Attributes:
      threshold: NACK is predicted at or above it.
      fnr, fpr, effective, repeated: shares of blocks; mean transmissions are 1 + repeated.
    """

    threshold: float
    fnr: Rate
    fpr: Rate
    effective: Rate
    repeated: Rate


def at_threshold(
    threshold: float, scores: np.ndarray, failed: np.ndarray, combined_failed: np.ndarray, weight: np.ndarray
) -> PointRates:
    """Returns all rates at a threshold, which should come from other blocks."""
    nack = scores >= threshold
    return PointRates(
        threshold,
        fnr=share(~nack, weight, failed),
        fpr=share(nack, weight, ~failed),
        effective=share(np.where(nack, combined_failed, failed), weight),
        repeated=share(nack, weight),
    )


def fpr_at(scores: np.ndarray, failed: np.ndarray, weight: np.ndarray, fnr: float) -> Rate:
    """Returns the FPR where the FNR is as asked for, both on these blocks; its interval knows that the threshold is
    estimated.

    The threshold lies, with 97.5 %, between the highest one whose FNR is not said to be above `fnr` by its interval
    and the lowest one whose FNR is not said to be below; between the FPR of these two, each with its interval of
    97.5 %, lies the FPR with at least 95 % (Bonferroni). Few lost blocks make that wide, up to 1.
    """
    narrow = 1 - (1 - LEVEL) / 2
    distinct, _, _ = _lost_below(scores, failed, weight)
    here = share(~failed & (scores >= threshold_at(scores, failed, weight, fnr)), weight, ~failed)

    def first(end: str) -> int:
        """The first of the distinct scores at which an end of the FNR's interval is above the FNR."""
        low, high = 0, len(distinct)
        while low < high:
            middle = (low + high) // 2
            rate = share(scores < distinct[middle], weight, failed, narrow)
            low, high = (low, middle) if getattr(rate, end) > fnr else (middle + 1, high)
        return low

    lowest, highest = first("high") - 1, first("low")
    most, least = 1.0, 0.0
    if lowest >= 0:
        most = share(scores >= distinct[lowest], weight, ~failed, narrow).high
    if highest < len(distinct):
        least = share(scores >= distinct[highest], weight, ~failed, narrow).low
    return here._replace(low=min(least, here.value), high=max(most, here.value))


class Guarantee(NamedTuple):
    """A threshold that keeps an FNR with a stated risk.

    Attributes:
      threshold: minus infinity, all blocks are sent again, where there are too few lost blocks to promise more.
      fnr, delta: with probability 1 - delta over the calibration blocks, its FNR is at most `fnr`.
      nacks: lost blocks of the calibration set.
      least_nacks: how many plain ones would allow for a threshold at all, ln(delta) / ln(1 - fnr).
    """

    threshold: float
    fnr: float
    delta: float
    nacks: int
    least_nacks: int


def guaranteed_threshold(
    scores: np.ndarray, failed: np.ndarray, weight: np.ndarray, stratum: np.ndarray, fnr: float, delta: float
) -> Guarantee:
    """Returns the highest threshold that can be promised to keep the FNR of a new block at `fnr` or below.

    Plain blocks: the order statistic r of the scores of the lost ones, with the largest r for which P(Binomial(n, fnr)
    < r) <= delta: below it lies a share of a Beta(r, n - r + 1) law at most, whatever the law of scores (Vovk 2012,
    conditional validity of conformal predictors). Strata: FNR = sum_s p_s P(lost, score < t | s) / sum_s p_s P(lost |
    s); the numerator is bounded from above and the denominator from below by Clopper and Pearson's one-sided bounds in
    every stratum, each at delta / (2 strata). Such a bound holds at any fixed threshold, and since the FNR rises with
    it, also at the highest one that passes (Bates et al. 2021, risk-controlling prediction sets). Strata that hold
    few blocks for their probability make it careful.

    Args:
      scores, failed, weight, stratum: [blocks], of the calibration set.
      fnr: to be kept.
      delta: the risk that it is not, over calibration sets.
    """
    from scipy import stats

    distinct, _, _ = _lost_below(scores, failed, weight)
    nacks = int(np.count_nonzero(failed))
    least = int(np.ceil(np.log(delta) / np.log1p(-fnr)))
    if weight.min() == weight.max():
        rank = int(stats.binom.ppf(delta, nacks, fnr))  # the smallest k with P(<= k) >= delta
        rank += bool(stats.binom.cdf(rank, nacks, fnr) <= delta)
        threshold = float(np.sort(scores[failed])[rank - 1]) if rank else -np.inf
        return Guarantee(threshold, fnr, delta, nacks, least)
    names, place, blocks = np.unique(stratum, return_inverse=True, return_counts=True)
    probability = np.array([weight[place == number].sum() for number in range(len(names))]) / weight.sum()
    risk = delta / (2 * len(names))
    lost = np.bincount(place[failed], minlength=len(names))
    least_lost = np.where(lost > 0, stats.beta.ppf(risk, np.maximum(lost, 1), blocks - lost + 1), 0.0) @ probability

    def passes(threshold: float) -> bool:
        missed = np.bincount(place[failed & (scores < threshold)], minlength=len(names))
        most = np.where(missed < blocks, stats.beta.ppf(1 - risk, missed + 1, np.maximum(blocks - missed, 1)), 1.0)
        return bool(most @ probability <= fnr * least_lost)

    low, high = 0, len(distinct)  # the bound rises with the threshold
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if passes(distinct[middle]) else (low, middle)
    return Guarantee(float(distinct[low - 1]) if low else -np.inf, fnr, delta, nacks, least)
