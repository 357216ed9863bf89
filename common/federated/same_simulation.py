"""Whether a checkpoint is of this simulation: settings by name, arrays by checksum, functions by what they give.

A function has no checksum that a comment or another version of JAX would leave alone. So the model's loss, accuracy and
augmentation are called once on a few of the clients' samples, at weights that are not those of any training: near the
first ones, where a penalty on large weights is seen beside the loss, and far from them.
"""

import dataclasses
import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.federated import rounds as federated_rounds
from common.federated.clients import Clients
from common.federated.methods import Method
from common.federated.rounds import Model, Settings, State

CHECKED = {  # by a checksum
    "clients": "other clients or samples",
    "test": "another test batch",
    "first weights": "other first weights: another model or key",
    "key": "another key",
}
SAMPLES = 32
SCALES = (0.1, 1.0)  # of what is added to the first weights
TOLERANCE = 1e-3  # relative: one function on two kinds of devices differs by 1e-5, a penalty of 1e-4 by 2e-3


def identity_of(
    model: Model, method: Method, settings: Settings, state: State, clients: Clients, key: jax.Array, test: Any
) -> dict[str, Any]:
    """Returns what a run that is resumed must have in common with this one, as JSON has it."""
    changes = [item.name for item in dataclasses.fields(settings) if item.metadata.get("identity", True)]
    arrays = {"clients": clients, "test": test, "first weights": state.weights, "key": jax.random.key_data(key)}
    return {
        "method": method.name,
        "settings": {name: getattr(settings, name) for name in changes},
        "values": _values(model, state.weights, clients),
        "chunk": settings.chunk,
    } | {name: _checksum(tree) for name, tree in arrays.items()}


def _values(model: Model, weights: jax.Array, clients: Clients) -> list[float | None]:
    """Returns loss and accuracy at a few weights; None where one is not finite."""
    total = int(clients.offsets[-1] + clients.sizes[-1])
    rows = np.linspace(0, total - 1, min(SAMPLES, total)).astype(int)  # of many clients, hence of all classes
    batch = jax.tree.map(lambda array: np.asarray(array)[rows], clients.samples)
    noise = np.random.default_rng(0).standard_normal((len(SCALES), weights.size), np.float32)
    points = np.asarray(weights) + np.array(SCALES, np.float32)[:, None] * noise
    with jax.default_matmul_precision("highest"):  # of kinds of devices that round products otherwise
        pairs = jax.device_get([_value(model, point, batch) for point in points])
    return [float(value) if np.isfinite(value) else None for pair in pairs for value in pair]


@functools.partial(jax.jit, static_argnums=0)
def _value(model: Model, weights: jax.Array, batch: Any) -> list[jax.Array]:
    params = federated_rounds.unravel(model)(weights)
    if model.augment is not None:
        batch = model.augment(jax.random.key(0), batch)
    functions = [model.loss] + ([] if model.accuracy is None else [model.accuracy])
    return [jnp.asarray(function(params, batch), jnp.float32) for function in functions]


def _checksum(tree: Any) -> int:
    crc = 0
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        crc = zlib.crc32(
            array.reshape(-1).view(np.uint8).data, zlib.crc32(str((array.dtype, array.shape)).encode(), crc)
        )
    return crc


def check_same(own: dict[str, Any], stored: dict[str, Any], folder: Any) -> str:
    """Returns in words what differs and changes no more than the last bits; "" for nothing.

    Args:
      own: of this simulation, see `identity_of`.
      stored: of the one in the folder; an older version may not have noted all of it, which then is not compared.
      folder: for the message.

    Raises:
      ValueError: it is of another simulation: a setting, samples, weights, or functions that give other numbers.
    """
    advice = "expected the same; choose another folder to start afresh"
    settings, former = own["settings"] | {"method": own["method"]}, stored["settings"] | {"method": stored["method"]}
    for name in sorted(settings):
        if settings[name] != former.get(name):
            raise ValueError(
                f"{name}={settings[name]!r}, but the simulation in {folder} has {former.get(name)!r}: {advice}"
            )
    for name, words in CHECKED.items():
        if own[name] != stored.get(name):
            raise ValueError(f"the simulation in {folder} has {words}: {advice}")
    if not _are_near(own["values"], stored.get("values", own["values"])):
        raise ValueError(
            f"the simulation in {folder} has another loss, accuracy or augmentation, which give {stored['values']} "
            f"where this one's give {own['values']}: {advice}"
        )
    before = stored.get("chunk", former.get("chunk"))
    if before == own["chunk"]:
        return ""
    return f"chunk={own['chunk']}, where it was {before}: sums over clients are rounded in another order from here on"


def _are_near(own: list[float | None], stored: list[float | None]) -> bool:
    numbers, former = (np.array(values, float) for values in (own, stored))  # None is NaN
    if numbers.shape != former.shape:
        return False
    return np.allclose(numbers, former, rtol=TOLERANCE, atol=TOLERANCE * 1e-3, equal_nan=True)
