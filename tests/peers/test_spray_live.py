"""CoRelAy's processors by its names against CoRelAy itself: `make peers-spray` builds it, `make peers` runs this.

Where it is right our numbers are its numbers; where it is not, `semantics="corelay"` gives its numbers.
"""

import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics import adjusted_rand_score

from projects.spray.pipelines import corelay_files
from projects.spray.pipelines import corelay_names as names

PEER = "corelay"

DRAW = np.random.default_rng(0)
ROWS = np.concatenate([DRAW.normal(center, 0.5, (20, 6)) for center in (0, 3, -3)])
TWINS = np.concatenate([ROWS[:20], ROWS[:5]])  # equal rows
MAPS = DRAW.normal(size=(12, 2, 8, 9)) + 0.2
DISTANCES = np.abs(DRAW.normal(size=(30, 30)))
DISTANCES = DISTANCES + DISTANCES.T - 2 * np.diag(np.diag(DISTANCES))
POOLS = {"sum": np.sum, "max": np.max}


def theirs(peer, processor, data):
    """What a processor of theirs gives: an array, or a list of the parts of nested tuples."""
    peer.ask("process", processor=processor, x=peer.put("x", data), answer=peer.folder / "answer.npz")
    answer = peer.get("answer.npz")
    return answer["0"] if set(answer) == {"0"} else [answer[name] for name in sorted(answer)]


def build(processor):
    """Ours, from the same description."""
    parameters = dict(processor.get("parameters", {}))
    if "children" in processor:
        parameters["children"] = [build(child) for child in processor["children"]]
    if "index" in parameters:
        parameters["index"] = tuple(slice(*i) if isinstance(i, list) else i for i in parameters["index"])
    if "pooling_function" in parameters:
        parameters["pooling_function"] = POOLS[parameters["pooling_function"]]
    for key in ("stride", "indices", "axes"):
        if key in parameters:
            parameters[key] = tuple(parameters[key])
    return getattr(names, processor["name"])(**parameters)


def of(name, *children, **parameters):
    return {"name": name, "parameters": parameters} | ({"children": list(children)} if children else {})


def dense(value):
    if isinstance(value, tuple):
        return [part for item in value for part in (dense(item) if isinstance(item, tuple) else [dense(item)])]
    return value.toarray() if scipy.sparse.issparse(value) else np.asarray(value)


def affinity(rows=ROWS):
    return dense(names.SparseKNN()(names.SciPyPDist()(rows)))


RIGHT = [
    (of("SciPyPDist"), ROWS), (of("SciPyPDist", metric="cosine"), ROWS), (of("SciPyPDist", metric="cityblock"), ROWS),
    (of("SciPyPDist", metric="minkowski", m_kwargs={"p": 3}), ROWS),
    (of("SparseKNN"), DISTANCES), (of("SparseKNN", n_neighbors=4, symmetric=False), DISTANCES),
    (of("RadialBasisFunction", sigma=1.5), DISTANCES), (of("SymmetricNormalLaplacian"), affinity()),
    (of("RandomWalkNormalLaplacian"), affinity()), (of("PCAEmbedding", n_components=3), ROWS),
    (of("PCAEmbedding", whiten=True), ROWS), (of("Pooling", stride=[1, 1, 2, 3]), MAPS),
    (of("Pooling", stride=[1, 2, 3, 3], pooling_function="max", kwargs={"cval": 7}), MAPS),
    *[(of("Resize", width=w, height=h, filter=order), MAPS) for w, h in ((5, 4), (13, 17)) for order in (0, 1, 3)],
    (of("Resize", width=5, height=4, channels_first=False), MAPS[:, 0]),
    (of("Resize", width=4, height=4, kwargs={"anti_aliasing": False}), MAPS),
    (of("Resize", width=4, height=4, channels_first=False), np.moveaxis(MAPS, 1, -1)),
    (of("Rescale", scale=0.5), MAPS), (of("Rescale", scale=1.7, filter=2), MAPS[:, 1]),
    (of("Parallel", of("Shaper", indices=[0]), of("Shaper", indices=[1, 1])), ROWS[:2, None]),
    (of("Parallel", of("SciPyPDist"), of("PCAEmbedding"), broadcast=True), ROWS),
    (of("Sequential", of("Pooling"), of("Flatten"), of("SciPyPDist")), MAPS),
    (of("Absolute"), MAPS), (of("SumChannel"), MAPS), (of("Flatten"), MAPS),
    (of("Sequential", of("Absolute"), of("Normalize", axes=[2, 3])), MAPS),
]  # fmt: skip


