"""Measures of explanations in float64 and loops over single samples, written from their papers' formulas.

Maps and samples are of one sample here, without a batch axis, unless said. Nothing here is fast.
"""

import itertools
import math

import numpy as np


def region_of(shape, sizes):
    """Number of the region of every place of an array of `shape`, in row order."""
    before = [(-side % size) // 2 for side, size in zip(shape, sizes, strict=True)]
    counts = [math.ceil(side / size) for side, size in zip(shape, sizes, strict=True)]
    numbers = np.zeros(shape, int)
    for place in itertools.product(*(range(side) for side in shape)):
        number = 0
        for index, size, shift, count in zip(place, sizes, before, counts, strict=True):
            number = number * count + (index + shift) // size
        numbers[place] = number
    return numbers


def reflected(array, sizes):
    """An array with reflected edges, in whole regions; and the numbers of their regions."""
    pads = [(-side % size) for side, size in zip(array.shape, sizes, strict=True)]
    whole = np.pad(array, [(pad // 2, pad - pad // 2) for pad in pads], mode="reflect")
    return whole, region_of(whole.shape, sizes)


def region_scores(relevance, sizes, reduce):
    """Mean of each region of relevance `[*sides, channels]`."""
    over = {
        "mean": lambda r: r.mean(-1),
        "sum": lambda r: r.sum(-1),
        "abs": lambda r: np.abs(r).sum(-1),
        "max": lambda r: r.max(-1),
    }[reduce]
    whole, numbers = reflected(over(relevance), sizes)
    return np.array([whole[numbers == number].mean() for number in range(numbers.max() + 1)])


def order_of(scores, order):
    """Numbers of the regions in order; ties by number."""
    sign = -1 if order == "morf" else 1
    return sorted(range(len(scores)), key=lambda number: (sign * scores[number], number))


def curve(score, x, relevance, sizes, fill, *, order="morf", reduce="mean", per_step=1, first=None):
    """Scores of a sample `[*sides, channels]` while regions are replaced by those of `fill`, the clean one first."""
    numbers = region_of(x.shape[:-1], sizes)
    places = order_of(region_scores(relevance, sizes, reduce), order)
    count, scores = per_step if first is None else first, [score(x)]
    while True:
        inside = np.isin(numbers, places[:count])[..., None]
        scores.append(score(np.where(inside, fill(inside) if callable(fill) else fill, x)))
        if count >= len(places):
            return np.array(scores)
        count += per_step


def region_mean_fill(x, sizes):
    """The mean of each region and channel."""
    fill = np.zeros_like(x)
    for channel in range(x.shape[-1]):
        whole, numbers = reflected(x[..., channel], sizes)
        means = np.array([whole[numbers == number].mean() for number in range(numbers.max() + 1)])
        fill[..., channel] = means[region_of(x.shape[:-1], sizes)]
    return fill


def blur_fill(x, sigmas, widest=4.0):
    """Gaussian weights within the array, normalised at each place."""
    fill = np.zeros_like(x)
    sides = x.shape[:-1]
    for place in itertools.product(*(range(side) for side in sides)):
        total, weights = 0.0, 0.0
        for other in itertools.product(*(range(side) for side in sides)):
            distances = [(a - b) / sigma for a, b, sigma in zip(place, other, sigmas, strict=True)]
            if max(map(abs, distances)) <= widest:
                weight = math.exp(-0.5 * sum(d * d for d in distances))
                total, weights = total + weight * x[other], weights + weight
        fill[place] = total / weights
    return fill


def linear_fill(x, inside):
    """Masked entries as weighted means of their neighbours, by a dense solution; images `[height, width, channels]`."""
    height, width, channels = x.shape
    mask = inside[..., 0]
    if mask.all():
        return np.broadcast_to(x.mean((0, 1)), x.shape)
    places = [tuple(place) for place in np.argwhere(mask)]
    number = {place: index for index, place in enumerate(places)}
    system, right = np.zeros((len(places),) * 2), np.zeros((len(places), channels))
    for (row, column), index in number.items():
        for down, over in itertools.product((-1, 0, 1), repeat=2):
            other = (row + down, column + over)
            if (down, over) == (0, 0) or not (0 <= other[0] < height and 0 <= other[1] < width):
                continue
            weight = 1 / 6 if 0 in (down, over) else 1 / 12
            system[index, index] += weight
            if other in number:
                system[index, number[other]] -= weight
            else:
                right[index] += weight * x[other]
    fill = x.copy()
    if places:
        solution = np.linalg.solve(system, right)
        for place, index in number.items():
            fill[place] = solution[index]
    return fill


def aopc(scores):
    return sum(scores[0] - score for score in scores) / len(scores)


def t_interval(values):
    """(mean, low, high) with Student's quantile by bisection of the density's integral."""
    count, mean = len(values), sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    freedom = count - 1
    grid = np.linspace(0, 1, 2_000_001) * 400
    density = (1 + grid**2 / freedom) ** (-(freedom + 1) / 2)
    density *= math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    below = 0.5 + np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * (grid[1] - grid[0]))])
    half = np.interp(0.975, below, grid) * deviation / math.sqrt(count)
    return mean, mean - half, mean + half


def gini(relevance):
    """By the mean difference of all pairs."""
    sizes = np.abs(relevance).ravel()
    return np.abs(sizes[:, None] - sizes).sum() / (2 * len(sizes) * sizes.sum())


def complexity(relevance):
    shares = np.abs(relevance).ravel() / np.abs(relevance).sum()
    return -sum(share * math.log(share) for share in shares if share)


def effective_complexity(relevance, threshold):
    return sum(size > threshold * np.abs(relevance).max() for size in np.abs(relevance).ravel())


def valued(relevance, values):
    return {"signed": relevance, "positive": np.maximum(relevance, 0), "absolute": np.abs(relevance)}[values]


def pointing_game(relevance, mask, values="signed"):
    maps = valued(relevance, values)
    return float(np.mean([mask[place] for place in np.ndindex(maps.shape) if maps[place] == maps.max()]))


def mass_accuracy(relevance, mask, values="signed"):
    maps = valued(relevance, values)
    return maps[mask].sum() / maps.sum() if maps.sum() > 0 else math.nan


def largest(relevance, count):
    """Indices of the largest entries, ties by index."""
    flat = relevance.ravel()
    return sorted(range(len(flat)), key=lambda index: (-flat[index], index))[:count]


def top_k(relevance, mask, k, values="signed"):
    return sum(mask.ravel()[index] for index in largest(valued(relevance, values), k)) / k


def rank_accuracy(relevance, mask, values="signed"):
    return top_k(relevance, mask, int(mask.sum()), values)


def pearson(one, other):
    one, other = one.ravel() - one.mean(), other.ravel() - other.mean()
    return (one @ other) / math.sqrt((one @ one) * (other @ other))


def mean_ranks(values):
    flat = values.ravel()
    return np.array([(flat < value).sum() + ((flat == value).sum() - 1) / 2 for value in flat])


def spearman(one, other):
    return pearson(mean_ranks(one), mean_ranks(other))


def sensitivities(explain, x, noise, relative):
    """Distances of explanations, a draw each."""
    clean = explain(x)
    scale = math.sqrt((clean**2).sum()) if relative else 1.0
    return np.array([math.sqrt(((explain(x + delta) - clean) ** 2).sum()) / scale for delta in noise])


def lipschitz(explain, x, noise):
    clean, ratios = explain(x), []
    for delta in noise:
        moved = explain(x + delta) - clean
        ratios.append(math.sqrt((moved**2).sum() / (delta**2).sum()))
    return max(ratios)


def infidelity(score, x, relevance, perturbations, is_scaled=False):
    products = np.array([(change * relevance).sum() for change in perturbations])
    drops = np.array([score(x) - score(x - change) for change in perturbations])
    factor = (products @ drops) / (products @ products) if is_scaled else 1.0
    return ((factor * products - drops) ** 2).mean()


def faithfulness_correlation(score, x, relevance, subsets, value):
    sums, drops = [], []
    for subset in subsets:
        without = x.ravel().copy()
        without[subset] = value
        sums.append(relevance.ravel()[subset].sum())
        drops.append(score(x) - score(without.reshape(x.shape)))
    return pearson(np.array(sums), np.array(drops))


def monotonicity(score, x, relevance, value, absolute=True, per_step=1):
    flat = np.abs(relevance).ravel() if absolute else relevance.ravel()
    order = sorted(range(len(flat)), key=lambda index: (flat[index], index))
    now, scores = np.full(x.size, float(value)), []
    for start in range(-per_step, len(order), per_step):
        if start >= 0:
            places = order[start : start + per_step]
            now[places] = x.ravel()[places]
        scores.append(score(now.reshape(x.shape)))
    return float(np.mean(np.diff(scores) >= 0))
