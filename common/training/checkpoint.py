"""The last states of a training run, each whole or not there; the newest whole one comes back to the bit.

    with Checkpointer(run.checkpoints, run.metrics) as checkpointer:
        if restored := checkpointer.restore_latest(state):
            first, state = restored
        ...
        checkpointer.save(step, state, wait=False)  # goes on once the state is copied; Orbax writes beside the training

Orbax writes and reads; here is what it leaves open: a CRC-32 over every file, which makes a damaged checkpoint give way
to the one before; keys, numbers and arrays without elements; errors that name the leaf which does not fit. Of several
processes each writes and reads its own part of arrays that are split: all of them see one disk.
"""

import contextlib
import json
import logging
import os
import pathlib
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from common import files, mesh, orbax_files, processes, weight_files
from common.training import old_checkpoints
from common.weight_files import is_weights_path, load_tree, save_tree  # where they were before

__all__ = ["Checkpointer", "is_weights_path", "load_tree", "save_tree"]

KEEP = 2  # checkpoints: the newest, and one more in case it is damaged


class Checkpointer:
    """Saves and restores the state of one run: any pytree of arrays, numbers and typed random keys."""

    def __init__(self, directory: str | os.PathLike, metrics: Any = None, keep: int = KEEP, *, best: bool = False):
        """Args:
        directory: `run.checkpoints`.
        metrics: `run.metrics`, cut back on restoring.
        keep: how many checkpoints stay.
        best: those with the highest scores stay, not the newest.
        """
        self.directory, self.metrics, self.keep, self.best = pathlib.Path(directory).resolve(), metrics, keep, best
        self._manager: Any = None
        self._content: dict[int, dict[str, Any]] = {}  # of the steps that are being written
        self.notes: dict[str, Any] = {}

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, kind: Any, *exception: Any) -> None:
        with contextlib.suppress(Exception) if kind is not None else contextlib.nullcontext():  # the first error counts
            self.close()

    def steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, in order; they may still prove damaged."""
        if not self.directory.is_dir():
            return []
        return sorted(int(item.name) for item in self.directory.iterdir() if re.fullmatch(r"\d+", item.name))

    def save(
        self, step: int, state: Any, *, wait: bool = True, score: float | None = None, notes: Mapping | None = None
    ) -> None:
        """Writes the state after `step` steps; older checkpoints than the last `keep` go.

        Write the metrics of the step first: a run that comes back will not compute them again. All processes of a run
        call it after the same step.

        Args:
          step: finished steps. Checkpoints of later ones are removed: the run has gone back behind them.
          state: it may be donated to the next step once this has returned, whatever `wait` is.
          wait: until it is on disk. Without, the next `save`, `wait` or `close` waits for it, and says what went wrong.
          score: with `best`, the higher the better.
          notes: what JSON can hold; `notes` has them after a restoring.

        Raises:
          ValueError: a leaf is not made of numbers; the processes of a run do not see the same directory.
          OSError: this checkpoint, or the one before, could not be written.
        """
        if self.metrics is not None:
            self.metrics.flush()
        leaves = _storable(state)
        self._open()
        # Of the best only this step itself, which a run that was killed behind it comes to again.
        if later := [other for other in self.steps() if other == step or (other > step and not self.best)]:
            self.wait()
            if processes.is_first_process():
                for other in later:
                    files.remove(self._path(other))
            processes.wait_for_all(f"checkpoints from {step} on removed")
            self._manager.reload()
        kinds = {name: (leaf.dtype.name, list(leaf.shape)) for name, leaf in leaves.items()}
        self._content[step] = {"leaves": kinds, "notes": dict(notes or {})}
        full = {name: leaf for name, leaf in leaves.items() if leaf.size}  # Orbax takes no others
        orbax_files.start_saving(self._manager, step, full, score)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Returns once every checkpoint is on disk; raises what kept one from it."""
        if self._manager is not None:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Waits as `wait` does, and ends the threads that write."""
        manager, self._manager = self._manager, None
        if manager is not None:
            try:
                manager.wait_until_finished()
                manager.check_for_errors()
            finally:
                manager.close()

    def restore_latest(self, template: Any) -> tuple[int, Any] | None:
        """Returns (step, state) of the newest whole checkpoint, or None; cuts the metrics back to it.

        With `best` it is the one of the highest score.

        Args:
          template: a pytree of the state's structure; its leaves give shape, dtype and sharding (arrays or
            `jax.ShapeDtypeStruct`), or are keys of the same kind. The sharding may be another than that of the writer,
            over more or fewer devices and processes.

        Raises:
          ValueError: a whole checkpoint does not fit the template; the first leaf that differs is named.
        """
        self.wait()
        for step in self._agreed_order():
            path = self._path(step)
            problem = _problem(path, step) if processes.is_first_process() else ""
            if problem := processes.broadcast_bytes(problem.encode()).decode():
                logging.getLogger(__name__).warning("checkpoint %s is damaged and skipped: %s", path, problem)
                continue
            state = self._restore(step, template)
            if self.metrics is not None:
                self.metrics.cut_back(step)
            return step, state
        if self.metrics is not None:
            self.metrics.cut_back(-1)
        return None

    def scores(self) -> dict[int, float]:
        """Returns the scores of the checkpoints that `best` keeps, by step."""
        self._open()
        return {step: float(self._manager.metrics(step)["score"]) for step in self._manager.all_steps()}

    def _agreed_order(self) -> list[int]:
        """Returns the steps that process 0 sees, those to be tried first at the beginning."""
        scores = self.scores() if self.best and self.steps() else {}
        order = sorted(self.steps(), key=lambda step: (scores.get(step, 0.0), step), reverse=True)
        return json.loads(processes.broadcast_bytes(json.dumps(order).encode()))

    def _path(self, step: int) -> pathlib.Path:
        return self.directory / f"{step:08d}"

    def _open(self) -> None:
        """Makes the directory and what writes into it."""
        if self._manager is not None:
            return
        if processes.is_first_process():
            self.directory.mkdir(parents=True, exist_ok=True)
        processes.check_shared(self.directory)
        self._manager = orbax_files.open_manager(self.directory, self.keep, self.best, self._seal)

    def _seal(self) -> None:
        """Writes down the content of what Orbax has written, before the checkpoint gets its name."""
        for step in list(self._content):
            for path in self.directory.glob(f"{step:08d}.orbax-checkpoint-tmp*"):
                content = self._content.pop(step) | {"files": _checksums(path / orbax_files.ITEM)}
                content["checksum"] = _crc_of(content)
                (path / orbax_files.CONTENT).write_text(json.dumps(content))

    def _restore(self, step: int, template: Any) -> Any:
        import jax

        path, expected, stored = self._path(step), _named_leaves(template), dict[str, Any]()
        if old_checkpoints.is_old(path):
            stored = old_checkpoints.load(path, step)
            kinds = {name: (array.dtype.name, list(array.shape)) for name, array in stored.items()}
        else:
            content = json.loads((path / orbax_files.CONTENT).read_text())
            kinds, self.notes = content["leaves"], content["notes"]
        _check_fits(expected, kinds, path)
        if not stored:
            empty = {name: np.zeros(shape, dtype) for name, (dtype, shape) in kinds.items() if 0 in shape}
            shardings = {name: _split_sharding(leaf) for name, leaf in expected.items() if name not in empty}
            stored = empty | (orbax_files.load_leaves(path / orbax_files.ITEM, shardings) if shardings else {})
        leaves = [_placed(leaf, stored[name], _is_key(leaf)) for name, leaf in expected.items()]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _crc_of(content: Mapping[str, Any]) -> int:
    """Returns a CRC-32 of what JSON can hold, however it is written."""
    return zlib.crc32(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode())


def _checksums(folder: pathlib.Path) -> dict[str, int]:
    """Returns the CRC-32 of every file below a folder, by its relative name."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            crc = 0
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    crc = zlib.crc32(block, crc)
            sums[path.relative_to(folder).as_posix()] = crc
    return sums


