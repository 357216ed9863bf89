"""The diagonal of the Fisher information against the whole matrix."""

import jax
import numpy as np
import pytest

from common.models import fisher


def test_fisher_diagonal_against_the_whole_matrix():
    """For logits linear in the weights, J is known and the expectation has a closed form."""
    random = np.random.default_rng(3)
    images = random.normal(size=(3, 4)).astype(np.float32)
    tree = {"kernel": random.normal(size=(4, 5)).astype(np.float32)}
    repeated = np.repeat(images, 3000, axis=0)
    diagonal = fisher.diagonal(lambda tree, image: image @ tree["kernel"], tree, repeated, jax.random.key(0))
    p = np.asarray(jax.nn.softmax(images @ tree["kernel"]))
    expected = np.einsum("ni,nc->ic", images**2, p * (1 - p)) / len(images)
    np.testing.assert_allclose(diagonal["kernel"], expected, rtol=0.15)
    assert float(diagonal["kernel"].mean()) == pytest.approx(float(expected.mean()), rel=0.03)
