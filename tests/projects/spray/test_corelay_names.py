"""CoRelAy's pipelines by its names: what they compute in both semantics, flags, caches, and what is refused."""

from typing import Annotated

import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics import adjusted_rand_score

from projects.spray.pipelines import corelay_names as names

DRAW = np.random.default_rng(0)
GROUPS = np.repeat([0, 1, 2], [12, 10, 8])
ROWS = DRAW.normal(size=(30, 4)) * 0.1 + GROUPS[:, None] * 3
MAPS = DRAW.normal(size=(6, 2, 8, 8))


def test_the_standard_pipeline_as_its_users_write_it():
    pipeline = names.SpectralClustering(
        affinity=names.SparseKNN(n_neighbors=4),
        embedding=names.EigenDecomposition(n_eigval=5, is_output=True),
        clustering=names.Parallel(
            [names.Parallel([names.AgglomerativeClustering(n_clusters=k) for k in (2, 3)], broadcast=True),
             names.DBSCAN()], broadcast=True, is_output=True,
        ),
    )  # fmt: skip
    (eigenvalues, vectors), ((two, three), dbscan) = pipeline(ROWS)
    np.testing.assert_allclose(eigenvalues[:3], 0, atol=1e-12)  # three components
    assert (np.diff(eigenvalues) >= 0).all() and eigenvalues[3] > 1e-3
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    assert adjusted_rand_score(GROUPS, three) == 1 and len(set(two)) == 2 and dbscan.shape == (30,)


def test_the_other_end_of_the_spectrum_is_in_its_semantics_only():
    """A graph near a bipartite one has eigenvalues near 2: largest magnitudes take them, the smooth end does not."""
    matrix = scipy.sparse.csr_matrix(np.kron([[0, 1], [1, 0]], np.ones((10, 10))) / 10)
    chain = np.arange(20)
    ring = scipy.sparse.csr_matrix((np.full(20, 0.5), (chain, (chain + 1) % 20)), (20, 20))
    matrix = 0.5 * matrix + 0.5 * (ring + ring.T)
    eigen = names.EigenDecomposition(n_eigval=4)
    exact = np.sort(1 - np.linalg.eigvalsh(matrix.toarray()))
    values, _ = eigen(matrix)
    np.testing.assert_allclose(values, exact[:4], atol=1e-10)
    theirs, _ = eigen(matrix, "corelay")
    assert theirs.max() > 1.4 > exact[3] and not np.allclose(np.sort(theirs), exact[:4])


def test_a_random_walk_has_the_eigenvalues_of_its_symmetric_twin():
    affinity = names.SparseKNN(n_neighbors=5)(names.SciPyPDist()(ROWS))
    symmetric = names.EigenDecomposition(n_eigval=6, normalize=False)(names.SymmetricNormalLaplacian()(affinity))
    walk = names.RandomWalkNormalLaplacian()(affinity)
    values, vectors = names.EigenDecomposition(n_eigval=6, normalize=False)(walk)
    np.testing.assert_allclose(values, symmetric[0], atol=1e-10)
    np.testing.assert_allclose(walk @ vectors, vectors * (1 - values), atol=1e-8)
    theirs = names.EigenDecomposition(n_eigval=6, normalize=False, which="LA")(walk, "corelay")
    assert np.abs(walk @ theirs[1] - theirs[1] * (1 - theirs[0])).max() > 1e-3  # a symmetric solver of what is not


def test_oneself_is_left_out_by_number():
    distances = names.SciPyPDist()(np.repeat(ROWS[:10], 2, axis=0))
    for semantics, selves in (("paper", 0), ("corelay", None)):
        affinity = names.SparseKNN(n_neighbors=1, symmetric=False)(distances, semantics).toarray()
        if selves == 0:
            np.testing.assert_array_equal(affinity.argmax(1), np.arange(20) ^ 1)  # the twin
            assert np.trace(affinity) == 0
        else:
            assert np.trace(affinity) > 0
    with pytest.warns(UserWarning, match="n_neighbors=30: 20 samples have 19 neighbours"):
        names.SparseKNN(n_neighbors=30)(distances)


