"""The tasks: a network with its data, and how the clients of the paper train it."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from common import datasets
from common.federated.simulate import Model


@dataclasses.dataclass(frozen=True)
class Task:
    """Attributes: title; load, () -> (training, test) arrays {"x", "y"}; model, () -> Model; learning_rate; momentum;
    iterations, local steps."""

    title: str
    load: Callable[[], tuple[dict, dict]]
    model: Callable[[], Model]
    learning_rate: float
    momentum: float
    iterations: int


@functools.cache
def logistic_regression(inputs: int = 784, classes: int = 10) -> Model:
    """Returns the linear classifier of inputs [batch, inputs]."""

    def init(key):
        kernel_key, bias_key = jax.random.split(key)
        bound = inputs**-0.5
        return {
            "kernel": jax.random.uniform(kernel_key, (inputs, classes), minval=-bound, maxval=bound),
            "bias": jax.random.uniform(bias_key, (classes,), minval=-bound, maxval=bound),
        }

    def logits(params, batch):
        return batch["x"] @ params["kernel"] + params["bias"]

    def loss(params, batch):
        log_prob = jax.nn.log_softmax(logits(params, batch))
        return -jnp.mean(jnp.take_along_axis(log_prob, batch["y"][:, None], axis=1))

    def accuracy(params, batch):
        return jnp.mean(jnp.argmax(logits(params, batch), axis=1) == batch["y"])

    return Model(init, loss, accuracy)


def _flat(name: str) -> tuple[dict, dict]:
    data = datasets.load(name)
    parts = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    return tuple(
        {"x": np.ascontiguousarray(datasets.standardise(x, data).reshape(len(x), -1)), "y": y} for x, y in parts
    )


TASKS = {
    "mnist": Task("logistic regression, MNIST", lambda: _flat("mnist"), logistic_regression, 0.04, 0.0, 2000),
    "small": Task(
        "logistic regression, scikit-learn's digits",
        lambda: _flat("digits"),
        functools.partial(logistic_regression, 64),
        0.1,
        0.0,
        200,
    ),
}
