"""How good clusters are: silhouette, Davies-Bouldin, Calinski-Harabasz, and whether subsamples give the same ones."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from projects.spray.pipelines import checks
from projects.spray.pipelines.estimators import distinct_rows
from projects.spray.pipelines.operations import rows_of
from projects.spray.pipelines.pipeline import Pipeline, needed, run


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of a clustering without its noise; None where they are undefined.

    Attributes:
      silhouette: -1 to 1, more is better; it favours two clusters.
      davies_bouldin: 0 or more, less is better.
      calinski_harabasz: 0 or more, more is better.
      clusters: their number.
      noise: the share of samples that are in none.
      reason: why scores are None, else "".
    """

    silhouette: float | None
    davies_bouldin: float | None
    calinski_harabasz: float | None
    clusters: int
    noise: float
    reason: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Stability:
    """Agreement of the clusters of subsamples with those of all samples.

    Attributes:
      mean: of the adjusted Rand indices; 1: the same clusters each time.
      indices: `[draws]`.
      share: of the samples in a subsample.
    """

    mean: float
    indices: np.ndarray
    share: float


def scores(rows: Any, labels: np.ndarray) -> Scores:
    """Returns the scores of a clustering.

    Args:
      rows: what was clustered: `[n, d]`, a selection or an embedding.
      labels: `[n]`, negative ones are noise.

    Raises:
      ValueError: another number of labels than of rows.
    """
    from sklearn import metrics

    values, labels = rows_of(rows), np.asarray(labels)
    if labels.shape != (len(values),):
        raise ValueError(f"labels of shape {labels.shape} for {len(values)} rows: expected one a row")
    inside = labels >= 0
    clusters = len(np.unique(labels[inside]))
    noise = float(1 - inside.mean())
    if not 2 <= clusters < inside.sum():
        reason = f"{clusters} clusters of {inside.sum()} samples"
        return Scores(None, None, None, clusters, noise, f"{reason}: defined for two or more, fewer than samples")
    values, labels = values[inside], labels[inside]
    distinct = distinct_rows(values)
    if distinct < clusters:
        reason = f"only {distinct} of {len(values)} samples are distinct, in {clusters} clusters"
        return Scores(None, None, None, clusters, noise, f"{reason}: some clusters are copies of others")
    values, reason = np.asarray(values, np.float64), ""
    calinski = float(metrics.calinski_harabasz_score(values, labels))
    if all(distinct_rows(values[labels == one]) == 1 for one in np.unique(labels)):
        calinski, reason = None, "calinski_harabasz is infinite: the samples of each cluster are the same"
    return Scores(
        float(metrics.silhouette_score(values, labels)), float(metrics.davies_bouldin_score(values, labels)), calinski,
        clusters, noise, reason,
    )  # fmt: skip


def stability(
    cluster: Callable[[np.ndarray], np.ndarray], data: np.ndarray, draws: int = 10, share: float = 0.8, seed: int = 0
) -> Stability:
    """Returns how well clusters of subsamples agree with those of all samples.

    Args:
      cluster: labels `[m]` of samples `[m, ...]`, such as `of_pipeline(pipeline, "clustering.kmeans_02")`.
      data: samples `[n, ...]`.
      draws: of subsamples, without replacement.
      share: of the samples in each.
      seed: of the draws.

    Raises:
      ValueError: a bad number of draws, share or seed.
    """
    checks.COUNT("draws", draws)
    checks.real(0, 1, open_below=True)("share", share)
    checks.whole(0)("seed", seed)
    from sklearn.metrics import adjusted_rand_score

    count = len(data)
    size = max(3, round(share * count))
    whole = np.asarray(cluster(data))
    draw = np.random.default_rng(seed)
    indices = np.empty(draws)
    for number in range(draws):
        rows = np.sort(draw.choice(count, size, replace=False))
        indices[number] = adjusted_rand_score(whole[rows], np.asarray(cluster(data[rows])))
    return Stability(float(indices.mean()), indices, share)


def of_pipeline(pipeline: Pipeline, output: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what gives one output of a pipeline; only what it needs is computed."""
    part = needed(pipeline, output)
    return lambda data: run(part, data)[output]
