"""Statistics of repeated and paired measurements: seeds, ratios on the same items, shares, and several tests at once.

An item is what both contestants were measured on, such as an image. Seeds of one item are not independent items: the
logarithm of the ratio is averaged over seeds first, items are the sample.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES, TOGETHER = 5000, 200  # in all; at a time
LEVEL = 0.95
LOW, HIGH = (1 - LEVEL) / 2, (1 + LEVEL) / 2


class OverSeeds(NamedTuple):
    """A quantity over the seeds of one setting.

    Attributes:
      mean: of the seeds.
      deviation: of one seed, with n - 1; None of a single seed, which does not say.
      low, high: Student's 95 % interval of the mean, for seeds that are normal; None of a single seed.
      count: of the seeds.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    count: int  # type: ignore[assignment]  # a tuple has a method of this name


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Returns mean, deviation and interval of one number a seed.

    Raises:
      ValueError: there is none, or one of them is not finite: say what failed beside the numbers of the others.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"values {numbers.tolist()!r:.200}: expected a finite number for each of at least one seed")
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return OverSeeds(mean, None, None, None, 1)
    from scipy import stats

    deviation = float(numbers.std(ddof=1))
    half = float(stats.t.ppf(HIGH, len(numbers) - 1)) * deviation / math.sqrt(len(numbers))
    return OverSeeds(mean, deviation, mean - half, mean + half, len(numbers))


def share_interval(count: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Returns (low, high) of Clopper and Pearson for the share of which `count` of `total` came up: its coverage is
    never below the level, also where none or all did.

    Raises:
      ValueError: count is not between 0 and total, or total is 0.
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"{count} of {total}: expected a count from 0 to a total of at least 1")
    from scipy import special

    # The quantiles themselves: scipy.stats.binomtest searches for them to 2e-12, which is coarse for a share of 1e-6.
    count, total, tail = int(count), int(total), (1 - level) / 2
    low = special.betaincinv(count, total - count + 1, tail) if count else 0.0
    high = special.betaincinv(count + 1, total - count, 1 - tail) if count < total else 1.0
    return float(low), float(high)


def accuracy_difference(
    before: np.ndarray, after: np.ndarray, seed: int = 0, resamples: int = 20_000
) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of the accuracy difference, after minus before.

    Where no item changes its answer for the better, or none for the worse, there is nothing to resample on that side:
    it reaches as far beyond as a share of which none was seen in n items, 1 - 0.025^(1/n), about 3.7 / n. So an
    interval never has width 0, and one changed item does not make it narrower than none.

    Args:
      before, after: bool [items], whether the answer was right, of the same items.
      seed: of the resampling.
      resamples: an item is drawn with both of its answers.
    """
    difference = after.astype(np.int64) - before.astype(np.int64)
    counts = [np.count_nonzero(difference == value) for value in (-1, 0, 1)]
    unseen = float(-np.expm1(np.log(LOW) / len(difference)))
    # Drawing items with replacement is drawing how many of each kind come up.
    kinds = np.random.default_rng(seed).multinomial(len(difference), np.array(counts) / len(difference), resamples)
    low, high = np.quantile((kinds[:, 2] - kinds[:, 0]) / len(difference), (LOW, HIGH))
    return float(low) - unseen * (counts[0] == 0), float(high) + unseen * (counts[2] == 0)


class Comparison(NamedTuple):
    """Distances beside a baseline's on the same images (or other items).

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
    medians = np.empty((RESAMPLES, *values.shape[1:]))
    for index in range(RESAMPLES):
        medians[index] = np.median(values[generator.integers(0, len(values), len(values))], axis=0)
    return np.quantile(medians, LOW, axis=0, method="inverted_cdf"), np.quantile(medians, HIGH, axis=0, method="higher")


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
    return (
        ratio(np.arange(count)[None])[0],
        np.quantile(resampled, LOW, axis=0, method="inverted_cdf"),
        np.quantile(resampled, HIGH, axis=0, method="higher"),
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted by Holm's steps for being tested together, in the same order."""
    order = np.argsort(p_values)
    adjusted, largest = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(largest, 1.0)
    return adjusted.tolist()
