"""Pipelines: what they compute, branches, outputs, a start in the middle, the cache, and what is refused."""

import re

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from kernels import spectral
from projects.spray import pipelines
from projects.spray.pipelines import Pipeline, step

GROUPS = np.repeat([0, 1, 2], [20, 16, 12])
SPARSE = {
    "preprocessing": (step("reduce_channels", how="sum_abs"), step("pool", grid=4), step("normalize"), step("flatten")),
    "distance": step("knn", k=6), "affinity": step("graph"), "laplacian": step("normalized"),
    "embedding": step("spectral", q=6), "select": step("eigengap"),
    "clustering": {
        "eigengap": step("kmeans"), "kmeans": step("spectral_kmeans", k=(2, 3)), "dbscan": step("dbscan", eps=0.5),
        "agglomerative": step("agglomerative", k=3),
    },
    "views": {"pca": step("pca"), "maps": step("pca", source="preprocessing", n_components=3)},
}  # fmt: skip


def relevance() -> np.ndarray:
    """Maps of three strategies: each has its own place."""
    draw = np.random.default_rng(0)
    maps = draw.uniform(0, 0.2, (48, 8, 8, 3)).astype(np.float32)
    for group, place in enumerate([np.s_[:2, :2], np.s_[5:, 5:], np.s_[:2, 6:]]):
        maps[(GROUPS == group).nonzero()[0][:, None, None, None], *np.ix_(*[np.arange(8)[s] for s in place]), :] += 1
    return maps


@pytest.fixture(scope="module")
def maps():
    return relevance()


@pytest.fixture(scope="module")
def results(maps):
    return pipelines.run(Pipeline(SPARSE), maps, intermediates=True)


def test_three_strategies_are_three_clusters(results):
    assert results["select"].k == 3 and int(results["embedding"].components) == 3
    for name in ("eigengap", "kmeans_03", "dbscan", "agglomerative"):
        labels = results["clustering"][name]
        assert adjusted_rand_score(GROUPS, labels) == 1
        np.testing.assert_array_equal(np.bincount(labels), [20, 16, 12])  # by size
    assert len(np.unique(results["clustering"]["kmeans_02"])) == 2
    assert results["views"]["pca"].shape == (48, 2) and results["views"]["maps"].shape == (48, 3)
    assert isinstance(results["distance"], spectral.Neighbors)  # no matrix of all pairs


def test_the_dense_path_is_the_sparse_one(maps, results):
    slots = {
        "preprocessing": SPARSE["preprocessing"], "distance": step("pairwise"),
        "affinity": step("graph_of_distances", k=6), "laplacian": step("normalized"),
        "embedding": step("spectral", q=6),
    }  # fmt: skip
    dense = pipelines.run(Pipeline(slots), maps)["embedding"]
    np.testing.assert_allclose(dense.eigenvalues, results["embedding"].eigenvalues, atol=1e-5)
    gaussian = slots | {"affinity": step("gaussian", sigma=0.05)}
    assert pipelines.run(Pipeline(gaussian), maps)["embedding"].vectors.shape == (48, 6)


def test_outputs_come_by_name(maps):
    part = pipelines.needed(Pipeline(SPARSE), "clustering.dbscan")
    assert list(part.slots) == [
        "preprocessing",
        "distance",
        "affinity",
        "laplacian",
        "embedding",
        "select",
        "clustering",
    ]
    few = Pipeline(SPARSE, outputs=("clustering.kmeans_03", "select"))
    assert list(pipelines.run(few, maps)) == ["clustering.kmeans_03", "select"]
    assert Pipeline(SPARSE).outputs == ("embedding", "select", "clustering", "views")


def test_a_start_in_the_middle_takes_what_is_there(results):
    pipeline = Pipeline(SPARSE | {"preprocessing": step(refuse, gives="rows")})
    with pytest.warns(UserWarning, match="results of preprocessing were made by other steps .* from 'preprocessing'"):
        again = pipelines.resume_from(pipeline, "clustering", results, intermediates=True)
    with pytest.warns(UserWarning, match="results of preprocessing were made by other steps"):  # again of what is left
        pipelines.resume_from(pipeline, "views", again)
    for name, labels in results["clustering"].items():
        np.testing.assert_array_equal(again["clustering"][name], labels)
    few = {name: results[name] for name in ("preprocessing", "embedding", "select")}
    assert set(pipelines.resume_from(pipeline, "clustering", few)) == {"embedding", "select", "clustering", "views"}
    del few["embedding"]
    with pytest.raises(KeyError, match="have no 'embedding', which is needed: they have preprocessing, select"):
        pipelines.resume_from(pipeline, "clustering", few)
    with pytest.raises(KeyError, match="slot 'cluster': expected one of"):
        pipelines.resume_from(pipeline, "cluster", results)