@pytest.mark.parametrize(("processor", "data"), RIGHT)
@pytest.mark.parametrize("semantics", names.SEMANTICS)
def test_where_it_is_right_numbers_are_its(peer, processor, data, semantics):
    if processor["name"] == "Parallel" and not processor["parameters"]:
        data = DRAW.normal(size=(2, 3, 4))
        processor = of("Parallel", of("Flatten"), of("Absolute"))
    ours, peers = dense(build(processor)(data, semantics)), theirs(peer, processor, data)
    for one, other in zip(ours, peers, strict=True) if isinstance(ours, list) else [(ours, peers)]:
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


WRONG = [
    (of("SparseKNN", n_neighbors=5), TWINS @ TWINS.T), (of("SparseKNN", n_neighbors=50), DISTANCES),
    (of("Histogram", bins=7), MAPS), (of("Histogram", channels_first=False), MAPS[:, 0]),
    (of("Normalize", axes=[1, 2, 3]), MAPS), (of("PCC"), ROWS), (of("SSIM"), MAPS[:, 0]),
    (of("SSIM", data_range=4.0), MAPS[:, 1]),
    (of("TSNEEmbedding", perplexity=8.0, kwargs={"random_state": 3, "max_iter": 250}), ROWS),
    (of("LLEEmbedding", n_neighbors=8, kwargs={"random_state": 3}), ROWS),
]  # fmt: skip


@pytest.mark.parametrize(("processor", "data"), WRONG)
def test_its_numbers_in_its_semantics(peer, processor, data):
    np.testing.assert_allclose(
        dense(build(processor)(data, "corelay")), theirs(peer, processor, data), rtol=1e-6, atol=1e-7
    )


def eigen(peer, matrix, **parameters):
    return theirs(peer, of("EigenDecomposition", **parameters), matrix)


def test_eigenvalues_in_its_semantics_are_from_both_ends(peer):
    """Up to signs and order within equal eigenvalues; ours by default are those of the smooth end, ascending."""
    chance = np.random.default_rng(1).uniform(size=(200, 200))
    graph = names.SparseKNN(n_neighbors=3)(chance + chance.T)  # neighbours of no place: the spectrum has two ends
    matrix = dense(names.SymmetricNormalLaplacian()(graph))
    values, vectors = eigen(peer, matrix, n_eigval=8, normalize=False)
    ours = names.EigenDecomposition(n_eigval=8, normalize=False)(matrix, "corelay")
    np.testing.assert_allclose(ours[0], values, atol=1e-9)
    np.testing.assert_allclose(np.abs(ours[1]), np.abs(vectors), atol=1e-6)
    largest = eigen(peer, matrix, n_eigval=8, which="LA")
    right = names.EigenDecomposition(n_eigval=8)(matrix)
    np.testing.assert_allclose(right[0], largest[0][::-1], atol=1e-9)
    np.testing.assert_allclose(np.abs(right[1]), np.abs(largest[1][:, ::-1]), atol=1e-6)
    assert values.max() > 1 > right[0].max()  # the other end of the spectrum is among theirs


