"""Settings, first parameters and their counts."""

import dataclasses

import jax
import numpy as np
import pytest

from kernels.autoregressive import MADE, PixelCNN, init, layers, log_prob, parameter_counts, sample
from tests.kernels.autoregressive.networks import PLAIN

# Figure 2a, 3, 4a and 4b of arXiv:1809.10606: (stored, unmasked).
COUNTS = [
    (PixelCNN(16, depth=3, channels=64, half_width=6, z2=True), 714_113, 359_233),
    (PixelCNN(16, depth=6, channels=64, half_width=3, residual=True, z2=True), 826_369, 430_017),
    (MADE(16, depth=3, channels=4, z2=True), 1_577_216, 792_832),
    (MADE(16, depth=6, channels=2, residual=True, z2=True), 2_366_720, 668_928),
    (MADE(1, 100, depth=1, channels=1, z2=True, bias=False), 10_000, 4_950),
    (MADE(1, 20, depth=1, channels=1, z2=True, bias=False), 400, 190),
    (MADE(1, 20, depth=2, channels=5, z2=True, bias=False), 4_100, 2_100),
]


@pytest.mark.parametrize(("cfg", "stored", "unmasked"), COUNTS)
def test_counts_are_those_of_the_paper(cfg, stored, unmasked):
    assert parameter_counts(cfg) == (stored, unmasked)
    held = sum(x.size for x in jax.tree.leaves(jax.eval_shape(lambda: init(cfg, jax.random.key(0)))))
    saved = 4 * 512 * 512 - 4 * 256 * 2 * 2 if cfg.residual and isinstance(cfg, MADE) else 0
    assert held == stored - saved


@pytest.mark.parametrize("cfg", [MADE(3, 5, depth=3, channels=2), PixelCNN(6, depth=3, channels=2, half_width=2)])
def test_as_many_parameters_matter_as_the_count_says(cfg):
    """Entries of the gradient that are not 0: none too many, and but for what z2 cancels not too few."""
    cfg = dataclasses.replace(cfg, z2=True)
    spins = np.random.default_rng(0).choice([-1, 1], (40, cfg.rows, cfg.columns))
    gradient = jax.grad(lambda p: log_prob(p, cfg, spins)[::2].sum())(init(cfg, jax.random.key(1)))
    alive = sum(int((np.asarray(x) != 0).sum()) for x in jax.tree.leaves(gradient))
    assert 0.95 * parameter_counts(cfg)[1] < alive <= parameter_counts(cfg)[1]


@pytest.mark.parametrize("cfg", [PixelCNN(4, depth=3, channels=8, half_width=2), MADE(4, depth=3, channels=3)])
def test_first_parameters_are_masked_and_bounded(cfg):
    params = init(cfg, jax.random.key(0))
    for k, layer in enumerate(layers(cfg)):
        kernel = np.asarray(params[layer.name]["kernel"])
        if isinstance(cfg, MADE):
            source, target = np.arange(16)[:, None, None, None], np.arange(16)[None, None, :, None]
            masked = np.broadcast_to(source > target if k else source >= target, kernel.shape)
            bound = 1 / np.sqrt(layer.inputs * (15 + 2 * (k > 0)) / 2)
        else:
            order = np.arange(25).reshape(5, 5, 1, 1)
            masked = np.broadcast_to(order > 12 if k else order >= 12, kernel.shape)
            bound = 1 / np.sqrt(layer.inputs * (12 + (k > 0)))
        assert (kernel[masked] == 0).all()
        largest = np.abs(kernel).max()
        assert 0.9 * bound < largest <= bound
        if k:
            assert (np.asarray(params[layer.name]["slope"]) == 0.5).all()


def test_parameters_have_the_dtype_asked_for():
    assert {x.dtype for x in jax.tree.leaves(init(PLAIN, jax.random.key(0), np.float16))} == {np.dtype(np.float16)}


def test_settings_are_hashable_and_square_by_default():
    assert PixelCNN(4) == PixelCNN(4, 4) and hash(PixelCNN(4)) == hash(PixelCNN(4, 4)) and MADE(2, 3).columns == 3


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: PixelCNN(0), "rows"),
        (lambda: PixelCNN(4, 0), "columns"),
        (lambda: PixelCNN(4, depth=0), "depth"),
        (lambda: MADE(4, depth=2.0), "depth"),
        (lambda: MADE(4, channels=-1), "channels"),
        (lambda: PixelCNN(4, half_width=0), "half_width"),
        (lambda: PixelCNN(4, epsilon=0.0), "epsilon"),
        (lambda: PixelCNN(4, epsilon=0.5), "epsilon"),
        (lambda: MADE(4, epsilon=float("nan")), "epsilon"),
        (lambda: MADE(4, epsilon=-1e-9), "epsilon"),
        (lambda: MADE(4, epsilon="small"), "epsilon"),
    ],
)
def test_bad_settings_are_refused_by_name(make, name):
    with pytest.raises(ValueError, match=f"{name}="):
        make()


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match="expected PixelCNN or MADE"):
        init({"rows": 3}, jax.random.key(0))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"half_width": 2}, r"layer_0/kernel is of shape \[3, 3, 1, 4\], cfg has \[5, 5, 1, 4\]"),
        ({"depth": 4}, "layer_2/bias is of shape"),
        ({"residual": True}, "layer_1/mix/bias is missing"),
        ({"bias": False}, "params hold layer_0/bias, layer_1/bias, layer_2/bias, which"),
    ],
)
def test_parameters_of_another_network_are_refused(change, named):
    """Most would fail later, or not at all: with biases that `cfg` has not, samples had another law than `log_prob`."""
    params, cfg = init(PLAIN, jax.random.key(0)), dataclasses.replace(PLAIN, **change)
    for call in (lambda: sample(params, cfg, jax.random.key(1), 3), lambda: log_prob(params, cfg, np.ones((1, 3, 3)))):
        with pytest.raises(ValueError, match=named):
            call()


def test_parameters_fit_any_lattice_of_pixel_cnn_and_one_of_made():
    params = init(PLAIN, jax.random.key(0))
    assert sample(params, dataclasses.replace(PLAIN, rows=5, columns=2), jax.random.key(1), 3)[0].shape == (3, 5, 2)
    with pytest.raises(ValueError, match="layer_0/bias"):
        sample(init(MADE(3), jax.random.key(0)), MADE(4), jax.random.key(1), 3)
