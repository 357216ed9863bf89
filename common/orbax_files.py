"""Trees of arrays as Orbax directories. The one file that touches Orbax.

Orbax cannot hold arrays without elements: `mark_empty` puts their shape in their place, under "name:empty:float32".
"""

import logging
import operator
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

EMPTY_MARK = ":empty:"
ITEM = "default"  # the folder that Orbax's manager makes for the one thing that a checkpoint holds
CONTENT = "content.json"  # beside it: names, types and shapes of a training state, and a CRC-32 of every file


def save(path: pathlib.Path, tree: Mapping) -> None:
    """Writes a nested dict of arrays into a new directory."""
    ocp = _orbax()
    with _checkpointer(ocp) as checkpointer:
        checkpointer.save(path.resolve(), tree)


def load(path: pathlib.Path) -> Any:
    """Returns the stored tree with NumPy arrays as leaves, whatever devices it was written on."""
    import jax

    ocp = _orbax()
    with _checkpointer(ocp) as checkpointer:
        metadata = checkpointer.metadata(path.resolve()).item_metadata
        kinds = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=_kind_of(leaf)), metadata.tree)
        return checkpointer.restore(path.resolve(), restore_args=kinds)


def open_manager(directory: pathlib.Path, keep: int, best: bool, sealed: Callable[[], None]) -> Any:
    """Returns Orbax's manager of numbered checkpoints, which writes them in a thread.

    Args:
      directory: it is there.
      keep: checkpoints that stay: the newest, or with `best` those of the highest scores.
      best: see `keep`.
      sealed: called in that thread, by one process, when a checkpoint is written but has not got its name yet.
    """
    ocp = _orbax()
    scored = {"best_fn": operator.itemgetter("score"), "best_mode": "max"} if best else {}
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        step_format_fixed_length=8,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
        async_options=ocp.AsyncOptions(post_finalization_callback=sealed),
        **scored,
    )
    return ocp.CheckpointManager(directory, options=options, item_handlers=ocp.PyTreeCheckpointHandler())


def start_saving(manager: Any, step: int, tree: Mapping, score: float | None = None) -> None:
    """Hands a tree to a manager; its arrays may be donated once this returns."""
    metrics = None if score is None else {"score": float(score)}
    manager.save(step, args=_orbax().args.PyTreeSave(tree), metrics=metrics, force=True)


def load_leaves(path: pathlib.Path, shardings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a stored flat dict by name.

    Args:
      path: folder of the dict.
      shardings: of each name: how it lies on several devices, whatever those of the writer were, each process reading
        its part; None for a NumPy array.
    """
    import jax

    ocp = _orbax()
    kinds = {
        name: ocp.RestoreArgs(restore_type=np.ndarray) if sharding is None else ocp.ArrayRestoreArgs(sharding=sharding)
        for name, sharding in shardings.items()
    }
    handler = ocp.PyTreeCheckpointHandler()
    alone = jax.process_count() == 1 or not any(shardings.values())
    with _checkpointer(ocp) if alone else ocp.Checkpointer(handler) as checkpointer:
        return checkpointer.restore(path.resolve(), restore_args=kinds)


def arrays_directory(path: pathlib.Path) -> pathlib.Path | None:
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


def mark_empty(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays by name, with the shape instead of each that has no elements."""
    full = {name: array for name, array in flat.items() if array.size}
    return full | {f"{name}{EMPTY_MARK}{a.dtype.name}": np.array(a.shape) for name, a in flat.items() if not a.size}


def unmark_empty(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays that `mark_empty` was called with.

    Raises:
      ValueError: a name has the mark, but its array is no shape without elements.
    """
    unmarked = {}
    for name, array in flat.items():
        plain, mark, dtype = name.partition(EMPTY_MARK)
        if mark and (array.ndim != 1 or array.all()):
            raise ValueError(f"{name!r} should hold the shape of an array without elements")
        unmarked[plain] = np.zeros(array, dtype) if mark else array
    return unmarked


def _checkpointer(ocp: Any) -> Any:
    """Returns an Orbax checkpointer that concerns this process alone, whichever of several it is."""
    import jax

    if jax.process_count() == 1:
        return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    index = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process{index}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _kind_of(metadata: Any) -> type:
    """What a leaf is restored as: an array, or a text where its metadata says so."""
    return str if type(metadata).__name__ == "StringMetadata" else np.ndarray


def _orbax() -> Any:
    """Returns `orbax.checkpoint`, imported when first needed (it takes a second), quiet below warnings."""
    import orbax.checkpoint

    logging.getLogger("absl").setLevel(max(logging.getLogger("absl").level, logging.WARNING))
    return orbax.checkpoint
