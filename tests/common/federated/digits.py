"""Logistic regression on scikit-learn's digits: what the quick tests simulate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from common.datasets import digits
from common.federated import clients, simulate, splits


def init(key):
    return {"bias": jnp.zeros(10), "kernel": 0.01 * jax.random.normal(key, (64, 10))}


def loss(params, batch):
    log_prob = jax.nn.log_softmax(batch["x"] @ params["kernel"] + params["bias"])
    return -jnp.mean(jnp.take_along_axis(log_prob, batch["y"][:, None], axis=1))


def accuracy(params, batch):
    return jnp.mean(jnp.argmax(batch["x"] @ params["kernel"] + params["bias"], axis=1) == batch["y"])


MODEL = simulate.Model(init, loss, accuracy)
SIZE = 650  # parameters


@functools.cache
def load():
    """Returns the training samples, the test batch, and the labels of the former."""
    data = digits.load()
    train, test = (
        {"x": ((images.reshape(len(images), 64) / 127.5) - 1).astype(np.float32), "y": labels}
        for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    )
    return train, {name: jnp.asarray(array) for name, array in test.items()}, data.train_labels


@functools.cache
def population(count=20, classes_per_client=2, gamma=1.0):
    train, _, labels = load()
    return clients.from_split(train, splits.split_by_class(labels, count, classes_per_client, gamma=gamma))
