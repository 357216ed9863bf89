"""Scores of clusterings, their stability, and the order of labels."""

import numpy as np
import pytest
from sklearn import metrics

from kernels import spectral
from projects.spray import pipelines
from projects.spray.pipelines import Pipeline, estimators, step

DRAW = np.random.default_rng(0)
BLOBS = np.concatenate([DRAW.normal(center, 0.3, (size, 3)) for center, size in ((0, 10), (4, 20))])
LABELS = np.repeat([1, 0], [10, 20])


def test_scores_are_those_of_the_samples_in_clusters():
    labels = LABELS.copy()
    labels[:3] = -1
    scores = pipelines.scores(BLOBS, labels)
    assert scores.silhouette == pytest.approx(metrics.silhouette_score(BLOBS[3:], labels[3:]), abs=1e-6)
    assert scores.davies_bouldin == pytest.approx(metrics.davies_bouldin_score(BLOBS[3:], labels[3:]))
    assert scores.calinski_harabasz == pytest.approx(metrics.calinski_harabasz_score(BLOBS[3:], labels[3:]))
    assert (scores.clusters, scores.noise) == (2, pytest.approx(0.1))


@pytest.mark.parametrize("labels", [np.zeros(30, int), np.full(30, -1), np.arange(30)])
def test_what_has_no_score_says_so(labels):
    scores = pipelines.scores(BLOBS, labels)
    assert scores.silhouette is None and scores.davies_bouldin is None and "defined for two" in scores.reason


FIELDS = len(spectral.Embedding._fields)
CONSTANT = np.full((30, 1), np.float32(0.3))
CONSTANT[::2] = np.nextafter(CONSTANT[0, 0], np.float32(1))  # what rows of length 1 have of rounding


def test_clusters_of_copies_have_no_scores():
    scores = pipelines.scores(CONSTANT, LABELS)
    assert (scores.silhouette, scores.davies_bouldin, scores.calinski_harabasz) == (None, None, None)
    assert "only 1 of 30 samples are distinct, in 2 clusters" in scores.reason
    points = pipelines.scores(LABELS[:, None] * 1.0, LABELS)
    assert (points.silhouette, points.davies_bouldin, points.calinski_harabasz) == (1, 0, None)
    assert "infinite" in points.reason


@pytest.mark.parametrize(
    "name", ["kmeans", "agglomerative", "gaussian_mixture", "spectral_kmeans", "dbscan", "hdbscan"]
)
def test_clusterings_of_one_constant_column_warn(name):
    one = np.ones((30, 1), np.float32)
    value, options = pipelines.Selection(one, 1, None), {"k": 2}
    if name == "spectral_kmeans":
        value = spectral.Embedding(
            np.zeros(2), np.concatenate([one, 0 * one], axis=1), np.zeros(2), *[None] * (FIELDS - 3)
        )
    elif name.endswith("scan"):
        options = {}
    words = "k=2: .* distinct" if options else "all 30 rows are the same"
    with pytest.warns(UserWarning, match=words):
        pipelines.OPERATIONS["clustering"][name].function(value, **options)


def test_distinct_rows_warn_of_nothing(recwarn):
    estimators.agglomerative(BLOBS, n_clusters=2)
    estimators.agglomerative(CONSTANT, n_clusters=1)
    estimators.dbscan(np.zeros((30, 30)), metric="precomputed")
    assert not recwarn.list


def test_labels_are_ordered_by_size():
    np.testing.assert_array_equal(estimators.by_size([5, -1, 2, 2, 5, 9, 5, -3]), [0, -1, 1, 1, 0, 2, 0, -1])
    np.testing.assert_array_equal(estimators.by_size([3, 1, 1, 3]), [0, 1, 1, 0])  # ties by the first sample
    np.testing.assert_array_equal(estimators.by_size([-1, -1]), [-1, -1])


def test_stable_clusters_have_one_and_chance_has_none():
    clear = pipelines.stability(lambda rows: estimators.agglomerative(rows, n_clusters=2), BLOBS)
    assert clear.mean == 1 and clear.indices.shape == (10,)

    def chance(rows):
        return np.random.default_rng(len(rows) + int(abs(rows.sum() * 1e6)) % 1000).integers(0, 2, len(rows))

    assert pipelines.stability(chance, BLOBS).mean < 0.5
    with pytest.raises(ValueError, match="share=1.2"):
        pipelines.stability(chance, BLOBS, share=1.2)
    with pytest.raises(ValueError, match="draws=0"):
        pipelines.stability(chance, BLOBS, draws=0)


def test_the_stability_of_a_pipeline():
    pipeline = Pipeline({"clustering": {"a": step("agglomerative", k=2)}, "views": step("tsne")}, takes="rows")
    clear = pipelines.stability(pipelines.of_pipeline(pipeline, "clustering.a"), BLOBS, draws=3)
    assert clear.mean == 1 and clear.share == 0.8


@pytest.mark.parametrize(
    "cluster",
    [
        lambda rows: estimators.dbscan(rows, eps=1.5), lambda rows: estimators.hdbscan(rows),
        lambda rows: estimators.gaussian_mixture(rows, n_clusters=2),
        lambda rows: estimators.agglomerative(rows, n_clusters=2, linkage="single"),
    ],
)  # fmt: skip
def test_every_clustering_finds_two_blobs(cluster):
    assert metrics.adjusted_rand_score(cluster(BLOBS), LABELS) == 1


def test_agglomerative_is_the_linkage_of_scipy():
    from scipy.cluster import hierarchy

    rows = DRAW.normal(size=(40, 3))
    for linkage in ("ward", "average", "complete", "single"):
        expected = hierarchy.fcluster(hierarchy.linkage(rows, linkage), 4, "maxclust")
        assert metrics.adjusted_rand_score(expected, estimators.agglomerative(rows, n_clusters=4, linkage=linkage)) == 1


@pytest.mark.parametrize("view", [estimators.tsne, estimators.pca, estimators.lle, estimators.isomap])
def test_views_are_the_same_twice(view):
    options = {"perplexity": 5.0, "method": "exact", "max_iter": 250} if view is estimators.tsne else {}
    options |= {"n_neighbors": 25} if view is estimators.isomap else {}
    first, second = view(BLOBS, **options), view(BLOBS, **options)
    assert first.shape == (30, 2)
    np.testing.assert_array_equal(first, second)


def test_a_perplexity_of_all_samples_is_refused():
    with pytest.raises(ValueError, match="perplexity=30.0 of 30 samples"):
        estimators.tsne(BLOBS)
