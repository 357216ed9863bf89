"""How well clusters agree with which images carry a planted artifact."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Agreement(NamedTuple):
    """The cluster that agrees best: its F1, the AUROC of being in it, the number of clusters and its own number."""

    f1: float
    auroc: float
    clusters: int
    cluster: int


def f1(flagged: np.ndarray, carrying: np.ndarray) -> float:
    """Returns 2 |both| / (|flagged| + |carrying|), 0 to 1; NaN where nothing carries an artifact."""
    if not carrying.any():
        return float("nan")
    return 2 * float((flagged & carrying).sum()) / float(flagged.sum() + carrying.sum())


def auroc(flagged: np.ndarray, carrying: np.ndarray) -> float:
    """Returns the area under the curve of a yes or no: the mean of sensitivity and specificity; NaN without both."""
    if carrying.all() or not carrying.any():
        return float("nan")
    return float(flagged[carrying].mean() + (~flagged[~carrying]).mean()) / 2


def best_cluster(labels: Mapping[int, np.ndarray], carrying: np.ndarray) -> Agreement:
    """Returns the agreement of the cluster of the highest F1, of any number of clusters.

    It is chosen with the truth at hand: what somebody who looks at all clusters could find, not what is found unaided.

    Raises:
      ValueError: there are no clusters.
    """
    options = [
        Agreement(f1(row == cluster, carrying), auroc(row == cluster, carrying), k, cluster)
        for k, row in labels.items()
        for cluster in range(row.max() + 1)
    ]
    if not options:
        raise ValueError("no clusters to compare with: expected one number of clusters or more")
    return max(options, key=lambda one: np.nan_to_num(one.f1, nan=-1))
