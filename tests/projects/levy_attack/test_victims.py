"""Victims: labels do not depend on how a convolution is computed, and images are chosen as they say."""

import jax
import numpy as np
import pytest
from flax import nnx

from common import models
from projects.levy_attack import victims


@pytest.fixture(scope="module")
def network():
    module = models.create("resnet20", rngs=nnx.Rngs(1), width=0.25, input_shape=(8, 8, 3))
    return module, models.to_tree(module)


@pytest.mark.slow
def test_plain_convolutions_give_the_same_labels(network):
    images = np.random.default_rng(0).uniform(size=(64, 8, 8, 3)).astype(np.float32)
    own, plain = (victims.make_predict(*network, 0.5, 0.25, is_plain) for is_plain in (False, True))
    assert "conv_general_dilated" in str(jax.make_jaxpr(plain)(images))
    labels = np.asarray(plain(images))
    assert len(set(labels.tolist())) > 1
    np.testing.assert_array_equal(own(images), labels)


def test_images_are_chosen_by_class_and_counted():
    truth = np.arange(120) % 3
    labels = np.where(np.arange(120) % 4 == 0, (truth + 1) % 3, truth)  # every fourth is wrong
    images = np.zeros((120, 1, 1, 1), np.float32) + labels[:, None, None, None] / 10
    victim = victims.Victim(
        "mlp", "three colours", jax.tree_util.Partial(lambda x: (10 * x[:, 0, 0, 0] + 0.5).astype(int)),
        images, truth, ("a", "b", "c"), "",
    )  # fmt: skip
    assert victims.accuracy(victim) == 0.75
    assert victims.choose_images(victim, 6, 2).tolist() == [1, 2, 3, 5, 6, 7]
    assert victims.choose_images(victim, 90).tolist() == np.flatnonzero(labels == truth).tolist()
    with pytest.raises(ValueError, match="MLP 784-128-10 gets only 90 right"):
        victims.choose_images(victim, 91)
