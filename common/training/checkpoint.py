"""Checkpoints of a run, and weights on disk. The one file that touches Orbax.

`Checkpointer` keeps the last states of a training run, each whole or not there, and gives back the newest whole one to
the bit; of several processes the first writes, and tells the others what it reads. `load_tree` and `save_tree` read and
write weights by what the path is: a directory (Orbax), `.safetensors`, `.npz` (see `weight_files`), or a run directory,
whose `model.safetensors` it is.
"""

import json
import logging
import math
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from common import files, mesh, weight_files

KEEP = 2  # checkpoints: the newest, and one more in case it is damaged
EMPTY_MARK = ":empty:"  # Orbax cannot hold arrays without elements: "name:empty:float32" holds the shape instead


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
        if mesh.is_first_process():
            self._write(step, leaves)
        mesh.wait_for_all(f"checkpoint {step}")

    def _write(self, step: int, leaves: Mapping[str, np.ndarray]) -> None:
        path = self.directory / f"{step:08d}"
        if path.exists():
            files.remove(path)
        _orbax_save(
            path, {"leaves": _mark_empty(leaves), "checksum": np.uint32(_checksum(leaves)), "step": np.int64(step)}
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
        if mesh.is_single_process():
            found = self._newest()
        else:
            found = self._agreed()
        if found is None:
            if self.metrics is not None:
                self.metrics.cut_back(-1)
            return None
        step, leaves, path = found
        state = _like(template, leaves, path)
        if self.metrics is not None:
            self.metrics.cut_back(step)
        return step, state

    def _newest(self) -> tuple[int, dict[str, np.ndarray], pathlib.Path] | None:
        """Returns step, leaves and path of the newest whole checkpoint on disk."""
        for step in reversed(self.steps()):
            path = self.directory / f"{step:08d}"
            try:
                stored = _orbax_load(path)
                leaves = _unmark_empty(stored["leaves"])
                if int(stored["checksum"]) != _checksum(leaves) or int(stored["step"]) != step:
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
        found = self._newest() if mesh.is_first_process() else None
        step, leaves, path = found or (-1, {}, self.directory)
        kinds = [(name, array.dtype.name, array.shape) for name, array in leaves.items()]
        step, path, kinds = json.loads(mesh.broadcast_bytes(json.dumps([step, str(path), kinds]).encode()))
        data = mesh.broadcast_bytes(b"".join(array.tobytes() for array in leaves.values()))
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
    if not mesh.is_single_process():
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
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), crc)
    return crc


def _like(template: Any, leaves: Mapping[str, np.ndarray], path: pathlib.Path) -> Any:
    """Returns the template's structure with the stored values."""
    import jax

    wanted = _named_leaves(template)
    advice = "the code or the config has changed since: --overwrite starts afresh"
    if missing := [name for name in (*wanted, *leaves) if name not in wanted or name not in leaves]:
        place = "is not in" if missing[0] in wanted else "is only in"
        raise ValueError(f"state{missing[0]} {place} the checkpoint {path}; {advice}")
    values = []
    for name, leaf in wanted.items():
        found = leaves[name]
        is_key = _is_key(leaf)
        target = jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf
        shape, dtype = np.shape(target), getattr(target, "dtype", found.dtype)
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(
                f"state{name} is {dtype} {list(shape)}, but {found.dtype} {list(found.shape)} in {path}; {advice}"
            )
        values.append(_placed(leaf, found, is_key))
    return jax.tree.unflatten(jax.tree.structure(template), values)


def _placed(leaf: Any, found: np.ndarray, is_key: bool) -> Any:
    """Returns a stored array as the kind of thing that the template's leaf is."""
    import jax

    if isinstance(leaf, (bool, int, float, complex)):
        return type(leaf)(found.item())
    if isinstance(leaf, (np.ndarray, np.generic)):
        return found if isinstance(leaf, np.ndarray) else found[()]
    if is_key:
        spans = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        data = mesh.place(found, jax.random.key_data(leaf).sharding) if spans else jax.numpy.array(found)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    sharding = getattr(leaf, "sharding", None)
    if sharding is not None and not sharding.is_fully_addressable:
        return mesh.place(found, sharding)
    # A copy: the host array must not be shared with a buffer that a training step donates.
    return jax.device_put(found, sharding, may_alias=False) if sharding else jax.numpy.array(found)


