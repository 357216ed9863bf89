"""Exact intervals of error rates of blocks that are counted up to a number of errors.

A fixed number of blocks has the interval of Clopper and Pearson, weighted ones that of Fay and Feuer: `rates.share`.
"""

from typing import NamedTuple

from common.study import statistics

LEVEL = statistics.LEVEL


class CountedRate(NamedTuple):
    """An error rate with its interval.

    Attributes:
      value, low, high: of the rate.
      events, blocks: how many were counted, of how many.
    """

    value: float
    low: float
    high: float
    events: int
    blocks: int


def counted_rate(errors: int, blocks: int, stop: int, level: float = LEVEL) -> CountedRate:
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
        return CountedRate(errors / blocks, *statistics.share_interval(errors, blocks, level), errors, blocks)
    from scipy import stats

    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, stop, blocks - stop + 1))
    high = float(stats.beta.ppf(1 - tail, stop, blocks - stop)) if blocks > stop else 1.0
    return CountedRate((stop - 1) / (blocks - 1), low, high, errors, blocks)
