"""tau is the share of variance that a linear fit explains, whatever the axes and names; p-values count as they say."""

import functools
import inspect

import jax
import numpy as np
import pytest

from kernels import spectral
from kernels.spectral import separability
from tests.kernels.oracles import spectral as oracle
from tests.kernels.spectral.points import blobs

KEY = jax.random.key(0)
LABELS = np.random.default_rng(1).integers(0, 4, 200)
PHI = np.random.default_rng(0).standard_normal((200, 5)) + np.eye(4, 5)[LABELS]


def test_it_is_the_share_of_variance_that_a_fit_explains():
    with jax.enable_x64(True):
        tau = np.asarray(spectral.fisher_separability(PHI, LABELS, ridge=0.0).tau)
    for one in range(4):
        assert abs(tau[one] - oracle.explained(PHI, (LABELS == one).astype(float))) < 1e-8


def test_neither_axes_nor_names_matter():
    rotation, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((5, 5)))
    with jax.enable_x64(True):
        plain = np.asarray(spectral.fisher_separability(PHI, LABELS).tau)
        rotated = np.asarray(spectral.fisher_separability(PHI @ rotation + 3, LABELS).tau)
        renamed = np.asarray(spectral.fisher_separability(PHI, 3 - LABELS).tau)
    np.testing.assert_allclose(rotated, plain, atol=1e-12)
    np.testing.assert_allclose(renamed[::-1], plain, atol=1e-12)
    np.testing.assert_allclose(spectral.fisher_separability(PHI.astype(np.float32), LABELS).tau, plain, atol=1e-5)


def test_the_ridge_lowers_it():
    tau = [np.asarray(spectral.fisher_separability(PHI.astype("f"), LABELS, ridge).tau) for ridge in (0.0, 0.1, 10.0)]
    assert (tau[0] > tau[1]).all() and (tau[1] > tau[2]).all()


def test_small_clusters_are_skipped_and_noise_is_none():
    labels = np.repeat([0, 1, 2, -1], [150, 4, 30, 16])
    result = spectral.fisher_separability(PHI.astype(np.float32), labels)
    assert np.asarray(result.skipped).tolist() == [False, True, False]
    assert np.isnan(np.asarray(result.tau)).tolist() == [False, True, False]
    assert np.asarray(result.sizes).tolist() == [150, 4, 30]
    whole = spectral.fisher_separability(PHI.astype(np.float32), np.zeros(200, int), clusters=2)
    assert np.asarray(whole.skipped).all() and np.isnan(np.asarray(whole.tau)).all()  # there is no rest


def test_a_column_that_only_names_the_cluster():
    """No variance within: tau is 1 without a ridge, and below with one."""
    phi = np.repeat([[0.0, 1.0], [1.0, 1.0]], 10, axis=0).astype(np.float32)
    labels = np.repeat([0, 1], 10)
    assert np.asarray(spectral.fisher_separability(phi, labels, ridge=0.0).tau).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"labels": LABELS - 9}, "labels are all below 0"),
        ({"labels": LABELS[:9]}, "labels are int.* of shape"),
        ({"labels": LABELS * 1.0}, "expected signed integers"),
        ({"phi": np.full((200, 2), np.nan, np.float32)}, "phi holds NaN"),
    ],
)
def test_what_has_no_separability_is_refused(arguments, match, unchecked):
    with pytest.raises(ValueError, match=match):
        spectral.fisher_separability(**{"phi": PHI.astype(np.float32), "labels": LABELS, **arguments})


SETTINGS = {"k": 6, "q": 4, "clusters": (2, 3)}


