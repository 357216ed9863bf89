"""Clients over devices: each device trains a part of a round's clients, and holds the rows of a part of all clients.

Who takes part is drawn anew in each round, so a client is rarely trained where its row lies: rows travel, once to and
once fro, and what is sent is added up over devices. On one device nothing of this is computed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from common import mesh

NAME = "data"  # of the axis of `mesh.data_sharding`


class Axis(NamedTuple):
    """The axis of devices that clients are split over. Attribute: sharding, None on one device."""

    sharding: Any

    @property
    def devices(self) -> int:
        """How many there are."""
        return mesh.split_count(self.sharding)

    def places(self, per_round: int, chunk: int | None) -> jax.Array:
        """Returns the places of a round's clients as they are handled: int32 [steps, devices * chunk].

        The last ones may be above all places: they fill up.
        """
        steps, width = self._layout(per_round, chunk)
        return jnp.arange(steps * width, dtype=jnp.int32).reshape(steps, width)

    def fills_up(self, per_round: int, chunk: int | None) -> bool:
        """Returns whether some places are above all."""
        steps, width = self._layout(per_round, chunk)
        return steps * width != per_round

    def _layout(self, per_round: int, chunk: int | None) -> tuple[int, int]:
        share = -(-per_round // self.devices)
        chunk = min(chunk or share, share)
        return -(-share // chunk), chunk * self.devices

    def mine(self, places: jax.Array) -> jax.Array:
        """Returns what this device handles of a step: int32 [chunk]."""
        if self.sharding is None:
            return places
        return places.reshape(self.devices, -1)[jax.lax.axis_index(NAME)]

    def gather(self, rows: jax.Array, ids: jax.Array) -> jax.Array:
        """Returns the rows of this device's clients: [chunk, n].

        Args:
          rows: [clients, n], or this device's part of them.
          ids: int32 [devices * chunk], of all devices; those beyond all clients have rows of zeros.
        """
        if self.sharding is None:
            return rows.at[ids].get(mode="fill", fill_value=0)
        own = rows.at[self._local(rows, ids)].get(mode="fill", fill_value=0)
        return jax.lax.psum_scatter(own, NAME, scatter_dimension=0, tiled=True)

    def scatter(self, rows: jax.Array, ids: jax.Array, values: jax.Array) -> jax.Array:
        """Returns `rows` with those of this device's clients replaced; arguments as of `gather`, values [chunk, n]."""
        if self.sharding is None:
            return rows.at[ids].set(values, mode="drop")
        values = jax.lax.all_gather(values, NAME, tiled=True)
        return rows.at[self._local(rows, ids)].set(values, mode="drop")

    def _local(self, rows: jax.Array, ids: jax.Array) -> jax.Array:
        """Places of clients among the rows of this device; of others beyond them."""
        local = ids - jax.lax.axis_index(NAME) * rows.shape[0]
        return jnp.where((local >= 0) & (local < rows.shape[0]), local, rows.shape[0])

    def sum(self, tree: Any) -> Any:
        """Returns the sums over devices."""
        return tree if self.sharding is None else jax.lax.psum(tree, NAME)

    def joined(self, reports: Any, per_round: int) -> Any:
        """Returns what each client reports, arrays [steps, chunk], as [per_round] in the order of places."""

        def join(array: jax.Array) -> jax.Array:
            if self.sharding is not None:
                array = jax.lax.all_gather(array, NAME, axis=1, tiled=True)
            return array.reshape(-1)[:per_round]

        return jax.tree.map(join, reports)


def on_devices(run: Callable, sharding: Any, is_split: Any) -> Callable:
    """Returns `run(state, population, key) -> (state, trace)` for all devices of a sharding; None: as it is.

    Args:
      is_split: the state's structure with whether each array is split over devices; all others are whole on each.
    """
    if sharding is None:
        return run
    whole = PartitionSpec()
    of_state = jax.tree.map(lambda split: PartitionSpec(NAME) if split else whole, is_split)
    return jax.shard_map(
        run, mesh=sharding.mesh, in_specs=(of_state, whole, whole), out_specs=(of_state, whole), check_vma=False
    )


def split(rows: Any, sharding: Any) -> Any:
    """Returns rows [clients, n] over devices; zeros fill up the last ones. None: as they are."""
    if sharding is None:
        return rows
    fill = -rows.shape[0] % mesh.split_count(sharding)
    return jax.device_put(np.pad(np.asarray(rows), ((0, fill), (0, 0))), sharding)


def joined(rows: Any, clients: int, sharding: Any) -> Any:
    """Returns the rows [clients, n] that were split over devices, without what fills up."""
    return rows if sharding is None else np.asarray(rows)[:clients]
