"""Clients of different sizes in one flat array; batches of their own samples, and who takes part, drawn inside jit.

population = clients.from_split({"x": images, "y": labels}, split)
batch = clients.draw_batch(key, population, client=3, batch_size=20)
"""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.federated.splits import Split
from kernels import scalars


class Clients(NamedTuple):
    """Samples of all clients; a pytree, which passes through jit.

    Attributes:
      samples: pytree of arrays [total, ...]: the samples of client 0, then those of client 1, and so on.
      offsets: int32 [clients], where each begins.
      sizes: int32 [clients], at least 1 each.
    """

    samples: Any
    offsets: jax.Array
    sizes: jax.Array

    @property
    def number(self) -> int:
        """How many clients there are."""
        return self.sizes.shape[0]


def from_split(samples: Any, split: Split) -> Clients:
    """Returns the clients of a split.

    Args:
      samples: pytree of arrays [n, ...] of numbers, in the order of the labels that were split. Dtypes are those of
        JAX: without its 64-bit mode float64 is rounded to float32, and integers have to fit 32 bits.
      split: of `common.federated.splits`.

    Raises:
      ValueError: an array has another length than the split, or holds no numbers, or such as JAX would cut; a client is
        empty.
    """
    total = len(split.order) + len(split.remainder)
    for path, array in jax.tree_util.tree_leaves_with_path(samples):
        if np.ndim(array) < 1 or len(array) != total:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"samples{name} has shape {np.shape(array)}: expected {total} samples, as were split")
    _check_numbers(samples, "all clients")
    return _make(jax.tree.map(lambda array: np.asarray(array)[split.order], samples), split.sizes)


def from_parts(parts: Sequence[Any], names: Sequence[str] | None = None) -> Clients:
    """Returns clients from one pytree of arrays [size, ...] each, all of the same structure, shapes and dtypes.

    Args:
      parts: see `from_split` for dtypes.
      names: of the clients, for messages; None: their numbers.

    Raises:
      ValueError: there is none; one is empty, or unlike the first, or holds no numbers: the message has its name.
    """
    if len(parts) == 0:
        raise ValueError("parts=[]: expected one pytree of arrays a client")
    if isinstance(parts, Mapping) or not isinstance(parts, Sequence):
        raise ValueError(
            f"parts is {type(parts).__name__} of {len(parts)}: expected a list, one pytree of arrays a client"
        )
    first, sizes = _kinds(parts[0]), []
    names = [f"client {number}" for number in range(len(parts))] if names is None else names
    for name, part in zip(names, parts, strict=True):
        lengths = {np.shape(leaf)[0] if np.ndim(leaf) else -1 for leaf in jax.tree.leaves(part)}
        if len(lengths) != 1 or (size := lengths.pop()) < 1:
            shapes = [np.shape(leaf) for leaf in jax.tree.leaves(part)]
            raise ValueError(
                f"{name} has arrays of shapes {shapes}: expected the same number of samples, 1 or more, in arrays "
                "(a list is a tree of numbers)"
            )
        if (kinds := _kinds(part)) != first:
            raise ValueError(f"{name} has samples {kinds[1]}: expected {first[1]}, as {names[0]} has")
        _check_numbers(part, name)
        sizes.append(size)
    return _make(jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts), np.array(sizes, np.int32))


def from_folder(folder: str | os.PathLike) -> tuple[Clients, list[str]]:
    """Returns clients from a folder with one .npz file each, in the order of their names as texts, and these names.

    Args:
      folder: its files have the same arrays: "x" and "y", or whatever the model's loss reads.

    Raises:
      ValueError: there is no such file, one is damaged, or they are unlike: the message has its name.
    """
    paths = sorted(pathlib.Path(folder).glob("*.npz"))
    if not paths:
        raise ValueError(f"folder={str(folder)!r} has no .npz files: expected one a client")
    parts = []
    for path in paths:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                parts.append(dict(sorted(arrays.items())))
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is no .npz file of arrays of numbers: {error}") from None
    return from_parts(parts, [path.name for path in paths]), [path.stem for path in paths]


def draw_batch(key: jax.Array, population: Clients, client: jax.Array | int, batch_size: int) -> Any:
    """Returns samples of one client, drawn uniformly: without repetition, as a batch of a shuffled epoch would be.

    A client that has fewer than `batch_size` samples draws them with repetition.

    Args:
      key: of this batch alone.
      population: all clients.
      client: which; may be traced.
      batch_size: at least 1, static.

    Returns:
      a pytree of arrays [batch_size, ...].
    """
    scalars.whole("batch_size", batch_size, 1)
    return batch_of(jax.random.bits(key, (batch_size,)), population, client)


