"""Maps keep their totals, their samples and their scale, and what has none is named."""

import jax
import numpy as np
import pytest

from kernels import spectral
from tests.kernels.oracles import spectral as oracle

MAPS = np.random.default_rng(0).standard_normal((4, 13, 9)).astype(np.float32)
COLOURS = np.random.default_rng(1).standard_normal((4, 13, 9, 3)).astype(np.float32)


def test_channels():
    for how, expected in (
        ("sum", COLOURS.sum(-1)),
        ("sum_abs", abs(COLOURS).sum(-1)),
        ("max_abs", abs(COLOURS).max(-1)),
    ):
        np.testing.assert_allclose(spectral.reduce_channels(COLOURS, how), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(spectral.reduce_channels(MAPS, "sum"), MAPS)
    np.testing.assert_array_equal(spectral.reduce_channels(MAPS, "sum_abs"), abs(MAPS))


@pytest.mark.parametrize("grid", [(1, 1), (4, 5), (13, 9), (5, 2)])
def test_pooling_conserves_the_total(grid):
    pooled = np.asarray(spectral.pool_maps(MAPS, grid))
    np.testing.assert_allclose(pooled, oracle.pool(MAPS.astype(np.float64), grid), atol=1e-5)
    colours = np.asarray(spectral.pool_maps(COLOURS, grid))
    assert colours.shape == (4, *grid, 3)
    np.testing.assert_allclose(colours.sum((1, 2)), COLOURS.sum((1, 2)), atol=1e-4)


def test_fewer_pixels_than_bins_are_refused():
    with pytest.raises(
        ValueError, match=r"grid=\(16, 16\) has more bins than maps of 13 x 9 .*coarser grid, or .resize"
    ):
        spectral.pool_maps(MAPS)
    with pytest.raises(ValueError, match=r"resize_maps. first; if axis 1 of \(4, 3, 13, 9\) are channels, .*moveaxis"):
        spectral.pool_maps(np.zeros((4, 3, 13, 9), np.float32), 8)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_norms(scale):
    """Also of numbers whose squares are beyond single precision."""
    maps = (MAPS * scale).astype(np.float32)
    rows = MAPS.astype(np.float64).reshape(4, -1)
    sizes = {"l1": abs(rows).sum(1), "l2": np.sqrt((rows**2).sum(1)), "max_abs": abs(rows).max(1),
             "signed_sum": rows.sum(1)}  # fmt: skip
    for norm, size in sizes.items():
        result = np.asarray(spectral.normalize_maps(maps, norm)).reshape(4, -1)
        np.testing.assert_allclose(result, rows / size[:, None], rtol=2e-4 if norm == "signed_sum" else 2e-6)


def test_maps_without_a_norm_are_named():
    maps = MAPS.copy()
    maps[[1, 3]] = 0
    with pytest.raises(ValueError, match='zero throughout in 2 samples of 4, numbers 1, 3: .*zero="keep"'):
        spectral.normalize_maps(maps)
    kept = np.asarray(spectral.normalize_maps(maps, zero="keep"))
    assert not kept[[1, 3]].any() and np.allclose(abs(kept[[0, 2]]).sum((1, 2)), 1)
    traced = np.asarray(jax.jit(spectral.normalize_maps)(maps))
    assert np.isnan(traced).any((1, 2)).tolist() == [False, True, False, True]
    maps = MAPS.copy()
    maps[2, ::2], maps[2, 1::2] = 0, 0
    maps[2, 0, 0], maps[2, 1, 1] = 0.3, -0.3
    with pytest.raises(ValueError, match='sums to zero.* in 1 samples of 4, numbers 2: "signed_sum".*norm="l1"'):
        spectral.normalize_maps(maps, "signed_sum")
    assert np.isnan(np.asarray(jax.jit(lambda x: spectral.normalize_maps(x, "signed_sum"))(maps))).any((1, 2))[2]


def test_a_sum_that_nearly_cancels_is_used():
    maps = np.array([[1.0, -0.9999]], np.float32)
    assert abs(float(spectral.normalize_maps(maps, "signed_sum")[0, 0]) - 1e4) < 20


@pytest.mark.parametrize("shape", [(7, 20), (26, 9), (13, 4)])
def test_resizing_is_linear(shape):
    expected = np.apply_along_axis(oracle.resize_line, 1, MAPS, shape[0])
    expected = np.apply_along_axis(oracle.resize_line, 2, expected, shape[1])
    np.testing.assert_allclose(spectral.resize_maps(MAPS, shape, 1), expected, atol=1e-5)


def test_the_nearest_pixel():
    np.testing.assert_array_equal(spectral.resize_maps(MAPS, (26, 27), order=0), MAPS.repeat(2, 1).repeat(3, 2))
    assert spectral.resize_maps(COLOURS, 5, order=0).shape == (4, 5, 5, 3)


def test_histograms_share_a_range():
    counts = np.asarray(spectral.histogram_maps(MAPS, 8))
    expected = [np.histogram(one, 8, (MAPS.min(), MAPS.max()))[0] for one in MAPS]
    np.testing.assert_array_equal(counts, expected)
    colours = np.asarray(spectral.histogram_maps(COLOURS, 8, (-9, 9)))
    assert colours.shape == (4, 3, 8) and (colours.sum(-1) == 117).all()
    assert np.asarray(spectral.histogram_maps(np.ones((3, 2, 2), np.float32), 4)).tolist() == [[0, 0, 4, 0]] * 3
    with pytest.raises(ValueError, match=r"beyond limits=\(-9, 2\) in \d samples of 4, numbers .*: widen"):
        spectral.histogram_maps(COLOURS, 8, (-9, 2))
    with pytest.raises(ValueError, match="limits=.*: expected the lowest first"):
        spectral.histogram_maps(MAPS, 8, (1, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_named(value):
    maps = MAPS.copy()
    maps[[0, 2], 5, 5] = value
    calls = (spectral.reduce_channels, spectral.normalize_maps, spectral.histogram_maps,
             lambda x: spectral.pool_maps(x, 2), lambda x: spectral.resize_maps(x, 2))  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="NaN or infinite values in 2 samples of 4, numbers 0, 2"):
            call(maps)


def test_many_numbers_are_cut_short():
    with pytest.raises(ValueError, match="in 30 samples of 30, numbers 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more"):
        spectral.normalize_maps(np.full((30, 2), np.nan, np.float32))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: spectral.reduce_channels(MAPS, "mean"), "how='mean': expected one of sum, sum_abs, max_abs"),
        (lambda: spectral.normalize_maps(MAPS, "l3"), "norm='l3': expected one of l1, l2"),
        (lambda: spectral.normalize_maps(MAPS, zero="drop"), "zero='drop': expected one of refuse, keep"),
        (lambda: spectral.pool_maps(MAPS[0], 2), "relevance has shape"),
        (lambda: spectral.pool_maps(MAPS.astype(np.float16), 2), "relevance has dtype float16: .*convert"),
        (lambda: spectral.pool_maps(MAPS, (2, 2, 2)), "grid=.*: expected a height and a width"),
    ],
)
def test_what_is_no_choice_is_refused(call, match, unchecked):
    with pytest.raises(ValueError, match=match):
        call()


def test_double_precision_stays():
    with jax.enable_x64(True):
        maps = MAPS.astype(np.float64)
        assert spectral.pool_maps(maps, 3).dtype == np.float64
        total = np.asarray(spectral.normalize_maps(maps, "l1"))
        np.testing.assert_allclose(abs(total).sum((1, 2)), 1, rtol=1e-14)