def _problem(path: pathlib.Path, step: int) -> str:
    """Returns what is wrong with a checkpoint; nothing where it is whole."""
    try:
        if old_checkpoints.is_old(path):
            old_checkpoints.load(path, step)
            return ""
        content = json.loads((path / orbax_files.CONTENT).read_text())
        if content.pop("checksum") != _crc_of(content):
            return f"the checksum of {orbax_files.CONTENT} does not fit its content"
        sums = content["files"]
        actual = _checksums(path / orbax_files.ITEM)
    except MemoryError:
        raise
    except Exception as error:  # Orbax raises many kinds
        return " ".join(str(error).split())[:200] or type(error).__name__
    wrong = sorted(name for name in {*sums, *actual} if sums.get(name) != actual.get(name))
    if not wrong:
        return ""
    return (
        f"{wrong[0]} is missing" if wrong[0] not in actual else f"the checksum of {wrong[0]} does not fit its content"
    )


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Returns path -> leaf, such as "[0].mu['fc1']['kernel']"."""
    import jax

    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _is_key(leaf: Any) -> bool:
    import jax

    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _storable(state: Any) -> dict[str, Any]:
    """Returns the leaves as arrays, keys as their data; those of devices stay there."""
    import jax

    alone, leaves = processes.is_single_process(), dict[str, Any]()
    for name, leaf in _named_leaves(state).items():
        leaf = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        if isinstance(leaf, jax.Array) and leaf.size and (alone or not leaf.is_fully_addressable):
            leaves[name] = leaf
        else:
            local = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
            host = weight_files.as_array(jax.device_get(local), name)
            leaves[name] = np.array(host)  # a copy: it may change
    return leaves


def _check_fits(expected: Mapping[str, Any], stored: Mapping[str, tuple], path: pathlib.Path) -> None:
    """Raises ValueError where names, types or shapes of a checkpoint are not those of the state."""
    import jax

    advice = "the code or the config has changed since: --overwrite starts afresh"
    if missing := [name for name in (*expected, *stored) if name not in expected or name not in stored]:
        place = "is not in" if missing[0] in expected else "is only in"
        raise ValueError(f"state{missing[0]} {place} the checkpoint {path}; {advice}")
    for name, leaf in expected.items():
        target = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        dtype, shape = stored[name]
        own = getattr(getattr(target, "dtype", None), "name", dtype), list(np.shape(target))
        if own != (dtype, list(shape)):
            raise ValueError(f"state{name} is {own[0]} {own[1]}, but {dtype} {list(shape)} in {path}; {advice}")


def _split_sharding(leaf: Any) -> Any:
    """Returns the sharding of an array over several devices, of a key's data too; None for what is read on the host."""
    import jax

    data = jax.random.key_data(leaf) if _is_key(leaf) and isinstance(leaf, jax.Array) else leaf
    sharding = getattr(data, "sharding", None)
    return sharding if sharding is not None and len(sharding.device_set) > 1 and np.size(data) else None


def _placed(leaf: Any, array: Any, is_key: bool) -> Any:
    """Returns a stored array as the kind of thing that the template's leaf is."""
    import jax

    if is_key:
        spread = _split_sharding(leaf)
        data = array if isinstance(array, jax.Array) else jax.numpy.array(array)
        data = jax.device_put(data, spread) if spread is not None and data is not array else data
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(array, jax.Array):
        return array
    if isinstance(leaf, (bool, int, float, complex)):
        return type(leaf)(array.item())
    if isinstance(leaf, (np.ndarray, np.generic)):
        return array if isinstance(leaf, np.ndarray) else array[()]
    sharding = getattr(leaf, "sharding", None)
    if sharding is not None and not sharding.is_fully_addressable:
        return mesh.place(array, sharding)
    # A copy: the host array must not be shared with a buffer that a training step donates.
    return jax.device_put(array, sharding, may_alias=False) if sharding else jax.numpy.array(array)
