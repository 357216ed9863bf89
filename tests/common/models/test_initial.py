"""Initial weights: their distribution, one key one result, and the same values whether traced or not."""

import jax
import numpy as np

from common.models import initial


def test_he_normal():
    weights = np.asarray(initial.he_normal(jax.random.key(0), (3, 3, 100, 90)))
    assert weights.shape == (3, 3, 100, 90) and weights.dtype == np.float32
    assert abs(weights.mean()) < 1e-3 and abs(weights.std() * np.sqrt(900 / 2) - 1) < 0.01
    flat = weights.reshape(-1)
    assert len(np.unique(flat[: 2 * initial.CHUNK])) > 1.9 * initial.CHUNK  # the chunks are not copies of one another
    assert (weights != np.asarray(initial.he_normal(jax.random.key(1), (3, 3, 100, 90)))).any()


def test_traced_or_not_the_values_are_the_same():
    shape = (7, 5001)
    plain = initial.he_normal(jax.random.key(3), shape)
    traced = jax.jit(lambda key: initial.he_normal(key, shape))(jax.random.key(3))
    np.testing.assert_allclose(plain, traced, rtol=1e-6)
