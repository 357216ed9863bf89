"""Blocks without a decoder: a gain and some luck decide, reliabilities tell of both."""

import numpy as np
from scipy import stats

from projects.eharq.blocks import FEATURES, Blocks

EDGES = (0.25, 0.5, 0.75)  # quantiles of the gain between strata


def blocks(
    count: int, seed: int, *, subcodes: int = 2, middle: float = -1.2, shares=None, trend: float = 0.2
) -> Blocks:
    """Returns so many blocks; one is lost where its gain and its luck together are below `middle`.

    Args:
      count: of blocks.
      seed: of their generator.
      subcodes: the second sees more than the first.
      middle: in standard deviations.
      shares: of the blocks by quarter of the gain, for strata; None is a plain draw.
      trend: what the slope of the trajectory tells of the luck, of which the gain knows nothing.
    """
    generator = np.random.default_rng(seed)
    if shares is None:
        uniform, stratum, weight = generator.random(count), np.zeros(count, np.int32), np.ones(count)
    else:
        stratum = np.repeat(np.arange(4), np.round(np.array(shares) * count).astype(int)).astype(np.int32)
        count = len(stratum)
        uniform = (stratum + generator.random(count)) / 4
        weight = (0.25 / (np.bincount(stratum, minlength=4) / count))[stratum]
    gain = stats.norm.ppf(uniform)
    luck = 0.25 * generator.normal(size=count)  # of the decoder, which the first iterations show
    failed, combined = gain + luck < middle, gain + luck + 3.0 + 0.5 * generator.normal(size=count) < middle
    features = np.empty((count, subcodes, len(FEATURES)))
    for subcode in range(subcodes):
        start = gain + (0.10 - 0.04 * subcode) * generator.normal(size=count)
        slope = trend * (luck + (0.10 - 0.04 * subcode) * generator.normal(size=count))
        for i in range(6):
            value = 0.5 * start + 0.12 * i * (1 + slope) + 0.005 * generator.normal(size=count)
            features[:, subcode, FEATURES.index(f"vnr_{i}")] = np.exp(value)
            share = 1 / (1 + np.exp(2 * value + i + 0.3 * generator.normal(size=count)))
            features[:, subcode, FEATURES.index(f"unsatisfied_{i}")] = share
        features[:, subcode, 0] = 1.1 * features[:, subcode, 1]
    return Blocks(
        features.astype(np.float32), failed, failed & combined, stratum, weight, np.exp(gain).astype(np.float32)
    )  # fmt: skip