def test_other_clusters_on_the_same_steps_warn_of_nothing(results, recwarn):
    pipeline = Pipeline(SPARSE | {"clustering": step("dbscan", eps=0.4), "views": step("pca")})
    pipelines.resume_from(pipeline, "clustering", results)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="results of distance were made by other steps"):
        pipelines.resume_from(Pipeline(SPARSE | {"distance": step("knn", k=7)}), "select", results)
    assert set(results["made_by"]) == set(SPARSE)


@pytest.mark.parametrize(
    ("slot", "gives", "function", "error", "words"),
    [
        ("preprocessing", "rows", lambda m: m[:40].reshape(40, -1), ValueError, "gives 40 samples for 48"),
        ("preprocessing", "rows", lambda m: m, TypeError, r"ndarray float32 of shape \(48, 8, 8, 3\): expected rows"),
        ("preprocessing", "maps", lambda m: m.tolist(), TypeError, "gives list: expected maps, an array"),
        ("distance", "neighbors", lambda m: m[..., 0, 0], TypeError, "expected neighbors, kernels.spectral.Neighbors"),
        ("distance", "distances", lambda m: np.zeros((48, 47)), TypeError, r"expected distances, an array \[n, n\]"),
        ("clustering", "labels", lambda m: np.zeros(48), TypeError, r"expected labels, whole numbers \[n\]"),
        ("clustering", "labels", lambda m: np.zeros(47, int), ValueError, "gives 47 samples for 48"),
    ],
)
def test_a_function_of_ones_own_gives_what_it_says(maps, slot, gives, function, error, words):
    with pytest.raises(error, match=f"{slot}.own: <lambda>: .*{words}"):
        pipelines.run(Pipeline({slot: {"own": step(function, gives=gives)}}), maps)


def test_what_a_step_raises_names_its_slot(maps):
    for slots, words in (
        ({"views": {"mine": step(refuse, gives="coordinates")}}, "slot 'views.mine' .* step 'refuse'"),
        ({"preprocessing": step("pool", grid=99)}, "slot 'preprocessing' .* step 'pool'"),
    ):
        with pytest.raises((AssertionError, ValueError)) as caught:
            pipelines.run(Pipeline(slots), maps)
        assert re.search(words, caught.value.__notes__[0])


def refuse(_):
    raise AssertionError("computed, though its result was there")


def test_the_cache_gives_the_same_and_is_read(maps, results, tmp_path, monkeypatch):
    slots = {
        name: SPARSE[name] for name in ("preprocessing", "distance", "affinity", "laplacian", "embedding", "select")
    }
    first = pipelines.run(Pipeline(slots), maps, cache=tmp_path)
    np.testing.assert_array_equal(first["embedding"].vectors, results["embedding"].vectors)
    assert len(list(tmp_path.rglob("*.h5"))) == 9
    from projects.spray.pipelines import operations

    for slot in operations.OPERATIONS.values():
        for name, operation in slot.items():
            monkeypatch.setitem(slot, name, operation.__class__(refused(operation.function), *_rest(operation)))
    second = pipelines.run(Pipeline(slots), maps, cache=tmp_path)
    assert second["select"].k == first["select"].k
    np.testing.assert_array_equal(second["embedding"].vectors, first["embedding"].vectors)
    monkeypatch.undo()
    other = slots | {"affinity": step("graph", symmetrize="union")}
    pipelines.run(Pipeline(other), maps, cache=tmp_path)
    assert len(list(tmp_path.rglob("*.h5"))) == 9 + 4  # another affinity: it and what follows


def refused(function):
    """The signature of a function, whose call is an error."""
    import functools

    @functools.wraps(function)
    def call(*_, **__):
        raise AssertionError("computed, though it is in the cache")

    return call


def _rest(operation):
    return operation.takes, operation.gives, operation.checks


def test_functions_of_ones_own(maps):
    center = 0.5
    slots = {"preprocessing": (step(lambda m: m[..., 0] - center, gives="maps"), step("flatten")), "views": step("pca")}
    out = pipelines.run(Pipeline(slots), maps)["views"]
    rows = maps[..., 0].reshape(48, -1)
    assert abs(np.corrcoef(out[:, 0], (rows - rows.mean(0)) @ np.linalg.svd(rows - rows.mean(0))[2][0])[0, 1]) > 0.999


def without(*names, **changes):
    return {name: slot for name, slot in (SPARSE | changes).items() if name not in names}


