"""Spectral analysis in float64 NumPy and SciPy, from the formulas: all pairs, whole matrices, whole spectra; slow."""

import itertools

import numpy as np
import scipy.sparse


def pool(maps, grid) -> np.ndarray:
    """[n, h, w] summed over bins, pixel by pixel: row r of H is in bin floor(r g / H)."""
    n, height, width = maps.shape
    result = np.zeros((n, *grid))
    for r, c in itertools.product(range(height), range(width)):
        result[:, r * grid[0] // height, c * grid[1] // width] += maps[:, r, c]
    return result


def resize_line(values, size: int) -> np.ndarray:
    """[n] to [size] by a triangle that is as wide as an output pixel, or an input pixel where that is wider."""
    n = len(values)
    scale = max(n / size, 1)
    result = []
    for i in range(size):
        center = (i + 0.5) * n / size - 0.5
        weights = np.maximum(0, 1 - np.abs(np.arange(n) - center) / scale)
        result.append(weights @ np.asarray(values, np.float64) / weights.sum())
    return np.array(result)


def ssim(a, b, span: float) -> float:
    """The mean structural similarity of two maps, window by window of 7 x 7 pixels."""
    similarities = []
    for r, c in itertools.product(range(a.shape[0] - 6), range(a.shape[1] - 6)):
        x, y = (one[r : r + 7, c : c + 7].astype(np.float64).ravel() for one in (a, b))
        c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
        shared = ((x - x.mean()) * (y - y.mean())).sum() / 48
        numerator = (2 * x.mean() * y.mean() + c1) * (2 * shared + c2)
        similarities.append(numerator / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var(ddof=1) + y.var(ddof=1) + c2)))
    return float(np.mean(similarities))


def distance(a, b, metric: str) -> float:
    """Of two rows."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if metric == "correlation":
        a, b = a - a.mean(), b - b.mean()
    if metric in ("cosine", "correlation"):
        return 1 - a @ b / np.sqrt((a @ a) * (b @ b))
    difference = np.abs(a - b)
    return {
        "euclidean": np.sqrt((difference**2).sum()),
        "sqeuclidean": (difference**2).sum(),
        "cityblock": difference.sum(),
        "chebyshev": difference.max(),
    }[metric]


def squares(x, y) -> np.ndarray:
    """Squared euclidean distances [n, m], from differences."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.array([((row - y) ** 2).sum(1) for row in x])


def nearest(distances, k: int, *, is_own: bool) -> np.ndarray:
    """Indices [n, k] by distance, then by index."""
    rows = []
    for i, row in enumerate(distances):
        order = sorted((value, j) for j, value in enumerate(row) if not (is_own and i == j))
        rows.append([j for _, j in order[:k]])
    return np.array(rows)


def affinity(index, distance, symmetrize="mean", weights="binary", sigma=None) -> np.ndarray:
    """Weights [n, n]."""
    n, k = index.shape
    one_way = np.zeros((n, n))
    for i, j in itertools.product(range(n), range(k)):
        other, d = index[i, j], float(distance[i, j])
        if weights == "gaussian":
            weight = np.exp(-(d**2) / (2 * sigma**2))
        elif weights == "self_tuning":
            near = min(7, k) - 1
            scale = float(distance[i, near]) * float(distance[other, near])
            weight = np.exp(-(d**2) / scale) if scale else float(d == 0)
        else:
            weight = 1.0
        one_way[i, other] = weight
    if symmetrize == "mean":
        return (one_way + one_way.T) / 2
    return (np.maximum if symmetrize == "union" else np.minimum)(one_way, one_way.T)


def laplacian(weights, kind="symmetric") -> np.ndarray:
    """I - D^(-1/2) A D^(-1/2) or I - D^(-1) A, rows of vertices without edges 0."""
    degree = weights.sum(1)
    has = degree > 0
    inverse = np.where(has, 1 / np.where(has, degree, 1), 0)
    if kind == "symmetric":
        walk = np.sqrt(inverse)[:, None] * weights * np.sqrt(inverse)
    else:
        walk = inverse[:, None] * weights
    return np.diag(has.astype(float)) - walk


def components(weights) -> tuple[int, np.ndarray]:
    """(count, labels) of connected components, by SciPy's search."""
    return scipy.sparse.csgraph.connected_components(scipy.sparse.csr_matrix(weights), directed=False)


def eigengap(values, k_max: int) -> int:
    """The k of the largest gap, from 1."""
    gaps = [values[k] - values[k - 1] for k in range(1, k_max + 1)]
    return 1 + int(np.argmax(gaps))


def explained(phi, indicator) -> float:
    """R^2 of the least-squares fit of an indicator by columns and a constant."""
    design = np.column_stack([np.ones(len(phi)), phi])
    fit = design @ np.linalg.lstsq(design, indicator, rcond=None)[0]
    return 1 - ((indicator - fit) ** 2).sum() / ((indicator - indicator.mean()) ** 2).sum()


def rand_index(a, b) -> float:
    """The adjusted Rand index, pair by pair of samples."""
    pairs = list(itertools.combinations(range(len(a)), 2))
    one = np.array([a[i] == a[j] for i, j in pairs])
    other = np.array([b[i] == b[j] for i, j in pairs])
    together, expected = (one & other).sum(), one.sum() * other.sum() / len(pairs)
    largest = (one.sum() + other.sum()) / 2
    return (together - expected) / (largest - expected)


def angle(a, b) -> float:
    """The largest angle between the spaces of the columns of two matrices, in radians."""
    a, b = (np.linalg.qr(np.asarray(one, np.float64))[0] for one in (a, b))
    return float(np.arcsin(min(1.0, np.linalg.norm(b - a @ (a.T @ b), 2))))
