"""Logistic regression on scikit-learn's digits, and a plain float64 loop over rounds and clients to compare with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from common.datasets import digits
from common.federated import clients, methods, rounds, simulate, splits

SIZE = 650  # parameters
CLIENTS = 20
KEY = jax.random.key(11)
# One round a call: a program serves any number of rounds, and the tests of this folder share theirs.
SETTINGS = simulate.Settings(per_round=5, batch_size=8, learning_rate=0.1, every=1, record=True)


def init(key):
    return {"bias": jnp.zeros(10), "kernel": jax.random.uniform(key, (64, 10), minval=-0.01, maxval=0.01)}


def loss(params, batch):
    log_prob = jax.nn.log_softmax(batch["x"] @ params["kernel"] + params["bias"])
    return -jnp.mean(jnp.take_along_axis(log_prob, batch["y"][:, None], axis=1))


def accuracy(params, batch):
    return jnp.mean(jnp.argmax(batch["x"] @ params["kernel"] + params["bias"], axis=1) == batch["y"])


MODEL = simulate.Model(init, loss, accuracy)


@functools.cache
def load():
    """Returns the training samples and the test batch."""
    data = digits.load()
    parts = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    return tuple({"x": (x.reshape(len(x), 64) / 127.5 - 1).astype(np.float32), "y": y} for x, y in parts)


@functools.cache
def population():
    """20 clients of 71 samples and about two classes."""
    train = load()[0]
    return clients.from_split(train, splits.split_by_class(train["y"], CLIENTS, 2))


@functools.cache
def unequal_population():
    """The same samples, in clients of 31 and 111 of them: the same shapes, hence the same programs."""
    sizes = np.tile([31, 111], CLIENTS // 2)
    return population()._replace(
        sizes=jnp.asarray(sizes, jnp.int32), offsets=jnp.asarray(np.cumsum(sizes) - sizes, jnp.int32)
    )


def participants(number, per_round=5, key=KEY):
    """Returns who takes part in a round."""
    return clients.draw_participants(rounds.stream(key, rounds.PARTICIPANTS, number), CLIENTS, per_round).tolist()


def start():
    """Returns the first weights, float32 [650]: those of every method that has no grid."""
    return np.asarray(rounds.initial_state(MODEL, population(), methods.fed_sgd(), SETTINGS, KEY).weights)


def gradient(weights, batch):
    """The gradient of the loss in float64: [650], the bias first."""
    bias, kernel = weights[:10], weights[10:].reshape(64, 10)
    x, y = np.asarray(batch["x"], np.float64), np.asarray(batch["y"])
    logits = x @ kernel + bias
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = (share / share.sum(axis=1, keepdims=True) - np.eye(10)[y]) / len(y)
    return np.concatenate([error.sum(axis=0), (x.T @ error).ravel()])


def plain_rounds(settings, count, compress, *, local_steps=1, feedback=True, updates=None):
    """Rounds as nested loops, with the batches of the simulation; `compress` works on a vector.

    Args:
      updates: what the server sends, as a simulation had it; None: as it comes out here.

    Returns:
      a dict: weights, residuals, server_residual, updates, and `changes`, the sum of the clients' mean changes.
    """
    weights, residual = start().astype(np.float64), np.zeros(SIZE)
    draw = jax.jit(clients.batch_of)
    residuals, momentum, changes, sent_down = np.zeros((CLIENTS, SIZE)), np.zeros((CLIENTS, SIZE)), np.zeros(SIZE), []
    for number in range(count):
        batch_key, total = rounds.stream(KEY, rounds.BATCHES, number), np.zeros(SIZE)
        for place, client in enumerate(participants(number, settings.per_round)):
            change = np.zeros(SIZE)
            for step in range(local_steps):
                shape = settings.per_round, settings.batch_size
                bits = jax.random.bits(jax.random.fold_in(batch_key, step), shape)[place]
                slope = gradient(weights + change, draw(bits, population(), client))
                momentum[client] = settings.momentum * momentum[client] + slope
                change -= settings.learning_rate * momentum[client]
            changes += change / settings.per_round
            values = change + residuals[client] * feedback
            sent = compress(values)
            residuals[client] = values - sent
            total += sent
        values = total / settings.per_round + residual * feedback
        update = compress(values) if updates is None else np.asarray(updates[number], np.float64)
        residual = values - update
        weights = weights + update
        sent_down.append(update)
    return {
        "weights": weights, "residuals": residuals, "server_residual": residual,
        "updates": np.array(sent_down), "changes": changes,
    }  # fmt: skip
