"""Forests of scikit-learn as arrays: every tree as a complete one of equal depth, and a walk over all rows at once.

A split is `x <= threshold` on float32, as scikit-learn has it; node i of a complete tree has the children 2i + 1 and
2i + 2, a leaf above the last level hands its value to all below it. Nothing is pickled.
"""

from typing import Any, NamedTuple

import numpy as np

ROWS = 32_768  # of a walk at a time: their features stay in the second cache


class Forest(NamedTuple):
    """Trees of equal depth.

    Attributes:
      feature: int32 [trees, 2^depth - 1], which input a node looks at.
      threshold: float32 [trees, 2^depth - 1]: inputs at or below it go left; infinite where there is nothing to split.
      value: float64 [trees, 2^depth], of the leaves from left to right.
    """

    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray


def from_trees(trees: list[Any], values: list[np.ndarray]) -> Forest:
    """Returns scikit-learn's trees as arrays.

    Args:
      trees: their `tree_`.
      values: of each tree, float64 [nodes], the value of every node; those of leaves count.
    """
    depth = max(tree.max_depth for tree in trees)
    parts = [_complete(tree, value, depth) for tree, value in zip(trees, values, strict=True)]
    return Forest(*(np.stack(arrays) for arrays in zip(*parts, strict=True)))


def _complete(tree: Any, value: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    feature = np.zeros(2**depth - 1, np.int32)
    threshold = np.full(2**depth - 1, np.inf, np.float32)
    level = np.zeros(1, np.int64)  # the tree's nodes at the places of one level
    for step in range(depth):
        places = np.arange(2**step - 1, 2 ** (step + 1) - 1)
        is_split = tree.children_left[level] >= 0
        feature[places] = np.where(is_split, tree.feature[level], 0)
        threshold[places] = np.where(is_split, _at_or_below(tree.threshold[level]), np.inf)
        left, right = (
            np.where(is_split, children[level], level) for children in (tree.children_left, tree.children_right)
        )
        level = np.stack([left, right], axis=1).ravel()
    return feature, threshold, value[level].astype(np.float64)


def _at_or_below(threshold: np.ndarray) -> np.ndarray:
    """Returns the largest float32 at or below a float64: float32 inputs are on the same side of both."""
    single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)


def mean_value(forest: Forest, inputs: np.ndarray) -> np.ndarray:
    """Returns the mean over trees of the value of the leaf that a row comes to, float64 [rows].

    Args:
      forest: the trees.
      inputs: [rows, inputs], looked at as float32.
    """
    depth = forest.value.shape[1].bit_length() - 1
    inner = forest.feature.shape[1]
    total = np.zeros(len(inputs))
    for start in range(0, len(inputs), ROWS):
        columns = np.ascontiguousarray(inputs[start : start + ROWS].T, np.float32)
        rows = np.arange(columns.shape[1])
        flat, offset = columns.ravel(), forest.feature * columns.shape[1]
        for place, threshold, value in zip(offset, forest.threshold, forest.value, strict=True):
            node = np.zeros(len(rows), np.int64)
            for _ in range(depth):
                node = 2 * node + 1 + (flat.take(place.take(node) + rows) > threshold.take(node))
            total[start : start + ROWS] += value.take(node - inner)
    return total / len(forest.value)


def random_forest(
    inputs: np.ndarray, failed: np.ndarray, weight: np.ndarray, *, trees: int, depth: int, least_in_leaf: int, seed: int
) -> Forest:
    """Returns a random forest whose leaves hold the weighted share of lost blocks (Breiman 2001).

    Args:
      inputs: float [rows, inputs].
      failed: bool [rows].
      weight: float [rows].
      trees, depth, least_in_leaf: of the forest.
      seed: of scikit-learn's generator.
    """
    return from_random_forest(fit_random_forest(inputs, failed, weight, trees, depth, least_in_leaf, seed))


def fit_random_forest(inputs, failed, weight, trees: int, depth: int, least_in_leaf: int, seed: int) -> Any:
    """Returns scikit-learn's forest, see `random_forest`."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        trees, max_depth=depth, min_samples_leaf=least_in_leaf, random_state=seed, n_jobs=-1
    )  # fmt: skip
    return model.fit(inputs.astype(np.float32), failed, sample_weight=weight)


def from_random_forest(model: Any) -> Forest:
    """Returns scikit-learn's classifier of two classes as arrays; leaves hold the second's probability."""
    trees = [tree.tree_ for tree in model.estimators_]
    return from_trees(trees, [tree.value[:, 0, 1] / tree.value[:, 0].sum(1) for tree in trees])


def fit_isolation_forest(inputs: np.ndarray, trees: int, rows: int, seed: int) -> Any:
    """Returns scikit-learn's isolation forest (Liu, Ting, Zhou 2008) of so many rows a tree."""
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(n_estimators=trees, max_samples=min(rows, len(inputs)), random_state=seed)
    return model.fit(inputs.astype(np.float32))


def from_isolation_forest(model: Any) -> Forest:
    """Returns scikit-learn's isolation forest as arrays: leaves hold h / c(n), so 2^-mean is the anomaly score."""
    trees = [tree.tree_ for tree in model.estimators_]
    unit = path_length(np.array([model.max_samples_]))[0]
    return from_trees(trees, [(_depths(tree) + path_length(tree.n_node_samples)) / unit for tree in trees])


def _depths(tree: Any) -> np.ndarray:
    """Returns how many splits are above each node."""
    depths = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # parents come before their children
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depths[child] = depths[node] + 1
    return depths


def path_length(rows: np.ndarray) -> np.ndarray:
    """Returns c(n) = 2 H(n - 1) - 2 (n - 1) / n, the mean depth of a search in a tree of n rows; 0 for 1, 1 for 2.

    The harmonic number is ln(n - 1) + Euler's constant for n > 2, as Liu et al. and scikit-learn have it.
    """
    rows = np.asarray(rows, np.float64)
    above = np.maximum(rows, 3)
    length = 2 * (np.log(above - 1) + np.euler_gamma) - 2 * (above - 1) / above
    return np.where(rows > 2, length, np.where(rows == 2, 1.0, 0.0))