@pytest.mark.parametrize(
    ("slots", "error", "words"),
    [
        ({}, ValueError, "without slots"),
        ({"cluster": step("kmeans")}, KeyError, "slot 'cluster': expected one of preprocessing, distance"),
        ([("views", step("pca")), ("views", step("tsne"))], ValueError, "views come twice"),
        ([("views", step("pca")), ("preprocessing", step("flatten"))], ValueError, "expected the order"),
        ({"distance": step("kn")}, KeyError, "distance: function 'kn': expected one of knn, pairwise"),
        ({"distance": step("knn", n=3)}, TypeError, "distance: knn: parameter 'n': expected one of k, metric, block"),
        ({"distance": step("knn", k=0)}, ValueError, "distance: knn: k=0: expected a whole number, 1 or more"),
        ({"distance": step("knn", k=True)}, ValueError, "k=True"),
        ({"distance": step("knn", metric="euclid")}, ValueError, "knn: metric: 'euclid': expected one of euclidean"),
        ({"preprocessing": step("resize")}, TypeError, "resize needs shape"),
        ({"preprocessing": 3}, TypeError, "preprocessing: 3: expected a step"),
        (without("affinity"), ValueError, "laplacian: normalized takes graph, and gets neighbors"),
        (without(distance=step("pairwise")), ValueError, "affinity: graph takes neighbors, and gets distances"),
        (without(clustering={"a": step("kmeans", k=(2, 3)), "a_02": step("kmeans", k=2)}), ValueError,
         "a_02 come twice"),
        (without(clustering=step("kmeans", k=(2, 2))), ValueError, "expected different numbers"),
        (without(clustering={"a.b": step("dbscan")}), ValueError, "without dot and slash"),
        (without(clustering=step("dbscan", source="views.pca")), KeyError, "source 'views.pca': expected one of"),
        (without(clustering=step("dbscan", source="distance")), ValueError, "dbscan takes rows or .* gets neighbors"),
        (without(embedding={"s": step("spectral"), "p": step("pca", source="preprocessing")}), ValueError,
         "select: embedding has children: choose one by source=..., of embedding.s, embedding.p"),
        ({"views": step(len)}, TypeError, "needs gives=..., one of maps"),
        ({"views": step(len, gives="points")}, ValueError, "gives 'points'"),
        ({"views": (step("pca"), step("tsne", source="input"))}, ValueError, "only the first step of a chain"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_named_when_it_is_written(slots, error, words):
    with pytest.raises(error, match=words):
        Pipeline(slots)


def test_unknown_and_double_outputs_are_named():
    with pytest.raises(KeyError, match="output 'clustering.kmeans': expected one of .*clustering.kmeans_02"):
        Pipeline(SPARSE, outputs=("clustering.kmeans",))
    with pytest.raises(TypeError, match="expected a tuple of names"):
        Pipeline(SPARSE, outputs="select")
    with pytest.raises(ValueError, match="a name comes twice"):
        Pipeline(SPARSE, outputs=("select", "select"))


def test_branches_of_embeddings(maps, results):
    slots = without(
        "select",
        embedding={"spectral": SPARSE["embedding"], "pca": step("pca", source="preprocessing")},
        clustering={"both": step("agglomerative", k=3, source="embedding.pca"),
                    "kmeans": step("spectral_kmeans", k=3, source="embedding.spectral")},
        views={"pca": step("pca", source="embedding.spectral")},
    )  # fmt: skip
    again = pipelines.resume_from(Pipeline(slots), "embedding", {k: results[k] for k in ("preprocessing", "laplacian")})
    assert set(again["embedding"]) == {"spectral", "pca"}
    for labels in again["clustering"].values():
        assert adjusted_rand_score(GROUPS, labels) == 1


def test_bad_samples_are_named(maps):
    bad = maps.copy()
    bad[5, 2, 2, 0] = np.nan
    with pytest.raises(ValueError, match="5"):
        pipelines.run(Pipeline(SPARSE), bad)
    bad[5] = 0
    with pytest.raises(ValueError, match="5"):
        pipelines.run(Pipeline(SPARSE), bad)


def test_umap_says_how_to_get_it(results, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        pipelines.resume_from(Pipeline(SPARSE | {"views": step("umap")}), "views", results)


@pytest.mark.parametrize("variant", ["absspectral", "spectral", "fullspectral", "histogram", "ssim", "pcc"])
def test_every_variant_builds_and_preprocesses(maps, variant):
    pipeline = pipelines.spectral_clustering(variant, grid=8, q=8, views={})
    assert pipeline.outputs == ("embedding", "select", "clustering")
    part = pipelines.needed(pipeline, "preprocessing")
    rows = np.asarray(pipelines.run(part, maps)["preprocessing"])
    assert rows.shape[0] == 48 and np.isfinite(rows).all()
    if variant in ("absspectral", "spectral", "fullspectral", "pcc"):
        np.testing.assert_allclose(np.abs(rows).sum(1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="variant 'x'"):
        pipelines.spectral_clustering("x")
    with pytest.raises(ValueError, match="more than q=4"):
        pipelines.spectral_clustering(q=4)
