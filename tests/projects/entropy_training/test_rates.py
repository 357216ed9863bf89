"""Bits of expected counts, against the entropy kernels and the coder's own differentiable rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import entropy_coding, soft_entropy
from projects.entropy_training import rates, relaxation

GRID = jnp.asarray(soft_entropy.symmetric_grid(0.4, 7), jnp.float32)
SOFT = soft_entropy.soft_assign(jnp.asarray(np.random.default_rng(0).laplace(0, 0.1, 60), jnp.float32), GRID, 300.0)


def counts_of(rate, soft):
    members = jnp.asarray(rates.context_members(rate, soft.shape[1]))
    return relaxation._shifted(soft @ members.T).T @ soft


def test_entropy_and_conditional_are_the_kernels():
    np.testing.assert_allclose(
        rates.bits("entropy", counts_of("entropy", SOFT)), soft_entropy.relaxed_bits(SOFT), rtol=1e-5
    )
    expected = soft_entropy.conditional_bits(SOFT)
    np.testing.assert_allclose(rates.bits("conditional", counts_of("conditional", SOFT)), expected, rtol=1e-5)


def test_static_is_the_rate_of_the_coder():
    levels = list(range(-3, 4))
    np.testing.assert_allclose(
        rates.bits("static", counts_of("static", SOFT)), entropy_coding.rate_static_soft(SOFT, levels), rtol=1e-5
    )

    def gradient(function):
        found = np.asarray(jax.grad(lambda logits: function(jax.nn.softmax(logits)))(jnp.log(SOFT + 1e-6)))
        return found

    ours = gradient(lambda soft: rates.bits("static", counts_of("static", soft)))
    theirs = gradient(lambda soft: entropy_coding.rate_static_soft(soft, levels))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_static_rate_of_hard_labels():
    q = np.random.default_rng(1).integers(-3, 4, 200)
    soft = jnp.asarray(np.eye(7, dtype=np.float32)[q + 3])
    found = rates.bits("static", counts_of("static", soft))
    np.testing.assert_allclose(found, entropy_coding.rate_static(q), rtol=1e-5)


def test_a_prior_makes_zeros_cheaper():
    counts = jnp.asarray([[2.0, 5.0, 1.0]])
    assert rates.with_prior(counts, 0.0) is counts
    np.testing.assert_allclose(rates.with_prior(counts, 0.5), [[2.0, 9.0, 1.0]])
    gradient = jax.grad(lambda c: rates.bits("entropy", rates.with_prior(c, 0.5)))(counts)[0]
    plain = jax.grad(lambda c: rates.bits("entropy", c))(counts)[0]
    assert gradient[1] < plain[1] and gradient[0] > plain[0]


@pytest.mark.parametrize("rate", rates.CONTEXTS)
def test_contexts_cover_every_label_once(rate):
    members = rates.context_members(rate, 9)
    assert members.shape == (rates.CONTEXTS[rate], 9)
    np.testing.assert_array_equal(members.sum(axis=0), 1)
