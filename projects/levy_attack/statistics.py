"""Paired comparison of attacks on the same images: ratios of distances with bootstrap intervals, Wilcoxon, Holm.

Seeds of one image are not independent images: the logarithm of the ratio is averaged over seeds first, images are the
sample.
"""

from typing import NamedTuple

import numpy as np

RESAMPLES, TOGETHER = 5000, 200  # in all; at a time
LEVEL = 0.95


class Comparison(NamedTuple):
    """One attack beside another on the same images.

    Attributes:
      ratio: median over images of the distance ratio; below 1 is nearer than the baseline.
      low, high: its percentile bootstrap interval over images.
      p_value: of Wilcoxon's signed-rank test on the log ratios, two-sided; 1 where all are equal.
      images, nearer: how many images, and for how many the ratio is below 1.
    """

    ratio: float
    low: float
    high: float
    p_value: float
    images: int
    nearer: int


def log_ratios(distances: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Returns the mean over seeds of ln(distance / baseline), [images, ...]; two failures are equal.

    Args:
      distances, baseline: [seeds, images, ...], infinite where nothing was found; 0 for images that needed no attack.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(distances) - np.log(baseline)
    return np.mean(np.where(distances == baseline, 0.0, ratios), axis=0)


def bootstrap_median(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns (low, high) of the median over axis 0 of values [images, ...], images resampled together."""
    generator = np.random.Generator(np.random.PCG64(seed))
    low, high = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    medians = np.empty((RESAMPLES, *values.shape[1:]))
    for index in range(RESAMPLES):
        medians[index] = np.median(values[generator.integers(0, len(values), len(values))], axis=0)
    return np.quantile(medians, low, axis=0, method="inverted_cdf"), np.quantile(medians, high, axis=0, method="higher")


def ratio_of_medians(distances: np.ndarray, baseline: np.ndarray, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Returns (ratio, low, high) of the medians over images and seeds, with a percentile bootstrap over images.

    Images are resampled together with all their seeds, and the same ones in both arms; where both medians are infinite
    the ratio is 1.

    Args:
      distances, baseline: [seeds, images, ...], of the same images; their seeds may differ.
      seed: of the resamples.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    count = distances.shape[1]

    def ratio(images):
        """Of images [resamples, count]."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ours, theirs = (np.median(array[:, images], axis=(0, 2)) for array in (distances, baseline))
            return np.where(ours == theirs, 1.0, ours / theirs)

    parts = [ratio(generator.integers(0, count, (TOGETHER, count))) for _ in range(-(-RESAMPLES // TOGETHER))]
    resampled = np.concatenate(parts)[:RESAMPLES]
    low, high = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    return (
        ratio(np.arange(count)[None])[0],
        np.quantile(resampled, low, axis=0, method="inverted_cdf"),
        np.quantile(resampled, high, axis=0, method="higher"),
    )


def compare(distances: np.ndarray, baseline: np.ndarray) -> Comparison:
    """Returns the comparison of distances [seeds, images] with a baseline [seeds, images]."""
    from scipy import stats

    values = log_ratios(distances, baseline)
    low, high = bootstrap_median(values)
    finite = np.clip(values, -1e3, 1e3)  # ranks are all that counts
    p_value = float(stats.wilcoxon(finite).pvalue) if np.any(finite != 0) else 1.0
    return Comparison(
        ratio=float(np.exp(np.median(values))),
        low=float(np.exp(low)),
        high=float(np.exp(high)),
        p_value=p_value,
        images=len(values),
        nearer=int(np.sum(values < 0)),
    )


def holm(p_values: list[float]) -> list[float]:
    """Returns Holm's adjusted p-values, in the order given."""
    order = np.argsort(p_values)
    adjusted, largest = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(largest, 1.0)
    return adjusted.tolist()
