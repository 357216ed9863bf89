"""The KL term against a numerical integral, masks and schedule against values worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from projects.deepcabac import sparsify


def integrated_kl(log_alpha: float) -> float:
    """KL in nats from N(1, alpha) to the log-uniform prior without its constant, by quadrature.

    -KL = 0.5 log alpha - E log|1 + sqrt(alpha) noise| + constant (arXiv:1705.07283 has the same by a Dawson integral).
    """
    deviation = np.exp(0.5 * log_alpha)
    noise = (np.arange(-400_000, 400_000) + 0.5) / 40_000  # -10 to 10, and the midpoints miss the logarithm's pole
    density = np.exp(-0.5 * noise**2)
    return float(-(0.5 * log_alpha - np.sum(density * np.log(np.abs(1 + deviation * noise))) / np.sum(density)))


def test_kl_follows_the_integral():
    grid = [-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0]
    exact = np.array([integrated_kl(value) for value in grid])
    ours = np.array([sparsify.kl_divergence(jnp.array([value])) for value in grid])
    offsets = ours - exact
    assert np.ptp(offsets) < 0.02  # the error of the fit; the constant is free


def test_kl_vanishes_for_noise_and_falls_with_log_alpha():
    values = np.array([sparsify.kl_divergence(jnp.array([a])) for a in np.linspace(-10, 10, 41)])
    assert np.all(np.diff(values) < 0)
    assert 0 <= values[-1] < 1e-4


def test_log_alpha_of_known_weights_and_of_zero():
    found = sparsify.log_alpha(jnp.array([1.0, -0.1, 0.0]), jnp.array([-4.0, np.log(0.04), -8.0]))
    np.testing.assert_allclose(found, [-4.0, np.log(4.0), 10.0], rtol=1e-5)


def test_variational_masks_cut_at_the_threshold():
    kernels = {"a": jnp.array([1.0, 1.0, 0.0])}
    masks = sparsify.variational_masks(kernels, {"a": jnp.array([2.9, 3.1, -8.0])}, 3.0)
    np.testing.assert_array_equal(masks["a"], [1.0, 0.0, 0.0])


@pytest.mark.parametrize("progress, expected", [(0.0, 1.0), (0.2, 1.0), (0.4, 0.1 + 0.9 / 8), (0.6, 0.1), (1.0, 0.1)])
def test_scheduled_density(progress, expected):
    assert float(sparsify.scheduled_density(progress, 0.2, 0.6, 0.1)) == pytest.approx(expected)


def test_magnitude_masks_keep_the_largest_relative_to_their_layer():
    generator = np.random.default_rng(0)
    kernels = {"large": jnp.array(generator.normal(size=(100, 50))), "small": jnp.array(generator.normal(size=5000))}
    kernels["small"] *= 1e-3
    masks = sparsify.magnitude_masks(kernels, 0.1)
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    assert sum(counts.values()) == pytest.approx(1000, abs=2)
    assert min(counts.values()) > 400  # a common threshold on raw magnitudes would leave "small" empty
    for name, mask in masks.items():
        kept, gone = np.abs(kernels[name])[mask == 1], np.abs(kernels[name])[mask == 0]
        assert kept.min() >= gone.max()


def test_magnitude_masks_never_empty_a_layer():
    kernels = {"wide": jnp.linspace(1.0, 2.0, 10_000), "flat": jnp.zeros(2000).at[:3].set(1e-9)}
    masks = sparsify.magnitude_masks(kernels, 0.01)
    assert int(masks["flat"].sum()) >= 2


def test_full_density_keeps_everything():
    masks = sparsify.magnitude_masks({"a": jnp.arange(10.0)}, 1.0)
    assert int(masks["a"].sum()) == 10


def test_nonzero_share():
    assert sparsify.nonzero_share({"a": np.array([0, 1.0]), "b": np.zeros(2)}) == 0.25
    assert sparsify.nonzero_share({}) == 0.0