def batch_of(bits: jax.Array, population: Clients, client: jax.Array | int) -> Any:
    """Returns what `draw_batch` does, by random bits uint32 [batch_size] instead of a key."""
    rows = rows_of(bits, population, client)
    return jax.tree.map(lambda array: array[rows], population.samples)


def rows_of(bits: jax.Array, population: Clients, client: jax.Array | int) -> jax.Array:
    """Returns which of all samples `batch_of` takes: int32 [batch_size]."""
    return population.offsets[client] + subset_of(bits, population.sizes[client])


def subset_of(bits: jax.Array, size: jax.Array | int) -> jax.Array:
    """Returns a uniform subset of 0 to size - 1 by random bits uint32 [count]: int32 [count].

    Where `count` is above `size`, draws with repetition. In `count` steps whatever the size, which may be traced. Many
    subsets take their bits from one key: drawing by a batch of keys takes three times as long to compile.

    Source: Floyd's algorithm; Bentley, Floyd, "A sample of brilliance", Communications of the ACM 30 (1987).
    """
    size, count = jnp.asarray(size, jnp.int32), bits.shape[0]
    is_subset = size >= count
    steps = jnp.arange(count, dtype=jnp.int32)
    last = jnp.where(is_subset, size - count + steps, size - 1)  # what may be drawn at a step
    # The remainder of 32 random bits: probabilities differ by a part in 2^32 / size.
    draws = (bits % (last + 1).astype(jnp.uint32)).astype(jnp.int32)

    def choose(rows: jax.Array, item: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        step, draw, last = item
        row = jnp.where(is_subset & jnp.any(rows == draw), last, draw)
        return jnp.where(steps == step, row, rows), None

    return jax.lax.scan(choose, jnp.full(count, -1, jnp.int32), (steps, draws, last))[0]


def draw_participants(key: jax.Array, clients: int, per_round: int) -> jax.Array:
    """Returns who takes part in a round: int32 [per_round], without repetition.

    Args:
      key: of this round alone: one that the round's number is folded into, so that a restart draws the same.
      clients, per_round: static; `per_round` at most `clients`.
    """
    scalars.whole("per_round", per_round, 1, clients, ", the number of clients")
    if per_round == clients:
        return jnp.arange(clients, dtype=jnp.int32)
    return subset_of(jax.random.bits(key, (per_round,)), clients)


def _check_numbers(samples: Any, owner: str) -> None:
    """Raises ValueError for arrays that hold no numbers, or whole ones that JAX would cut to 32 bits."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(samples):
        array, name = np.asarray(leaf), f"{owner}: samples{jax.tree_util.keystr(path)}"
        if array.dtype.kind not in "biufV" or array.dtype.names:
            raise ValueError(f"{name} is {array.dtype}: expected numbers; labels are integers from 0 on")
        narrow = jax.dtypes.canonicalize_dtype(array.dtype)
        if array.dtype.kind in "iu" and narrow != array.dtype and array.size:
            limits = np.iinfo(narrow)
            for extreme in (int(array.min()), int(array.max())):
                if not limits.min <= extreme <= limits.max:
                    raise ValueError(
                        f"{name} holds {extreme}: expected {limits.min} to {limits.max}, as JAX has {narrow} "
                        "without its 64-bit mode"
                    )


def _kinds(part: Any) -> tuple[Any, list[tuple]]:
    leaves, structure = jax.tree.flatten(part)
    return structure, [(np.asarray(leaf).dtype.name, np.shape(leaf)[1:]) for leaf in leaves]


def _make(samples: Any, sizes: np.ndarray) -> Clients:
    if len(empty := np.flatnonzero(sizes < 1)):
        raise ValueError(f"client {empty[0]} is empty: expected at least one sample for each")
    if int(sizes.sum()) >= 2**31:
        raise ValueError(f"{int(sizes.sum())} samples: expected fewer than 2^31, as int32 counts them")
    if not jax.tree.leaves(samples):
        raise ValueError("samples has no arrays: expected a pytree of arrays [n, ...]")
    offsets = np.cumsum(sizes) - sizes
    return Clients(jax.tree.map(jnp.asarray, samples), jnp.asarray(offsets, jnp.int32), jnp.asarray(sizes, jnp.int32))
