"""An alpha that adapts: the better arm is found, every arm is tried, and coming alphas are known ahead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.boundary_attack import adaptive_alpha

GRID = jnp.array([0.5, 1.0, 2.0])


def walk(rates, steps, seed=0, batch=64):
    """Learners after steps of one query, with a rate of success for each alpha; the places taken [steps, batch]."""
    generator = np.random.default_rng(seed)
    learner, places = adaptive_alpha.initial(batch, len(rates), jnp.float32), []
    update = jax.jit(adaptive_alpha.update)
    for step in range(steps):
        here = np.asarray(learner.arms[:, 0])
        places.append(here)
        is_better = generator.uniform(size=batch) < np.asarray(rates)[here]
        learner = update(learner, jnp.asarray(is_better), jnp.ones(batch, bool), jnp.full(batch, step))
    return learner, np.array(places)


@pytest.mark.parametrize("good", [0, 1, 2])
def test_the_alpha_with_more_successes_is_taken_most(good):
    rates = np.where(np.arange(3) == good, 0.35, 0.1)
    _, places = walk(rates, 80 * adaptive_alpha.BLOCK)
    blocks = places[:: adaptive_alpha.BLOCK]
    assert all(np.all(np.any(blocks[:6] == arm, 0)) for arm in range(3)), "every alpha is tried"
    assert np.mean(blocks[40:] == good) > 0.7
    assert all(
        np.all(places[index : index + adaptive_alpha.BLOCK] == places[index])
        for index in range(0, 640, adaptive_alpha.BLOCK)
    )


def test_equal_alphas_are_taken_alike():
    _, places = walk([0.2, 0.2, 0.2], 60 * adaptive_alpha.BLOCK)
    assert np.all(np.bincount(places.ravel()) / places.size > 0.2)


def test_coming_alphas_are_those_that_will_be_used():
    learner, _ = walk([0.2, 0.3, 0.1], 5 * adaptive_alpha.BLOCK + adaptive_alpha.BLOCK - 3)
    step = jnp.full(64, 6 * adaptive_alpha.BLOCK - 3)
    coming = adaptive_alpha.coming_alphas(learner, GRID, step, step + jnp.arange(8)[:, None])
    np.testing.assert_array_equal(coming[:3], np.tile(GRID[learner.arms[:, 0]], (3, 1)))
    np.testing.assert_array_equal(coming[3:], np.tile(GRID[learner.arms[:, 1]], (5, 1)))
    later = adaptive_alpha.update(learner, jnp.zeros(64, bool), jnp.ones(64, bool), step + 2)
    np.testing.assert_array_equal(later.arms[:, 0], learner.arms[:, 1])


def test_with_nothing_to_learn_nothing_changes():
    learner = adaptive_alpha.initial(2, 0, jnp.float32)
    assert adaptive_alpha.update(learner, jnp.ones(2, bool), jnp.ones(2, bool), jnp.zeros(2, jnp.int32)) is learner
