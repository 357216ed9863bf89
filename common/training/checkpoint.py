"""The last states of a training run, each whole or not there; the newest whole one comes back to the bit.

Of several processes the first writes, and tells the others what it reads.
"""

import json
import logging
import math
import os
import pathlib
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from common import files, mesh, orbax_files, processes, weight_files
from common.weight_files import is_weights_path, load_tree, save_tree  # where they were before

__all__ = ["Checkpointer", "is_weights_path", "load_tree", "save_tree"]

KEEP = 2  # checkpoints: the newest, and one more in case it is damaged


class Checkpointer:
    """Saves and restores the state of one run: any pytree of arrays, numbers and typed random keys."""

    def __init__(self, directory: str | os.PathLike, metrics: Any = None, keep: int = KEEP):
        """Args: directory: `run.checkpoints`. metrics: `run.metrics`, cut back on restoring. keep: how many to keep."""
        self.directory, self.metrics, self.keep = pathlib.Path(directory).resolve(), metrics, keep

    def steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, in order; they may still prove damaged."""
        if not self.directory.is_dir():
            return []
        return sorted(int(item.name) for item in self.directory.iterdir() if re.fullmatch(r"\d+", item.name))

    def save(self, step: int, state: Any) -> None:
        """Writes the state after `step` steps and waits for it; older checkpoints than the last `keep` go.

        Write the metrics of the step first: a run that comes back will not compute them again. All processes of a run
        call it after the same step.

        Raises:
          ValueError: a leaf is not made of numbers.
        """
        if self.metrics is not None:
            self.metrics.flush()
        leaves = _storable(state)
        if processes.is_first_process():
            self._write(step, leaves)
        processes.wait_for_all(f"checkpoint {step}")

    def _write(self, step: int, leaves: Mapping[str, np.ndarray]) -> None:
        path = self.directory / f"{step:08d}"
        if path.exists():
            files.remove(path)
        orbax_files.save(
            path,
            {
                "leaves": orbax_files.mark_empty(leaves),
                "checksum": np.uint32(_checksum(leaves)),
                "step": np.int64(step),
            },
        )
        for old in self.steps()[: -self.keep]:
            files.remove(self.directory / f"{old:08d}")

    def restore_latest(self, template: Any) -> tuple[int, Any] | None:
        """Returns (step, state) of the newest whole checkpoint, or None; cuts the metrics back to it.

        Args:
          template: a pytree of the state's structure; its leaves give shape, dtype and sharding (arrays or
            `jax.ShapeDtypeStruct`), or are keys of the same kind.

        Raises:
          ValueError: a whole checkpoint does not fit the template; the first leaf that differs is named.
        """
        if processes.is_single_process():
            newest = self._newest()
        else:
            newest = self._agreed()
        if newest is None:
            if self.metrics is not None:
                self.metrics.cut_back(-1)
            return None
        step, leaves, path = newest
        state = _like(template, leaves, path)
        if self.metrics is not None:
            self.metrics.cut_back(step)
        return step, state

    def _newest(self) -> tuple[int, dict[str, np.ndarray], pathlib.Path] | None:
        """Returns step, leaves and path of the newest whole checkpoint on disk."""
        for step in reversed(self.steps()):
            path = self.directory / f"{step:08d}"
            try:
                content = orbax_files.load(path)
                leaves = orbax_files.unmark_empty(content["leaves"])
                if int(content["checksum"]) != _checksum(leaves) or int(content["step"]) != step:
                    raise ValueError("its checksum does not fit its content")
            except MemoryError:
                raise
            except Exception as error:
                reason = " ".join(str(error).split())[:200]
                logging.getLogger(__name__).warning("checkpoint %s is damaged and skipped: %s", path, reason)
                continue
            return step, leaves, path
        return None

    def _agreed(self) -> tuple[int, dict[str, np.ndarray], pathlib.Path] | None:
        """Returns what process 0 finds, on every process: the others may not see its disk, or see it late."""
        newest = self._newest() if processes.is_first_process() else None
        step, leaves, path = newest or (-1, {}, self.directory)
        kinds = [(name, array.dtype.name, array.shape) for name, array in leaves.items()]
        step, path, kinds = json.loads(processes.broadcast_bytes(json.dumps([step, str(path), kinds]).encode()))
        data = processes.broadcast_bytes(b"".join(array.tobytes() for array in leaves.values()))
        if step < 0:
            return None
        received, start = {}, 0
        for name, dtype, shape in kinds:
            count = math.prod(shape)
            array = np.frombuffer(data, np.dtype(dtype), count, start).reshape(shape)
            received[name], start = array, start + array.nbytes
        return step, received, pathlib.Path(path)


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Returns path -> leaf, such as "[0].mu['fc1']['kernel']"."""
    import jax

    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _is_key(leaf: Any) -> bool:
    import jax

    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _storable(state: Any) -> dict[str, np.ndarray]:
    """Returns the leaves as arrays on the host, keys as their data, in one transfer."""
    import jax

    leaves = {name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in _named_leaves(state).items()}
    if not processes.is_single_process():
        leaves = {name: _whole(leaf) for name, leaf in leaves.items()}
    return {name: weight_files.as_array(leaf, name) for name, leaf in jax.device_get(leaves).items()}


def _whole(leaf: Any) -> Any:
    """Returns an array that spans processes as one on this host; a collective where it is split."""
    import jax

    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    if leaf.is_fully_replicated:
        return leaf.addressable_data(0)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(leaf, tiled=True)


def _checksum(leaves: Mapping[str, np.ndarray]) -> int:
    """Returns a CRC-32 over names, types, shapes and bytes."""
    crc = 0
    for name in sorted(leaves):
        array = leaves[name]
        crc = zlib.crc32(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return crc


def _like(template: Any, leaves: Mapping[str, np.ndarray], path: pathlib.Path) -> Any:
    """Returns the template's structure with the stored values."""
    import jax

    expected = _named_leaves(template)
    advice = "the code or the config has changed since: --overwrite starts afresh"
    if missing := [name for name in (*expected, *leaves) if name not in expected or name not in leaves]:
        place = "is not in" if missing[0] in expected else "is only in"
        raise ValueError(f"state{missing[0]} {place} the checkpoint {path}; {advice}")
    values = []
    for name, leaf in expected.items():
        stored = leaves[name]
        is_key = _is_key(leaf)
        target = jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf
        shape, dtype = np.shape(target), getattr(target, "dtype", stored.dtype)
        if stored.shape != shape or stored.dtype != dtype:
            raise ValueError(
                f"state{name} is {dtype} {list(shape)}, but {stored.dtype} {list(stored.shape)} in {path}; {advice}"
            )
        values.append(_placed(leaf, stored, is_key))
    return jax.tree.unflatten(jax.tree.structure(template), values)


def _placed(leaf: Any, array: np.ndarray, is_key: bool) -> Any:
    """Returns a stored array as the kind of thing that the template's leaf is."""
    import jax

    if isinstance(leaf, (bool, int, float, complex)):
        return type(leaf)(array.item())
    if isinstance(leaf, (np.ndarray, np.generic)):
        return array if isinstance(leaf, np.ndarray) else array[()]
    if is_key:
        spans = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        data = mesh.place(array, jax.random.key_data(leaf).sharding) if spans else jax.numpy.array(array)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    sharding = getattr(leaf, "sharding", None)
    if sharding is not None and not sharding.is_fully_addressable:
        return mesh.place(array, sharding)
    # A copy: the host array must not be shared with a buffer that a training step donates.
    return jax.device_put(array, sharding, may_alias=False) if sharding else jax.numpy.array(array)