def load_tree(path: str | os.PathLike) -> dict[str, Any]:
    """Returns weights as a nested dict of NumPy arrays.

    Args:
        path: an Orbax directory (also one with numbered steps: the newest; also a `Checkpointer`'s), a `.safetensors`
            or `.npz` file, or a run directory with `model.safetensors`.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: an unknown suffix, a damaged file, arrays of objects, or names that collide.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a .safetensors or .npz file, or a directory")
    if path.is_dir():
        if (path / "model.safetensors").is_file():
            return weight_files.load_safetensors(path / "model.safetensors")
        if (path / "flags.txt").is_file() and (path / "meta.json").is_file():
            raise ValueError(f"{path} is a run directory without model.safetensors: its training has not finished")
        return _load_orbax(path)
    loaders = {".safetensors": weight_files.load_safetensors, ".npz": weight_files.load_npz}
    if path.suffix not in loaders:
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; expected .safetensors, .npz or an Orbax directory")
    return loaders[path.suffix](path)


def save_tree(path: str | os.PathLike, tree: Mapping) -> None:
    """Writes a nested dict of arrays, whole or not at all, in the form that `load_tree` reads.

    Args:
        path: `NAME.safetensors`, `NAME.npz`, or a name without suffix (or ending in `.orbax`): an Orbax directory.
        tree: nested dict of arrays; keys are joined with "/".

    Raises:
        ValueError: an unknown suffix, arrays of objects, names that collide, a directory that holds something else.
    """
    path = pathlib.Path(path)
    if path.suffix == ".safetensors":
        weight_files.save_safetensors(path, tree)
    elif path.suffix == ".npz":
        weight_files.save_npz(path, tree)
    elif path.suffix in ("", ".orbax"):
        _save_orbax(path, tree)
    else:
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; expected .safetensors, .npz, or none (Orbax)")


def is_weights_path(path: str | os.PathLike) -> bool:
    """Returns whether `save_tree` knows what to write under this name."""
    return pathlib.Path(path).suffix in (".safetensors", ".npz", "", ".orbax")


def _load_orbax(path: pathlib.Path) -> dict[str, Any]:
    found = _find_orbax(path)
    if found is None:
        raise ValueError(f"{path} is neither an Orbax checkpoint nor a run directory")
    try:
        tree = _orbax_load(found)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is a damaged Orbax checkpoint: {' '.join(str(error).split())[:300]}") from None
    if isinstance(tree, Mapping) and set(tree) == {"leaves", "checksum", "step"}:
        raise ValueError(f"{path} is a training state, not weights; give the run directory or its model.safetensors")
    texts: list[str] = []
    tree = _without_texts(tree, "", texts)
    if texts:
        names = ", ".join(map(repr, texts[:4])) + (" ..." if len(texts) > 4 else "")
        logging.getLogger(__name__).warning("%s: texts are no weights and are left out: %s", path, names)
    try:
        flat = weight_files.flatten(tree)
        return weight_files.nest(_unmark_empty(flat))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _without_texts(node: Any, prefix: str, texts: list[str]) -> Any:
    """Returns a tree without the texts among its leaves, whose names go to `texts`."""
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = [(str(index), item) for index, item in enumerate(node)]
    else:
        return node
    kept = {}
    for key, item in items:
        name = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(item, str):
            texts.append(name)
        else:
            kept[key] = _without_texts(item, name, texts)
    return kept if texts or isinstance(node, Mapping) else node


def _find_orbax(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the directory with the arrays: this one, the newest numbered step in it, or a step's only item."""
    for _ in range(3):
        if (path / "_METADATA").is_file() or (path / "manifest.ocdbt").is_file():
            return path
        folders = [item for item in path.iterdir() if item.is_dir() and "orbax-checkpoint-tmp" not in item.name]
        steps = [item for item in folders if re.fullmatch(r"(\w+_)?\d+", item.name)]
        items = [item for item in folders if (item / "_METADATA").is_file()]
        if steps:
            path = max(steps, key=lambda item: int(item.name.rpartition("_")[2]))
        elif len(items) == 1:
            path = items[0]
        else:
            return None
    return None


def _save_orbax(path: pathlib.Path, tree: Mapping) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and _find_orbax(path) is None):
        raise ValueError(f"{path} exists and is not an Orbax checkpoint; it is left as it is: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
    old = fresh.with_name(fresh.name + ".old")
    try:
        _orbax_save(fresh, weight_files.nest(_mark_empty(weight_files.flatten(tree))))
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _mark_empty(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    full = {name: array for name, array in flat.items() if array.size}
    return full | {f"{name}{EMPTY_MARK}{a.dtype.name}": np.array(a.shape) for name, a in flat.items() if not a.size}


def _unmark_empty(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    unmarked = {}
    for name, array in flat.items():
        plain, mark, dtype = name.partition(EMPTY_MARK)
        if mark and (array.ndim != 1 or array.all()):
            raise ValueError(f"{name!r} should hold the shape of an array without elements")
        unmarked[plain] = np.zeros(array, dtype) if mark else array
    return unmarked


def _orbax() -> Any:
    """Returns `orbax.checkpoint`, imported when first needed (it takes a second), quiet below warnings."""
    import orbax.checkpoint

    logging.getLogger("absl").setLevel(max(logging.getLogger("absl").level, logging.WARNING))
    return orbax.checkpoint


def _orbax_save(path: pathlib.Path, tree: Mapping) -> None:
    ocp = _orbax()
    with _checkpointer(ocp) as checkpointer:
        checkpointer.save(path.resolve(), tree)


def _checkpointer(ocp: Any) -> Any:
    """Returns an Orbax checkpointer that concerns this process alone, whichever of several it is."""
    if mesh.is_single_process():
        return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    import jax

    index = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process{index}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _orbax_load(path: pathlib.Path) -> Any:
    """Returns the stored tree with NumPy arrays as leaves, whatever devices it was written on."""
    import jax

    ocp = _orbax()
    with _checkpointer(ocp) as checkpointer:
        metadata = checkpointer.metadata(path.resolve()).item_metadata
        kinds = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=_kind_of(leaf)), metadata.tree)
        return checkpointer.restore(path.resolve(), restore_args=kinds)


def _kind_of(metadata: Any) -> type:
    """What a leaf is restored as: an array, or a text where its metadata says so."""
    return str if type(metadata).__name__ == "StringMetadata" else np.ndarray
