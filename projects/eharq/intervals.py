"""Exact intervals of error rates: of blocks counted to a number of errors, and of weighted blocks.

A fixed number of blocks has the interval of Clopper and Pearson (`common.study.statistics.share_interval`).
"""

from typing import NamedTuple

import numpy as np

from common.study import statistics

LEVEL = statistics.LEVEL


class Rate(NamedTuple):
    """An error rate with its interval.

    Attributes:
      estimate, low, high: of the rate.
      events, blocks: how many were counted, of how many.
    """

    estimate: float
    low: float
    high: float
    events: int
    blocks: int


def counted_rate(errors: int, blocks: int, stop: int, level: float = LEVEL) -> Rate:
    """Returns the rate of errors where counting ended with error number `stop`, or else with a number of blocks.

    Looking after every block and stopping when an interval of Clopper and Pearson is narrow enough would break its
    coverage. Here the rule is fixed beforehand: the block of the last error is the end. Outcomes are then ordered by
    what they say of the rate p: fewer blocks to the last error, more errors in all the blocks. With P(N <= n) =
    P(Binomial(n, p) >= stop) for the number N of blocks to the last error, tails have the level exactly: p_low =
    Beta^-1(a/2; stop, n - stop + 1), p_high = Beta^-1(1 - a/2; stop, n - stop), for it is known that the last block
    failed. Where blocks ran out first the interval is that of Clopper and Pearson. The estimate is unbiased where the
    errors end it: (stop - 1) / (n - 1).

    Args:
      errors: counted, at most `stop`.
      blocks: up to the last error where there are `stop`, else all.
      stop: at least 2.
      level: of the interval.

    Raises:
      ValueError: errors and blocks cannot come from such a count.

    Source: J. B. S. Haldane, On a method of estimating frequencies, Biometrika 33 (1945).
    """
    if not (0 <= errors <= min(stop, blocks) and stop >= 2 and blocks >= 1):
        raise ValueError(f"{errors} errors of {blocks} blocks, stop={stop}: expected 0 to {stop} errors, 2 to stop at")
    if errors < stop:
        return Rate(errors / blocks, *statistics.share_interval(errors, blocks, level), errors, blocks)
    from scipy import stats

    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, stop, blocks - stop + 1))
    high = float(stats.beta.ppf(1 - tail, stop, blocks - stop)) if blocks > stop else 1.0
    return Rate((stop - 1) / (blocks - 1), low, high, errors, blocks)


def weighted_rate(events: np.ndarray, weight: np.ndarray, level: float = LEVEL) -> Rate:
    """Returns the rate of events of weighted blocks: their mean weight, and its gamma interval.

    Plain Monte Carlo, all weights 1, has the interval of Clopper and Pearson. Else counts of strata are taken as
    Poisson, which binomial ones spread less than; a stratum without an event counts with the largest weight of all.

    Args:
      events: bool [blocks].
      weight: float64 [blocks], mean 1.
      level: of the interval.

    Raises:
      ValueError: there are no blocks.

    Source: M. P. Fay, E. J. Feuer, Confidence intervals for directly standardized rates, Statistics in Medicine 16
      (1997).
    """
    total, count = len(weight), int(np.count_nonzero(events))
    if not total or len(events) != total:
        raise ValueError(f"{len(events)} events of {total} blocks: expected one entry a block, and a block at least")
    if (weight == weight[0]).all():
        return Rate(count / total, *statistics.share_interval(count, total, level), count, total)
    from scipy import stats

    tail, each = (1 - level) / 2, weight[events] / total
    mean, variance, largest = float(each.sum()), float(np.square(each).sum()), float(weight.max()) / total
    low = float(stats.gamma.ppf(tail, mean**2 / variance, scale=variance / mean)) if count else 0.0
    mean_above, variance_above = mean + largest, variance + largest**2
    high = float(stats.gamma.ppf(1 - tail, mean_above**2 / variance_above, scale=variance_above / mean_above))
    return Rate(mean, low, min(high, 1.0), count, total)