def test_similarities_are_no_distances():
    similarity = names.PCC()(ROWS, "corelay")
    distance = names.PCC()(ROWS)
    np.testing.assert_allclose(distance + similarity, 1 - np.eye(30), atol=1e-10)
    with pytest.raises(ValueError, match="negative distances of samples .* 1 - s"):
        names.SparseKNN()(similarity)
    near = names.SSIM()(np.concatenate([MAPS[:, 0], MAPS[:1, 0] + 1e-3]))
    assert near[0].argsort()[1] == 6 and np.diag(near).max() == 0 and near.min() >= 0


def test_isolated_samples_have_rows_of_zeros():
    affinity = np.ones((4, 4)) - np.eye(4)
    affinity[3] = affinity[:, 3] = 0
    for kind in (names.SymmetricNormalLaplacian, names.RandomWalkNormalLaplacian):
        for matrix in (affinity, scipy.sparse.csr_matrix(affinity)):
            result = kind()(matrix)
            result = result.toarray() if scipy.sparse.issparse(result) else result
            np.testing.assert_array_equal(result[3], 0)
            assert not np.isfinite(kind()(affinity, "corelay")).all()
    _, vectors = names.EigenDecomposition(n_eigval=2)(names.SymmetricNormalLaplacian()(affinity))
    assert np.isfinite(vectors).all()


def test_bins_are_the_same_for_all_samples():
    maps = np.stack([np.linspace(0, 1, 16).reshape(4, 4), np.linspace(0, 4, 16).reshape(4, 4)])
    maps = np.concatenate([maps, maps[:1]])
    shared = names.Histogram(bins=4)(maps)
    assert shared.shape == (3, 1, 4)
    np.testing.assert_allclose(shared.sum(-1) * 1.0, 1)  # densities of bins of width 1
    np.testing.assert_allclose(shared[0, 0], [15 / 16, 1 / 16, 0, 0])
    own = names.Histogram(bins=4)(maps, "corelay")
    np.testing.assert_allclose(own[0] / own[0].sum(), own[1] / own[1].sum())  # each has its own range
    last = names.Histogram(bins=4, channels_first=False)
    assert last(maps).shape == (3, 1, 4) and last(maps, "corelay").shape == (3, 4, 4)  # columns as channels


def test_signed_sums_are_in_its_semantics_only():
    maps = MAPS[:, 0]
    np.testing.assert_allclose(np.abs(names.Normalize()(maps)).sum((1, 2)), 1)
    np.testing.assert_allclose(names.Normalize()(maps, "corelay").sum((1, 2)), 1)
    assert (np.sign(names.Normalize()(maps)) == np.sign(maps)).all()
    zero = maps.copy()
    zero[[2, 4]] = 0
    with pytest.raises(ValueError, match=r"zero throughout in samples \[2, 4\]"):
        names.Normalize()(zero)


@pytest.mark.parametrize("name", names.VARIANTS)
@pytest.mark.parametrize("semantics", names.SEMANTICS)
def test_every_variant_runs(name, semantics):
    maps = DRAW.normal(size=(14, 2, 8, 8)) + 0.5
    tasks = names.variant(name) | {
        "affinity": names.SparseKNN(n_neighbors=4), "embedding": names.EigenDecomposition(n_eigval=3, is_output=True),
        "clustering": names.AgglomerativeClustering(n_clusters=2, is_output=True),
    }  # fmt: skip
    (values, vectors), labels = names.SpectralClustering(semantics=semantics, **tasks)(maps)
    assert values.shape == (3,) and vectors.shape == (14, 3) and set(labels) == {0, 1}