@pytest.mark.parametrize(
    ("processor", "data"),
    [
        (of("KMeans", n_clusters=3, kwargs={"n_init": 10, "random_state": 0}), ROWS),
        (of("KMeans", n_clusters=3, index=[[None], [0, 3]], kwargs={"n_init": 10}), ROWS),
        (of("DBSCAN", eps=1.2), ROWS),
        (of("HDBSCAN"), ROWS),
        (of("HDBSCAN", n_clusters=8), ROWS),
        (of("AgglomerativeClustering", n_clusters=4), ROWS),
        (of("AgglomerativeClustering", n_clusters=3, linkage="average", metric="cosine"), ROWS),
    ],
)
def test_clusters_are_its(peer, processor, data):
    expected = theirs(peer, processor, data)
    for semantics in names.SEMANTICS:
        labels = build(processor)(data, semantics)
        assert adjusted_rand_score(labels, expected) == pytest.approx(1)
        np.testing.assert_array_equal(labels < 0, expected < 0)
    counts = np.bincount(labels[labels >= 0]) if semantics == "paper" else []
    assert list(counts) == sorted(counts, reverse=True)


def test_a_whole_pipeline_in_its_semantics(peer):
    """As its users write it: two outputs, several clusterings of one embedding."""
    tasks = {
        "preprocessing": of("Sequential", of("SumChannel"), of("Normalize"), of("Flatten")),
        "affinity": of("SparseKNN", n_neighbors=4),
        "embedding": of("EigenDecomposition", n_eigval=4, is_output=True, which="LA"),
        "clustering": of(
            "Parallel", of("KMeans", n_clusters=2, kwargs={"n_init": 10}), of("DBSCAN", eps=0.4),
            broadcast=True, is_output=True,
        ),
    }  # fmt: skip
    maps = np.random.default_rng(3).uniform(0.1, 1, (40, 2, 5, 5)) + np.repeat([0.0, 3.0], 20)[:, None, None, None]
    maps[20:, :, :2] += 4
    peer.ask("cluster", tasks=tasks, x=peer.put("x", maps), answer=peer.folder / "answer.npz")
    seen = peer.get("answer.npz")
    (values, vectors), (kmeans, dbscan) = names.SpectralClustering(
        semantics="corelay", **{name: build(task) for name, task in tasks.items()}
    )(maps)
    np.testing.assert_allclose(values, seen["0/0"], atol=1e-9)
    np.testing.assert_allclose(np.abs(vectors[:, -1]), np.abs(seen["0/1"][:, -1]), atol=1e-6)
    assert adjusted_rand_score(kmeans, seen["1/0"]) == pytest.approx(1)
    assert adjusted_rand_score(dbscan, seen["1/1"]) == pytest.approx(1)
    (right, _), _ = names.SpectralClustering(**{name: build(task) for name, task in tasks.items()})(maps)
    np.testing.assert_allclose(right, values[::-1], atol=1e-9)  # maps whose sums are positive: the same affinities


def test_its_cache_files_open_here(peer, tmp_path):
    processors = [of("SciPyPDist"), of("RadialBasisFunction", sigma=2.0), of("EigenDecomposition", n_eigval=3)]
    peer.ask("cache", processors=processors, x=peer.put("x", ROWS), path=tmp_path / "cache.h5")
    entries = corelay_files.read_hashed(tmp_path / "cache.h5", "cache")
    by_name = {entry.processor: entry for entry in entries}
    assert set(by_name) == {"SciPyPDist", "RadialBasisFunction", "EigenDecomposition"}
    np.testing.assert_allclose(by_name["SciPyPDist"].data, names.SciPyPDist()(ROWS), atol=1e-12)
    assert by_name["RadialBasisFunction"].parameters["sigma"] == 2.0
    values, vectors = by_name["EigenDecomposition"].data
    assert values.shape == (3,) and vectors.shape == (60, 3)
    assert by_name["SciPyPDist"].outputs == by_name["RadialBasisFunction"].inputs


def test_its_storage_files_open_here(peer, tmp_path):
    peer.ask("store", path=tmp_path / "storage.h5", x=peer.put("x", ROWS))
    read = corelay_files.read_storage(tmp_path / "storage.h5")
    np.testing.assert_array_equal(read["array"], ROWS)
    assert [len(part) for part in read["tuple"]] == list(range(1, 13))  # ten stands after nine
    np.testing.assert_array_equal(read["mapping"]["first"], ROWS[0])
    assert read["mapping"]["number"] == 3 and read["text"] == "name"
