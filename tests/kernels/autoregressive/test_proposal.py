"""Proposals: mixtures have what a network lost, averages over images are laws, any network is a pair of functions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import ising
from kernels.autoregressive import MADE, PixelCNN, Proposal, estimate, init, log_prob, network_law
from kernels.ising import systems


def test_a_mixture_has_what_a_network_lost():
    """A network frozen near all up and all down, and the uniform one: alone it misses most of Z with small errors."""
    network, system = MADE(1, 8, depth=1, channels=1, bias=False, z2=True), systems.sk(8)
    uniform = jax.tree.map(np.zeros_like, init(network, jax.random.key(0)))
    stuck = jax.tree.map(lambda leaf: leaf + 6, uniform)
    exact = system.exact(1.0)
    proposal = Proposal([network_law(stuck, network), network_law(uniform, network)])
    result = estimate(proposal, system, 1.0, 20_000, key=jax.random.key(0), chunk=2000)
    assert abs(result.corrected.ln_z - exact.ln_z) < 6 * result.corrected.ln_z_err < 0.4
    assert result.single.ln_z < exact.ln_z - 1, "alone it does not know"
    assert result.raw["ln_z"][0] < result.single.ln_z
    spins, log_q = proposal.sample(jax.random.key(1), 1000)
    counts, law = np.unique(np.asarray(spins).reshape(1000, 8), axis=0, return_counts=True)[1], np.exp(log_q)
    assert law.max() < 0.5 and counts.max() == pytest.approx(1000 * law.max(), abs=6 * np.sqrt(250))
    with pytest.raises(ValueError, match="chunk=1: a mixture of 2 networks needs at least 2"):
        proposal.sample(jax.random.key(1), 1)


def test_averages_over_images_are_laws():
    """All 2^9 states sum to 1, images have equal probability where the maps are a group, and samples have that law."""
    network, system = PixelCNN(3, depth=1, channels=1, half_width=2), systems.lattice("square", 3, 3)
    proposal = Proposal([network_law(init(network, jax.random.key(5)), network)], system.images(2))
    assert proposal.symmetric and not dataclasses.replace(proposal, images=None).symmetric
    states = jnp.asarray(np.concatenate(list(ising.states(9))).reshape(-1, 3, 3))
    log_q = proposal.log_prob(states, 100)
    assert np.exp(log_q).sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(log_q, log_q[::-1], rtol=1e-5)  # state k and 511 - k are mirror images
    many = dataclasses.replace(proposal, images=system.images(6))
    spins, log_q = many.sample(jax.random.key(0), 20_000)
    np.testing.assert_allclose(log_q, many.log_prob(spins, 20_000), rtol=1e-5)
    number = ((1 - np.asarray(spins).reshape(-1, 9)) // 2) @ (1 << np.arange(8, -1, -1))
    law = np.exp(many.log_prob(states, 100))
    counts = np.bincount(number, minlength=512)
    assert np.all(np.abs(counts - 20_000 * law) < 6 * np.sqrt(20_000 * law) + 8)


def test_the_law_of_a_network():
    network = MADE(3, depth=1, channels=1, z2=True)
    parameters = init(network, jax.random.key(0))
    proposal = Proposal([network_law(parameters, network)])
    spins, log_q = proposal.sample(jax.random.key(1), 6, 4)
    assert spins.shape == (6, 3, 3) and proposal.is_single and proposal.symmetric
    np.testing.assert_allclose(log_q, log_prob(parameters, network, spins), rtol=1e-5)
    np.testing.assert_array_equal(spins[2:], proposal.sample(jax.random.key(1), 4, 6)[0])