def test_flow():
    assert names.Shaper((0, 1, (0, 1, 2)))(["a", "b", "c"]) == ("a", "b", ("a", "b", "c"))
    assert names.Shaper(indices=(0, 0))(3) == (3, 3)
    powers = names.Parallel([lambda x, n=n: x**n for n in (1, 2, 3)])
    assert powers(2) == powers((2, 2, 2)) == (2, 4, 8)
    assert names.Sequential([lambda x, c=c: c + x for c in "abcd"])("=") == "dcba="
    with pytest.raises(TypeError, match="2 elements for 3 children"):
        powers((1, 2))
    with pytest.raises(TypeError, match="has no"):
        names.Shaper((3,))([0])
    assert names.FunctionProcessor(lambda self, x: x + 1, bind_method=True)(1) == 2


def test_outputs_and_checkpoints():
    calls = []

    def double(x):
        calls.append(x)
        return 2 * x

    pipeline = names.pipeline(
        first=double, second=names.FunctionProcessor(lambda x: x + 1, is_checkpoint=True, is_output=True), third=double
    )
    assert pipeline(3) == 7  # one output
    outcomes = pipeline.outcomes(3)
    assert outcomes == {"first": 6, "second": 7, "third": 14}
    calls.clear()
    assert pipeline.from_checkpoint(outcomes) == 14 and calls == [7]
    with pytest.raises(ValueError, match="no task is a checkpoint"):
        names.pipeline(first=double).from_checkpoint({})
    with pytest.raises(KeyError, match="no 'second', the checkpoint"):
        pipeline.from_checkpoint({"first": 6})


def test_a_processor_with_io_computes_once(tmp_path):
    parallel = names.Parallel([names.PCAEmbedding(), names.DBSCAN()], broadcast=True, io=tmp_path)
    first, second = parallel(ROWS), parallel(ROWS)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert len(list(tmp_path.rglob("*.h5"))) == 1
    other = names.Parallel([names.PCAEmbedding(), names.DBSCAN(eps=0.1)], broadcast=True, io=tmp_path)
    assert not np.array_equal(other(ROWS)[1], first[1])  # a child's parameter is in the key
    names.Histogram(bins=3, io=tmp_path)(MAPS)
    assert names.Histogram(bins=5, io=tmp_path)(MAPS).shape[-1] == 5  # bins are none of the peer's identifiers


class Power(names.Processor):
    exponent: Annotated[float, names.Param(float, 2.0, positional=True, identifier=True)]
    factor: Annotated[float, names.Param(float, mandatory=True)]

    def function(self, data):
        return self.scaled(data**self.exponent)

    def scaled(self, data):
        return self.factor * data


class Shifted(Power):
    by = names.Param((int, str), 1)

    def function(self, data):
        return super().function(data) + self.by


