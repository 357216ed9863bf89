"""The loop most projects want: a jitted step over shuffled batches, with checkpoints, resume, metrics and progress.

A run killed at any moment and started again ends with the same numbers, to the bit on CPU: everything that decides the
next step is in the checkpoint, or follows from (seed, epoch). Several processes share each batch and compute the same
numbers as one, up to rounding. A project with other needs writes its own loop.
"""

import dataclasses
import functools
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from common import mesh, processes
from common.runs.run_directory import Preempted, Run
from common.training.checkpoint import Checkpointer
from common.training.streams import Stream, permutation

State = Any
Batch = Any
BEST = "best"  # folder of a run with the states that did best


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a training goes.

    Attributes:
      epochs, batch_size: counts of at least 1.
      seed: decides the order of the examples.
      evaluate_every: epochs between two evaluations; the last is followed by one, too.
      log_every: steps between rows of `metrics.csv`, also at the end of an epoch.
      checkpoint_seconds: at most this long between checkpoints, when a step ends (of several processes, when a row is
        written); the end of the training writes one too.
      checkpoint_steps: also after every so many steps.
      description: the word beside the progress.
      keep_best: states after an evaluation that stay in the folder `BEST` of the run, those of the highest `best`.
      best: the scalar of an evaluation that counts.
    """

    epochs: int
    batch_size: int
    seed: int
    evaluate_every: int = 1
    log_every: int = 100
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    description: str = "train"
    keep_best: int = 0
    best: str = "validation_accuracy"


def train(
    run: Run,
    step: Callable[[State, Batch], tuple[State, Mapping[str, Any]]],
    state: State,
    arrays: Batch,
    plan: Plan,
    *,
    evaluate: Callable[[State], Mapping[str, Any]] | None = None,
    batch_sharding: Any = None,
) -> State:
    """Returns the state after all passes over `arrays`, resuming from the run's newest checkpoint.

    A last batch that would be short is left out of its epoch. Rows of `metrics.csv` hold the mean of each metric over
    the steps since the row before, under "step" the number of finished steps; the sums stay on the device in between.

    Under several processes each takes its share of every batch, and reads no other rows of `arrays`; `step` still sees
    the whole batch and averages over it. What `evaluate` gets and what is returned are copies of the process's own.
    Random numbers in a step are those of one process with JAX's default keys; for "rbg" keys JAX does not promise it.

    Args:
      run: where checkpoints and metrics go.
      step: `(state, batch) -> (state, metrics)`, jittable; metrics are scalars. Random numbers come from a key in the
        state, or are folded from a counter in it.
      state: the state to begin with, a pytree of arrays and keys.
      arrays: a pytree of arrays [examples, ...]; a batch has the same structure with [batch_size, ...]. For one process
        they fit on each of its devices; several leave them on the host (memory-mapped, if they are large). Or a
        `streams.Stream` of batches, for data that fits nowhere.
      plan: epochs, sizes, and what is written when.
      evaluate: `state -> scalars`, called after every `evaluate_every` epochs and the last, in every process; its
        scalars get a row.
      batch_sharding: how a batch is split over devices, see `mesh.batch_sharding`; None: over all of them. Each holds
        a copy of the state. A batch need not be a multiple of the devices, see `mesh.constrain`.

    Raises:
      Preempted: SIGTERM arrived, in this process or another of the run; the checkpoint is written.
      OSError: a checkpoint could not be written.
      ValueError: arrays of different lengths, or fewer examples than a batch; a stream that ends early, or whose
        batches are of another size.
    """
    import jax

    is_stream = isinstance(arrays, Stream)
    epoch_steps = arrays.epoch_steps if is_stream else _length(arrays, plan.batch_size) // plan.batch_size
    total = plan.epochs * epoch_steps
    alone = processes.is_single_process()
    batch_sharding = batch_sharding or mesh.data_sharding()
    advance, totals = _make_advance(step, state, arrays, plan.batch_size, batch_sharding)
    next_batch = _following(arrays) if is_stream else _indices_of(arrays, plan)
    checkpointer = Checkpointer(run.checkpoints, run.metrics)
    best = Checkpointer(run.path / BEST, keep=plan.keep_best, best=True)
    state, row_steps, first = _strong(state), 0, 0
    if batch_sharding is not None:
        state, totals = mesh.replicate((state, totals), batch_sharding.mesh)
        if plan.batch_size > 1:  # else a step makes its own samples, and says so itself
            run.log(mesh.holding(state, plan.batch_size, batch_sharding))
    if restored := checkpointer.restore_latest((state, totals, row_steps)):
        first, (state, totals, row_steps) = restored
        if is_stream:
            arrays.iterator.set_state(checkpointer.notes["iterator"])
        run.log(f"resumed after step {first} of {total}")

    saved, saved_at = first, time.monotonic()
    with (
        checkpointer, best, Termination(alone) as termination, run.progress(total, plan.description, first) as progress
    ):  # fmt: skip
        for done in range(first + 1, total + 1):
            epoch, position = divmod(done - 1, epoch_steps)
            state, totals = advance(state, totals, next_batch(done))
            row_steps += 1
            progress.update(1)

            ends_epoch = position == epoch_steps - 1
            has_row = done % plan.log_every == 0 or ends_epoch
            if has_row:
                means: dict[str, float | np.ndarray] = {
                    name: float(value) / row_steps for name, value in jax.device_get(totals).items()
                }
                totals, row_steps = jax.tree.map(jax.numpy.zeros_like, totals), 0
                is_evaluated = ends_epoch and ((epoch + 1) % plan.evaluate_every == 0 or done == total)
                if evaluate is not None and is_evaluated:
                    means |= {name: np.asarray(value) for name, value in evaluate(mesh.to_local(state)).items()}
                    if plan.keep_best:
                        best.save(done, state, wait=False, score=_score(means, plan.best))
                run.metrics.write(done, **means)
                progress.update(0, **means)

            # After the row of this step, so that a resumed run neither repeats nor misses it.
            is_time = time.monotonic() - saved_at >= plan.checkpoint_seconds
            if not alone:  # clocks differ: process 0 decides, where all of them wait for the device anyway
                is_time = has_row and processes.broadcast_flag(is_time)
            is_step = plan.checkpoint_steps is not None and done % plan.checkpoint_steps == 0
            stops = termination.after(done)
            if done > saved and (is_time or is_step or done == total or stops):
                notes = {"iterator": arrays.iterator.get_state()} if is_stream else {}
                checkpointer.save(done, (state, totals, row_steps), wait=False, notes=notes)
                saved, saved_at = done, time.monotonic()
            if stops and done < total:
                raise Preempted(f"SIGTERM: checkpoint written after step {done} of {total}")
    return mesh.to_local(state)


def _score(scalars: Mapping[str, Any], name: str) -> float:
    """Returns the scalar by which states are compared; the smallest of all numbers where it is NaN."""
    if name not in scalars:
        raise ValueError(f"keep_best: the evaluation gives {', '.join(scalars)}, and no {name!r} to compare states by")
    return -math.inf if math.isnan(float(scalars[name])) else float(scalars[name])


def _length(arrays: Batch, batch_size: int) -> int:
    """Returns the number of examples, of at least one batch."""
    import jax

    sizes = {len(array) for array in jax.tree.leaves(arrays)}
    if len(sizes) != 1:
        raise ValueError(f"arrays of different lengths {sorted(sizes)}: give every array one entry an example")
    size = sizes.pop()
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size {batch_size}: expected 1 to {size}, the number of examples")
    return size


def _indices_of(arrays: Batch, plan: Plan) -> Callable[[int], np.ndarray]:
    """Returns step, from 1 -> indices of its batch."""
    import jax

    size, batch_size = len(jax.tree.leaves(arrays)[0]), plan.batch_size
    order = functools.lru_cache(maxsize=1)(lambda epoch: permutation(plan.seed, epoch, size))

    def indices(step: int) -> np.ndarray:
        epoch, position = divmod(step - 1, size // batch_size)
        return order(epoch)[position * batch_size : (position + 1) * batch_size]

    return indices


def _following(stream: Stream) -> Callable[[int], Batch]:
    """Returns step -> the next batch of a stream."""

    def following(step: int) -> Batch:
        try:
            return next(stream.iterator)
        except StopIteration:
            raise ValueError(
                f"the stream of batches ends before step {step}: let it repeat, or train fewer --epochs"
            ) from None

    return following


def _first_shapes(stream: Stream, batch_size: int) -> Batch:
    """Returns the shapes of a whole batch, from a look at the next one.

    Raises:
      ValueError: this process's part of it is not as large as it should be.
    """
    import jax

    state, count = stream.iterator.get_state(), jax.process_count()
    batch = next(stream.iterator)
    stream.iterator.set_state(state)
    for leaf in jax.tree.leaves(batch):
        if np.ndim(leaf) == 0 or len(leaf) * count != batch_size:
            raise ValueError(
                f"the stream gives arrays of shape {list(np.shape(leaf))} in {count} processes: expected batch_size "
                f"{batch_size} rows over all of them"
            )
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype), batch)


def _make_advance(step, state, arrays, batch_size, batch_sharding) -> tuple[Callable, dict[str, Any]]:
    """Returns the compiled `(state, totals, indices) -> (state, totals)`, and totals of zero.

    One process gathers examples on the device, so that a step costs one dispatch and no copy of a batch from the host;
    several gather their own on the host.
    """
    import jax
    import jax.numpy as jnp

    real = jnp.result_type(float)  # sums in float64 where JAX has it enabled

    def advance(state, totals, batch):
        state, metrics = step(state, batch)
        totals = {name: totals[name] + jnp.asarray(value, real) for name, value in metrics.items()}
        return _strong(state), totals

    def gather(state, totals, arrays, indices):
        batch = jax.tree.map(lambda array: _rows(array, indices), arrays)
        return advance(state, totals, mesh.constrain(batch, batch_sharding))

    def cut(state, totals, batch):
        batch = jax.tree.map(lambda array: array[:batch_size], batch)
        return advance(state, totals, mesh.constrain(batch, batch_sharding))

    if isinstance(arrays, Stream):
        batch = _first_shapes(arrays, batch_size)
    else:
        batch = jax.tree.map(lambda array: jax.ShapeDtypeStruct((batch_size, *array.shape[1:]), array.dtype), arrays)
    before = jax.eval_shape(_strong, state)
    after, metrics = jax.eval_shape(step, before, batch)
    if jax.tree.structure(before) != jax.tree.structure(after):  # type: ignore[operator]  # JAX declares no such type
        raise ValueError("a step returns a state of the structure that it was given; this one does not")
    for (path, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            name = jax.tree_util.keystr(path)
            raise ValueError(f"a step turns state{name} from {old.dtype} {old.shape} into {new.dtype} {new.shape}")
    for name, value in metrics.items():
        if value.shape != ():
            raise ValueError(f"metric {name!r} has shape {list(value.shape)}: a step returns scalars")
    totals = {name: jnp.zeros((), real) for name in metrics}
    if isinstance(arrays, Stream):
        compiled = jax.jit(cut, donate_argnums=(0, 1))
        return lambda state, totals, batch: compiled(state, totals, mesh.place_rows(batch, batch_sharding)), totals
    if processes.is_single_process():
        compiled, on_device = jax.jit(gather, donate_argnums=(0, 1)), mesh.on_every_device(arrays, batch_sharding)
        return lambda state, totals, indices: compiled(state, totals, on_device, indices), totals
    compiled, on_host = jax.jit(cut, donate_argnums=(0, 1)), jax.tree.map(_on_host, arrays)
    return (
        lambda state, totals, indices: compiled(state, totals, mesh.take_rows(on_host, indices, batch_sharding)),
        totals,
    )


def _on_host(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else np.asarray(array)


def _rows(array: Any, indices: Any) -> Any:
    """Returns `array[indices]`; XLA's CPU gather of flat rows is three times as fast as one of images."""
    flat = array.reshape(len(array), math.prod(array.shape[1:]))
    return flat.at[indices].get(mode="promise_in_bounds").reshape(len(indices), *array.shape[1:])


def _strong(tree: Any) -> Any:
    """Returns copies of the arrays without weak types: a restored state is then exactly like one that was computed."""
    import jax
    import jax.numpy as jnp

    def strong(leaf):
        if not jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
            return jnp.array(leaf, dtype=jnp.result_type(leaf))
        return jax.random.wrap_key_data(jnp.array(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))

    return jax.tree.map(strong, tree)


class Termination:
    """Notes SIGTERM instead of dying of it, while a loop runs in the main thread.

    Of several processes JAX takes the signal, and all of them stop after the same step.
    """

    def __init__(self, alone: bool):
        self.is_due, self._alone = False, alone

    def after(self, step: int) -> bool:
        """Returns whether the loop stops after this step; ask once after each."""
        return self.is_due if self._alone else processes.reached_stop(step)

    def __enter__(self):
        self._is_main_thread = self._alone and threading.current_thread() is threading.main_thread()
        if self._is_main_thread:
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, number, frame):
        self.is_due = True

    def __exit__(self, *exception):
        if self._is_main_thread:
            signal.signal(signal.SIGTERM, self._previous)
