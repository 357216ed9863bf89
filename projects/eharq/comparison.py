"""Two predictors at the same FNR on the same blocks: by how much the FPR is lower, with a paired bootstrap.

A block is drawn a Poisson(1) number of times, with both of its scores, and both thresholds are set anew, so that the
interval knows that they are estimated.
"""

from typing import NamedTuple

import numpy as np

from projects.eharq import rates

TOGETHER = 50  # resamples at a time
LEAST = 10  # lost blocks below a threshold; fewer say little
DEVIATIONS = 8  # beyond which no resample puts a threshold
HOLDS, MISSED, OPEN, FEW = "holds", "missed", "open", "too few NACKs"


class Cut(NamedTuple):
    """What of the FPR of a baseline another predictor saves.

    Attributes:
      value: 1 - FPR / FPR of the baseline, at the same FNR; negative where it is higher.
      low, high: percentile bootstrap interval of 95 % over blocks.
      fnr: at which.
      fpr, baseline_fpr: the two.
      nacks_below: lost blocks below the threshold of the predictor that has fewer there.
    """

    value: float
    low: float
    high: float
    fnr: float
    fpr: float
    baseline_fpr: float
    nacks_below: int


def cut(
    scores: np.ndarray, baseline: np.ndarray, failed: np.ndarray, weight: np.ndarray, fnr: float, *,
    resamples: int = 1000, seed: int = 0,
) -> Cut:  # fmt: skip
    """Returns what `scores` save of the FPR of `baseline` at an FNR.

    Only lost blocks near the thresholds are drawn one by one. Sums over others are drawn at once: w * Poisson(m) of
    the same mean and variance, which is exact where weights are equal.

    Args:
      scores, baseline: float64 [blocks].
      failed, weight: [blocks].
      fnr: of both.
      resamples, seed: of the bootstrap.
    """
    both = (scores, baseline)
    thresholds = [rates.threshold_at(each, failed, weight, fnr) for each in both]
    total = weight[~failed].sum()
    fprs = [
        float(weight[~failed & (each >= threshold)].sum() / total)
        for each, threshold in zip(both, thresholds, strict=True)
    ]
    below = min(int(np.sum(each[failed] < at)) for each, at in zip(both, thresholds, strict=True))
    ratios = np.concatenate(list(_ratios(both, failed, weight, fnr, resamples, np.random.default_rng(seed))))
    ends = np.quantile(ratios, [(1 + rates.LEVEL) / 2, (1 - rates.LEVEL) / 2], method="nearest")
    low, high = (float(1 - end) for end in ends)
    return Cut(float(1 - _ratio(*fprs)), low, high, fnr, *fprs, below)


def _ratio(ours, theirs):
    """Returns ours / theirs; two zeros are equal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.equal(ours, theirs), 1.0, np.divide(ours, theirs))


def _ratios(both, failed, weight, fnr, resamples, generator):
    """Yields ratios of the FPR over resamples."""
    lost = np.flatnonzero(failed)
    near = np.zeros(len(lost), bool)
    for each in both:
        near |= each[lost] <= _highest(each[lost], weight[lost], fnr)
    rest, near = weight[lost[~near]], lost[near]
    orders = [np.argsort(each[near]) for each in both]
    delivered = _Delivered(*(each[~failed] for each in both), weight[~failed])
    for start in range(0, resamples, TOGETHER):
        count = min(TOGETHER, resamples - start)
        drawn = generator.poisson(1.0, (count, len(near))) * weight[near]
        limit = fnr * (drawn.sum(1) + _sums(generator, np.full(count, rest.sum()), np.full(count, (rest**2).sum())))
        thresholds = [
            each[near][order][_last(drawn[:, order], limit)] for each, order in zip(both, orders, strict=True)
        ]
        sums = np.array([delivered.sums(*pair) for pair in zip(*thresholds, strict=True)])  # [count, 3, 2]
        mine, theirs, shared = (_sums(generator, *sums[:, part].T) for part in range(3))
        yield _ratio(mine + shared, theirs + shared)


def _highest(scores: np.ndarray, weight: np.ndarray, fnr: float) -> float:
    """Returns a score of a lost block above which no resample puts the threshold."""
    order = np.argsort(scores)
    below, squares = np.cumsum(weight[order]), np.cumsum(weight[order] ** 2)
    spread = DEVIATIONS * (np.sqrt(squares) + fnr * np.sqrt(squares[-1]))
    beyond = np.flatnonzero(below - spread > fnr * below[-1])
    return scores[order][beyond[0]] if len(beyond) else np.inf


def _last(drawn: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Returns the last place before which at most `limit` was drawn, [resamples]."""
    before = np.cumsum(drawn, axis=1) - drawn
    return np.count_nonzero(before <= limit[:, None] * (1 + rates.ROUNDING), axis=1) - 1


def _sums(generator: np.random.Generator, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Returns draws of sums of weight * Poisson(1), given the sums of weights and of their squares."""
    unit = np.divide(squares, total, out=np.ones_like(total), where=(total > 0) & (squares > 0))
    return unit * generator.poisson(total / unit)


class _Delivered:
    """Delivered blocks in the order of the first predictor, to sum those above a pair of thresholds."""

    def __init__(self, first: np.ndarray, second: np.ndarray, weight: np.ndarray):
        order = np.argsort(first)
        self.first, self.second, self.weight = first[order], second[order], weight[order]
        by_second = np.argsort(second)
        self.second_only = second[by_second]
        self.sums_above = [_from_the_end(self.weight), _from_the_end(weight[by_second])]

    def sums(self, first: float, second: float) -> np.ndarray:
        """Returns sums of weights and of squares [3, 2] above the first threshold only, the second only, and both."""
        start = np.searchsorted(self.first, first)
        shared = self.weight[start:][self.second[start:] >= second]
        shared = np.array([shared.sum(), np.square(shared).sum()])
        mine = self.sums_above[0][:, start]
        theirs = self.sums_above[1][:, np.searchsorted(self.second_only, second)]
        return np.stack([np.maximum(mine - shared, 0), np.maximum(theirs - shared, 0), shared])


def _from_the_end(weight: np.ndarray) -> np.ndarray:
    """Returns sums of weights and of squares [2, blocks + 1] from each place to the end."""
    rows = np.stack([weight, weight**2])[:, ::-1]
    return np.concatenate([np.zeros((2, 1)), np.cumsum(rows, axis=1)], axis=1)[:, ::-1]


def verdict(result: Cut, bar: float, *, strict: bool = False) -> str:
    """Returns whether the cut is at least `bar` (above it, where strict) by its whole interval, below it, or open."""
    if result.nacks_below < LEAST:
        return FEW
    if result.low > bar or (result.low == bar and not strict):
        return HOLDS
    return MISSED if result.high < bar or (result.high == bar and strict) else OPEN
