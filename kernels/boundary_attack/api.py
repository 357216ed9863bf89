"""The attack: `attack(predict, x0, labels, settings, key)` for any classifier that answers with labels.

Srinivasan, Kuruoglu, Müller, Samek, Nakajima, EUSIPCO 2019: the Boundary Attack (arXiv:1712.04248) with symmetric
alpha-stable noise. Only labels are seen; queries are counted for each image, exactly, and never exceed the budget.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import Count, Float, Integer, RandomKey
from . import batching, device_loop, host_loop, predictors, snapshots
from .arguments import Attack, Images, Integers, Numbers, Predict, prepare
from .config import AttackConfig
from .result import Result, summarise
from .state import State, unfinished


class Progress(NamedTuple):
    """What a callback sees.

    Attributes:
      done, total: images.
      queries: so far, of all images.
      distances: float [images], infinite before a start.
      state: of all images.
      arrays: () -> the state as NumPy arrays with names, from which `attack` goes on.
    """

    done: int
    total: int
    queries: int
    distances: Float[np.ndarray, " images"]
    state: State
    arrays: Callable[[], snapshots.Arrays]


def attack(
    predict: Predict,
    x0: Images,
    labels: Integers,
    settings: AttackConfig | None = None,
    key: RandomKey | Count = 0,
    *,
    state: Mapping[str, np.ndarray | np.generic] | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
    targets: Integers | None = None,
    starts: Images | None = None,
    ids: Integers | None = None,
    alphas: Numbers | None = None,
    on_device: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Result:
    """Attacks a classifier that answers with labels only.

    The result for an image depends on its values, label, target, start and `key` alone: not on the other images, their
    order, `settings.chunk`, an interruption, or the number of devices (as far as `predict` treats images alike).

    Args:
      predict: images [n, ...] -> integer labels [n]. A JAX function is compiled into the attack; anything else (such as
        the `predict` of scikit-learn's classifiers) is called on the host with NumPy arrays of the images asked about.
        A JAX function with large weights is best a `jax.tree_util.Partial(function, weights)`.
      x0: clean images [images, ...] in the box [settings.lo, settings.hi], of any shape; float64 stays so where JAX has
        64 bits enabled, everything else becomes float32.
      labels: integers [images], the labels that an attack is to change.
      settings: see `AttackConfig`; None for its defaults.
      key: of `jax.random.key` (or its raw uint32 words), or a seed.
      state: arrays of an earlier call's `Progress.arrays()`, which this one goes on from, also with a larger budget.
        Its images are then those of an attack that had that budget from the start, but where the last query of the
        smaller one fell on a step that would have asked two: such a step asks one, and the adaptation misses a label.
      on_chunk: called with a `Progress` before the first chunk and after every one; what it raises ends the attack.
      targets: integers [images], the labels to reach; None: any other than the clean one.
      starts: images [images, ...] that are adversarial; None: random ones are searched for.
      ids: integers [images], folded into the key; None: a checksum of each image, its label and target.
      alphas: numbers in (0, 2] [images], in place of the settings' alpha.
      on_device: whether predict is compiled; None: its form, or its first answer, tells (see `Options`).
      devices: that share the images; None: all of this process (see `Options`).

    Raises:
      ValueError: an argument that will not do, by name; labels that are not integers; a single start that is not
        adversarial (of several images the status says so).

    Example:
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> predict = lambda x: (x.sum(1) > 2).astype(int)
      >>> settings = boundary_attack.AttackConfig(budget=100, batch_size=8)
      >>> result = boundary_attack.attack(predict, np.full((1, 3), 0.9), np.array([1]), settings, key=0)
      >>> predict(result.x_adv).tolist(), result.queries.tolist(), result.status.tolist()
      ([0], [100], ['budget'])
    """
    task = prepare(
        predict, x0, labels, settings, key,
        targets=targets, starts=starts, ids=ids, alphas=alphas, on_device=on_device, devices=devices,
    )  # fmt: skip
    start = None if state is None else snapshots.restore(task, state)
    return summarise(task, run(task, start, on_chunk=on_chunk))


def run(
    attack: Attack,
    state: State | None = None,
    *,
    on_chunk: Callable[[Progress], None] | None = None,
    on_end: Callable[[Progress], None] | None = None,
    ledger: Integer[np.ndarray, " images"] | None = None,
) -> State:
    """Returns the state in which every image is done: a chunk of queries at a time, slots refilled after each.

    A JAX function runs on the device, chunk by chunk, on a CPU in several threads with a part of the slots each; any
    other callable is asked from the host, with the same numbers.

    Args:
      attack: of `prepare`.
      state: from which it goes on, of `restore`; None: the first.
      on_chunk: called before the first chunk and after every one; what it raises ends the attack.
      on_end: called once, however it ends: done, an error of the classifier or of `on_chunk`, Ctrl-C. A query counts
        once it was asked, whether its answer came or not. Then the error goes on to the caller, and with a note where
        `on_end` raised another one.
      ledger: integers [images], counters that are raised before a callable of the host is asked; what they have beyond
        the state is charged to it first. (Kept in memory that outlives the process, it counts through any kill.)

    Raises:
      ValueError: labels that are not integers.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> predict = lambda x: (x.sum(1) > 2).astype(int)
      >>> settings = boundary_attack.AttackConfig(budget=100, batch_size=8)
      >>> attack = boundary_attack.prepare(predict, np.full((1, 3), 0.9), np.array([1]), settings)
      >>> boundary_attack.run(attack).queries.tolist()
      [100]
    """
    state, failure = attack.initial if state is None else state, None
    try:
        state = _charge_unanswered(attack, state, ledger)
        slots = _slots(attack, attack.on_device, ledger)
        while True:
            waiting = np.flatnonzero(unfinished(state))
            if on_chunk is not None:
                on_chunk(_progress(attack, state))
            if len(waiting) == 0:
                break
            try:
                state = batching.advance(slots, attack.problem, state, waiting, attack.settings.chunk)
            except host_loop.IsTraceable:
                slots = _slots(attack, True, None)
    except batching.Unfinished as unfinished_chunk:
        state, failure = unfinished_chunk.state, unfinished_chunk.cause
    except BaseException as error:  # of the callback, of compiled code, Ctrl-C
        failure = error
    try:
        if on_end is not None:
            on_end(_progress(attack, state))
    except BaseException as error:
        if failure is None:
            raise
        failure.add_note(f"on_end failed after it: {error!r}")  # the first failure says what to mend
    if failure is not None:
        raise failure
    return state


def _progress(attack, state) -> Progress:
    queries, is_done = np.asarray(state.queries), ~unfinished(state)
    return Progress(
        done=int(is_done.sum()), total=len(is_done), queries=int(queries.sum(dtype=np.int64)),
        distances=np.asarray(state.distance), state=state, arrays=lambda: snapshots.snapshot(attack, state),
    )  # fmt: skip


def _charge_unanswered(attack, state, ledger) -> State:
    """The state with those queries counted that only the ledger has."""
    if ledger is None:
        return state
    count = np.maximum(np.asarray(ledger, np.int64) - np.asarray(state.queries), 0)
    return (
        host_loop.charge(attack.rules, attack.problem, state, jnp.asarray(count, jnp.int32)) if count.any() else state
    )


def _slots(attack, on_device, ledger) -> batching.Slots:
    """Slots that run the compiled attack, or ask from the host."""
    count = attack.settings.batch_size
    if not on_device:
        return batching.make_slots(host_loop.program(attack.predict, attack.rules, on_device is None, ledger), count)
    predict = predictors.as_argument(attack.predict, attack.batch)

    def program(problem, state, queries, rows):
        return device_loop.advance(predict, attack.rules, problem, state, jnp.int32(queries))

    slots = batching.make_slots(program, count, batching.thread_places(count, attack.devices))
    batching.compile_once(slots, attack.problem, attack.initial)
    return slots