def test_a_class_of_ones_own_is_a_processor(tmp_path):
    data = np.arange(4.0)
    np.testing.assert_array_equal(Power(factor=2)(data), 2 * data**2)
    np.testing.assert_array_equal(Shifted(3, factor=1.0, by=5)(data), data**3 + 5)
    own = Power(factor=0.5, is_output=True)
    pipeline = names.pipeline(first=own, second=names.Parallel([Power(1.0, factor=3.0), len], broadcast=True))
    np.testing.assert_array_equal(pipeline(data), data**2 / 2)
    assert pipeline.outcomes(data)["second"][1] == 4 and isinstance(names.DBSCAN(), names.Processor)
    own = Power(factor=2.0, io=tmp_path)
    for exponent in (2.0, 3.0, 3.0):
        own.exponent = exponent  # what is set counts, in the key too
        np.testing.assert_array_equal(own(data), 2 * data**exponent)
    assert len(list(tmp_path.rglob("*.h5"))) == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Power(), "Power: factor is missing"),
        (lambda: Power(factor="2"), "Power: factor='2': expected float"),
        (lambda: Power(1.0, 2.0), "2 positional arguments: expected at most 1"),
        (lambda: Power(1.0, exponent=2.0, factor=1.0), "exponent comes twice"),
        (lambda: Shifted(factor=1.0, to=3), "Shifted: parameter 'to': expected one of exponent, factor, by"),
        (lambda: names.Processor(), "Processor has no function"),
        (lambda: type("Bad", (names.Processor,), {"io": names.Param(int)}), "a parameter 'io': expected another"),
    ],
)
def test_a_class_of_ones_own_names_what_cannot_be(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_a_dendrogram_is_drawn_in_spite_of_a_cache(tmp_path):
    picture = tmp_path / "a.png"
    tree = names.Sequential([names.Dendrogram(output_file=str(picture))], io=tmp_path)
    for _ in range(2):
        tree(ROWS)
        picture.unlink()


def test_a_dendrogram_heeds_its_metric(tmp_path):
    for name, metric in (("a", "euclidean"), ("b", "cityblock")):
        tree = names.Dendrogram(output_file=str(tmp_path / f"{name}.png"), linkage="average", metric=metric)
        assert tree(ROWS) is ROWS
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    names.Dendrogram(output_file=str(tmp_path / "c.png"), linkage="average", metric="cityblock")(ROWS, "corelay")
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: names.SparseKNN(neighbors=3), TypeError, "SparseKNN: parameter 'neighbors': expected one of"),
        (lambda: names.SparseKNN(n_neighbors=0), ValueError, "n_neighbors=0: expected a whole number, 1 or more"),
        (lambda: names.SparseKNN(3), TypeError, "expected n_neighbors, symmetric, by name"),
        (lambda: names.EigenDecomposition(which="XX"), ValueError, "which: 'XX': expected one of LM, SM"),
        (lambda: names.AgglomerativeClustering(linkage="median"), ValueError, "linkage: 'median'"),
        (lambda: names.RadialBasisFunction(sigma=0), ValueError, "sigma=0: expected a finite number, above 0"),
        (lambda: names.Shaper(), TypeError, "Shaper: indices is missing"),
        (lambda: names.Parallel([3]), TypeError, "child 0=3: expected a processor or a function"),
        (lambda: names.SpectralClustering(distance=len), ValueError, "task 'distance': expected one of preprocessing"),
        (lambda: names.SpectralClustering(semantics="peer"), ValueError, "semantics 'peer': expected one of paper"),
        (lambda: names.SciPyPDist(metric="euclidia")(ROWS), ValueError, "metric='euclidia'"),
        (lambda: names.SciPyPDist(metric="cosine")(ROWS * (GROUPS != 1)[:, None]), ValueError, r"samples \[12, 13"),
        (lambda: names.SciPyPDist()(np.where(GROUPS[:, None] == 2, np.nan, ROWS)), ValueError, r"samples \[22, 23"),
        (lambda: names.SciPyPDist()(ROWS[:2]), ValueError, "expected three samples"),
        (lambda: names.EigenDecomposition(n_eigval=30)(np.eye(30)), ValueError, "n_eigval=30 of 30 samples"),
        (lambda: names.EigenDecomposition(n_eigval=2)(np.triu(np.ones((5, 5)))), ValueError, "is not symmetric"),
        (lambda: names.Resize(kwargs={"mode": "wrap"})(MAPS), ValueError, "Resize: kwargs mode: not taken"),
        (lambda: names.KMeans(kwargs={"max_iter": 3})(ROWS), ValueError, "takes n_init, random_state: kwargs max_iter"),
        (lambda: names.EigenDecomposition(n_eigval=2, kwargs={"sigma": 0})(np.eye(9)), ValueError, "kwargs sigma: not"),
        (lambda: names.Pooling(stride=(2, 2))(MAPS), ValueError, "expected one number an axis"),
        (lambda: names.variant("abs"), ValueError, "variant 'abs': expected one of absspectral"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()