@functools.cache
def null(planted: bool, kind: str = "principal") -> spectral.Null:
    """Of 60 normal samples, or of two clusters of them."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((60, 8)).astype(np.float32)
    x[:15, 0] += 12 * planted
    return spectral.separability_null(x, KEY, draws=9, null=kind, **SETTINGS)


def test_a_planted_cluster_stands_out_and_none_does_not():
    planted, clean = null(True, "gaussian"), null(False, "gaussian")
    assert float(planted.tau) > max(np.asarray(planted.draws)) and float(planted.p_value) == pytest.approx(0.1)
    assert float(planted.tau) > 0.95 > float(clean.tau) and float(clean.p_value) > 0.1


SLOW = [pytest.param(False, kind, marks=pytest.mark.slow) for kind in ("columns", "principal")]  # a compilation each


@pytest.mark.parametrize(("planted", "kind"), [(False, "gaussian"), (True, "gaussian"), *SLOW])
def test_p_values_count(planted, kind):
    result = null(planted, kind)
    draws = np.asarray(result.draws)
    assert draws.shape == (9,) and ((draws > 0) & (draws < 1)).all() and len(set(draws.tolist())) > 1
    assert float(result.p_value) == pytest.approx((1 + (draws >= float(result.tau)).sum()) / 10)
    assert float(result.median) == pytest.approx(np.median(draws))
    assert float(result.excess) == pytest.approx(float(result.tau) - np.median(draws), abs=1e-6)


@pytest.mark.parametrize("distinct", [1, 5, 6])
def test_copies_have_no_separability(distinct):
    """Fewer than 6 distinct rows: their clusters are copies."""
    x = np.random.default_rng(6).standard_normal((distinct, 8)).astype(np.float32)[np.arange(60) % distinct]
    result = spectral.separability_null(x, KEY, draws=9, **SETTINGS)
    assert np.isnan([float(result.tau), float(result.excess), float(result.p_value)]).tolist() == [distinct < 6] * 3
    assert spectral.distinct_rows(x) == distinct


@pytest.mark.slow
def test_a_class_of_copies_has_none():
    assert np.isnan(float(spectral.class_separability(np.ones((60, 8), np.float32), KEY, **SETTINGS)))


def test_copies_are_counted():
    x = np.random.default_rng(7).standard_normal((40, 8)).astype(np.float32)
    x[10:25] = x[3]
    assert spectral.distinct_rows(x) == 25
    assert spectral.distinct_rows(np.array([[0.0], [-0.0], [1e-30]], np.float32)) == 2
    assert spectral.distinct_rows(np.nextafter(x[:2] * 0 + 1, np.float32(2)) + [[0], [1e-7]]) == 2
    with pytest.raises(ValueError, match="x is traced: distinct_rows counts on the host"):
        jax.jit(spectral.distinct_rows)(x)


def test_gaussian_is_the_null():
    assert inspect.signature(spectral.separability_null).parameters["null"].default == "gaussian"


def test_traced_labels_need_a_number_of_clusters():
    phi = PHI.astype(np.float32)
    with pytest.raises(ValueError, match="clusters=None: labels are traced, .* set clusters"):
        jax.jit(spectral.fisher_separability)(phi, LABELS)
    of_four = jax.jit(functools.partial(spectral.fisher_separability, clusters=4))
    np.testing.assert_allclose(of_four(phi, LABELS).tau, spectral.fisher_separability(phi, LABELS).tau, atol=1e-6)


@pytest.mark.slow
def test_the_pipeline_is_that_of_its_parts():
    x = blobs(60, 3, spread=6.0)[0]
    tau = float(spectral.class_separability(x, KEY, **SETTINGS))
    embed_key, cluster_key = jax.random.split(KEY)
    phi = spectral.spectral_embedding(spectral.affinity(spectral.knn(x, 6)), 4, embed_key).vectors
    best = 0.0
    for number, key in zip((2, 3), jax.random.split(cluster_key, 2), strict=True):
        labels = spectral.kmeans(spectral.normalize_rows(phi[:, :number]), number, key, 5).labels
        best = max(best, float(np.nanmax(np.asarray(spectral.fisher_separability(phi, labels).tau))))
    assert tau == pytest.approx(best, abs=2e-3)


@pytest.mark.parametrize("kind", ["columns", "principal", "gaussian"])
def test_draws_of_a_null_keep_what_they_say(kind):
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((400, 3)) ** 3 @ np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])).astype(np.float32)
    draw = np.asarray(separability._sampler(jax.numpy.asarray(x), kind)(KEY))
    np.testing.assert_allclose(draw.mean(0), x.mean(0), atol=1e-3 if kind != "gaussian" else 1.0)
    if kind == "columns":
        np.testing.assert_array_equal(np.sort(draw, 0), np.sort(x, 0))
        assert abs(np.corrcoef(draw.T)[0, 1]) < 0.3 < np.corrcoef(x.T)[0, 1]
    else:
        assert np.corrcoef(draw.T)[0, 1] > 0.3
    assert not np.array_equal(draw, x)


def test_bad_settings_are_refused():
    x = blobs(20, 2)[0]
    with pytest.raises(ValueError, match="null='rows': expected one of columns, principal, gaussian"):
        spectral.separability_null(x, KEY, null="rows")
    with pytest.raises(ValueError, match="clusters=5: expected an integer from 2 to 4, as there are 4 vectors"):
        spectral.class_separability(x, KEY, q=4, clusters=(2, 5))
    with pytest.raises(ValueError, match="k=20: expected an integer from 1 to 19"):
        spectral.class_separability(x, KEY, k=20)
    with pytest.raises(ValueError, match="q=20: expected an integer from 2 to 19"):
        spectral.class_separability(x, KEY, k=3, q=20)
