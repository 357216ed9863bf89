"""What the server's weights are worth to each client: loss and accuracy on its own samples."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from common import mesh
from common.federated.clients import Clients
from common.federated.rounds import Model

AT_ONCE = 500  # samples of all clients together: memory does not grow with theirs


class PerClient(NamedTuple):
    """Of each client, float32 [clients].

    Attributes:
      loss: the mean over its samples.
      accuracy: the share of its samples that is right.
    """

    loss: np.ndarray
    accuracy: np.ndarray


def per_client(model: Model, params: Any, population: Clients) -> PerClient:
    """Returns what weights come to on the training samples of each client, on all devices of this process.

    Samples go through the model one by one, as rows of `jax.vmap`: clients of all sizes share a program. What a model
    computes over a batch, such as its statistics, is that of one sample here.

    Args:
      model: its loss and accuracy are means over a batch, as `Model` says.
      params: as `model.init` returns them.
      population: the clients.
    """
    sharding = mesh.data_sharding(local=True)
    params = mesh.on_every_device(params, sharding)
    samples = jax.tree.map(np.asarray, population.samples)
    total = len(jax.tree.leaves(samples)[0])
    size, parts = min(AT_ONCE, total), []
    for done in range(0, total, size):
        rows = np.minimum(np.arange(done, done + size), total - 1)  # the last one fills up
        batch = mesh.split_rows(jax.tree.map(lambda array, rows=rows: array[rows], samples), sharding)
        parts.append([np.asarray(values)[: total - done][:size] for values in _of_samples(model, params, batch)])
    of_samples = [np.concatenate(columns).astype(np.float64) for columns in zip(*parts, strict=True)]
    first, sizes = np.asarray(population.offsets), np.asarray(population.sizes)
    sums = [np.concatenate([[0.0], np.cumsum(values)]) for values in of_samples]
    return PerClient(*(((total[first + sizes] - total[first]) / sizes).astype(np.float32) for total in sums))


@functools.partial(jax.jit, static_argnums=0)
def _of_samples(model: Model, params: Any, samples: Any) -> tuple[jax.Array, jax.Array]:
    def one(sample: Any) -> tuple[jax.Array, jax.Array]:
        batch = jax.tree.map(lambda array: array[None], sample)
        return model.loss(params, batch), model.accuracy(params, batch)

    return jax.vmap(one)(samples)
