"""Drives the walk: a fixed number of slots, a chunk of queries at a time, finished images replaced by waiting ones.

A JAX function runs on the device, chunk by chunk, on a CPU in several threads with a part of the slots each; any other
callable is asked from the host, with the same numbers.
The whole state can be written, after a chunk and where an attack fails, and a later call goes on from it.
"""

import functools
import hashlib
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from projects.levy_attack import program, state_file, walk
from projects.levy_attack.slots import Slots, Unfinished, places
from projects.levy_attack.walk import Kind, Problem, Settings, State


class Progress(NamedTuple):
    """What a callback sees after a chunk.

    Attributes:
      done, total: images.
      queries: so far, of all images.
      distances: float [images], infinite before a start.
      state: of all images.
    """

    done: int
    total: int
    queries: int
    distances: np.ndarray
    state: State


class Plan(NamedTuple):
    """An attack that has been checked.

    Attributes:
      kind, settings: of the walk.
      problem: of all images; every one is live.
      state: before the first query.
      given: whether starts were given.
      slots, chunk: images at a time, queries an image at a time.
      identity: a digest of all that decides the result but the budget.
    """

    kind: Kind
    settings: Settings
    problem: Problem
    state: State
    given: bool
    slots: int
    chunk: int
    identity: str


def run(
    plan: Plan,
    predict: Callable,
    on_device: bool | None,
    *,
    devices: Sequence[jax.Device] | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
    checkpoint: str | pathlib.Path | None = None,
    checkpoint_seconds: float = 60.0,
) -> State:
    """Returns the state in which every image is done.

    Args:
      plan: from `attack.make_plan`.
      predict: images -> labels.
      on_device: whether it is a JAX function; None: found out by its first answer.
      on_chunk: called after every chunk; what it raises ends the attack, after the state has been written.
      checkpoint: a file for the state; one that is there is gone on from. It is written, too, where the attack ends
        by an error or an interruption.
      checkpoint_seconds: at most this long between two writes.

    Raises:
      ValueError: the checkpoint belongs to another attack or is damaged; predict is no function, returned no integer
        labels, or calls back to Python and is to be compiled.
    """
    if not callable(predict):
        raise ValueError(f"predict is {predict!r}; expected a function of images [n, ...] that returns labels [n]")
    path = None if checkpoint is None else pathlib.Path(checkpoint)
    store = plan.state if path is None else state_file.restore(plan, path)
    if on_device is None and (isinstance(predict, jax.tree_util.Partial) or hasattr(predict, "lower")):
        on_device = not _calls_back(predict, plan)
    elif on_device and _calls_back(predict, plan):
        raise ValueError(
            "predict calls back to Python, which a compiled attack does for padding, too, and again after a failure: "
            "its queries cannot be counted; leave on_device to None or False"
        )
    on_all = places(plan.slots, _devices(predict) if devices is None else devices)
    ledger = None
    if on_device:
        step, slots = _device_program(plan, predict), Slots(plan.slots, on_all)
    else:
        ledger = None if path is None else state_file.open_ledger(plan, path)
        step, slots = _host_program(plan, predict, on_device is None, ledger), Slots(plan.slots)
    total, saved_at, failure = len(plan.problem.label), time.monotonic(), None
    try:
        while True:
            waiting = np.flatnonzero(np.asarray(store.phase) <= walk.WALK)
            if on_chunk is not None:
                queries, distances = np.asarray(store.queries), np.asarray(store.distance)
                on_chunk(Progress(total - len(waiting), total, int(queries.sum(dtype=np.int64)), distances, store))
            if len(waiting) == 0:
                break
            if path is not None and time.monotonic() - saved_at >= checkpoint_seconds:
                state_file.save(plan, store, path)
                saved_at = time.monotonic()
            try:
                store = slots.advance(step, plan.problem, store, waiting, plan.chunk)
            except _IsJax:
                step, slots = _device_program(plan, predict), Slots(plan.slots, on_all)
    except Unfinished as unfinished:
        store, failure = unfinished.state, unfinished.cause
    except BaseException as error:  # of the callback, of compiled code, Ctrl-C
        failure = error
    if path is not None:  # what was paid for stays, however it ended
        state_file.save(plan, store, path)
    if failure is not None:
        raise failure
    if path is not None:
        state_file.ledger_of(path).unlink(missing_ok=True)  # all of it is in the state
    return store


def _calls_back(predict: Callable, plan: Plan) -> bool:
    """Whether a JAX function asks Python while it runs, such as a service behind `jax.pure_callback`."""
    images = jax.ShapeDtypeStruct((plan.slots, *plan.kind.shape), plan.problem.x0.dtype)
    try:
        closed = jax.make_jaxpr(lambda images: predict(images))(images)
    except Exception:  # a callable that cannot be traced fails later, with its own message
        return False
    return _has_callback(closed.jaxpr)


def _has_callback(jaxpr) -> bool:
    for equation in jaxpr.eqns:
        if "callback" in equation.primitive.name and equation.primitive.name != "debug_callback":
            return True
        for value in equation.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns") and _has_callback(inner):
                    return True
    return False


def _devices(predict: Callable) -> Sequence[jax.Device]:
    """All of this process; none, which leaves it to JAX, where there is one, where `jax.default_device` chose one, or
    where `predict` has weights as leaves that were put somewhere."""
    devices = jax.local_devices()
    is_chosen = jax.config.jax_default_device is not None or any(
        isinstance(leaf, jax.Array) and leaf.committed for leaf in jax.tree.leaves(predict)
    )
    return [] if is_chosen or len(devices) == 1 else devices


@functools.partial(jax.jit, static_argnums=(0, 1))
def _advance(kind, given, predict, settings, problem, state, count):
    return program.advance(predict, kind, settings, problem, state, count, given)


def _device_program(plan: Plan, predict: Callable):
    """A chunk of queries without the host. Weights in a `jax.tree_util.Partial` are arguments of the program."""
    if not isinstance(predict, jax.tree_util.Partial):
        predict = jax.tree_util.Partial(_as_it_is(predict, plan))
    return lambda problem, state, count, rows: _advance(
        plan.kind, plan.given, predict, plan.settings, problem, state, jnp.int32(count)
    )


_KNOWN: dict[Callable, tuple[str, Callable]] = {}  # callables, a digest of what they are made of, and a name for that
MOST_KNOWN = 64


def _as_it_is(predict: Callable, plan: Plan) -> Callable:
    """The callable under a name that changes with what it closes over, such as weights that were trained on: programs
    compiled for it earlier hold the old ones."""
    if hasattr(predict, "lower"):  # compiled by its owner
        return predict
    images = jax.ShapeDtypeStruct((plan.slots, *plan.kind.shape), plan.problem.x0.dtype)
    closed = jax.make_jaxpr(lambda images: predict(images))(images)  # traced anew, not taken from JAX's own memory
    made_of = digest(str(closed.jaxpr), *closed.consts)
    try:
        known, named = _KNOWN.get(predict, ("", predict))
    except TypeError:  # not hashable
        return functools.partial(predict)
    if known != made_of:
        named = functools.partial(predict)
        while len(_KNOWN) >= MOST_KNOWN:
            del _KNOWN[next(iter(_KNOWN))]
        _KNOWN[predict] = made_of, named
    return named


@functools.partial(jax.jit, static_argnums=0)
def _noise(kind, settings, problem, state):
    eta, factor = program.noise(kind, settings, problem, state, 1)
    return eta[0], factor[0]


@functools.partial(jax.jit, static_argnums=0)
def _ask(kind, settings, problem, state, eta, factor):
    return walk.ask(kind, settings, problem, state, eta, factor)


@functools.partial(jax.jit, static_argnums=0)
def _answer(given, settings, problem, state, candidate, realised, labels):
    return walk.answer(settings, problem, state, candidate, realised, labels, given)


class _IsJax(Exception):
    """The callable turned out to be a JAX function."""


def _host_program(plan: Plan, predict: Callable, is_open: bool, ledger: np.ndarray | None):
    """A chunk of queries to a callable on the host, which sees the images that are asked about and no others.

    While `is_open`, a first answer that is a JAX array ends it, if the callable can be traced. What else ends it leaves
    as `Unfinished`, with the state after the last answer, in which queries without an answer are counted.
    """

    def advance(problem, state, count, rows):
        nonlocal is_open
        pending = None
        try:
            for _ in range(count):
                is_asking = np.asarray(problem.live) & (np.asarray(state.phase) <= walk.WALK)
                if not is_asking.any():
                    break
                noise = _noise(plan.kind, plan.settings, problem, state)
                candidate, realised = _ask(plan.kind, plan.settings, problem, state, *noise)
                images = np.asarray(candidate).reshape(-1, *plan.kind.shape)
                if ledger is not None:
                    ledger[rows[is_asking]] += 1
                pending = is_asking
                labels = predict(images[is_asking])
                if is_open and isinstance(labels, jax.Array) and _can_compile(predict, images):
                    if ledger is not None:
                        ledger[rows[is_asking]] -= 1
                    raise _IsJax
                is_open = False
                answers = np.zeros(len(is_asking), np.int32)
                answers[is_asking] = checked_labels(labels, int(is_asking.sum()))
                state = _answer(plan.given, plan.settings, problem, state, candidate, realised, jnp.asarray(answers))
                pending = None
        except _IsJax:
            raise
        except BaseException as error:
            if pending is not None:
                state = _charge(plan.settings, problem, state, jnp.asarray(pending, jnp.int32))
            raise Unfinished(state, error) from error
        return state

    return advance


@jax.jit
def _charge(settings, problem, state, count):
    return walk.charged(settings, problem, state, count)


def _can_compile(predict, images) -> bool:
    """Whether a callable can be traced and then asks nobody outside."""
    try:
        closed = jax.make_jaxpr(lambda images: predict(images))(jax.ShapeDtypeStruct(images.shape, images.dtype))
    except Exception:  # whatever a callable does that is not for tracers
        return False
    return not _has_callback(closed.jaxpr)


def checked_labels(labels, count: int) -> np.ndarray:
    """Returns a callable's answer for `count` images as an array of integers.

    Raises:
      ValueError: it is something else.
    """
    labels = np.asarray(labels)
    if labels.shape == (count,) and labels.dtype.kind in "iu" and (labels != labels.astype(np.int32)).any():
        raise ValueError(f"predict returned labels from {labels.min()} to {labels.max()}; expected 32-bit integers")
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"predict returned {labels.dtype} of shape {list(labels.shape)} for {count} images; expected one integer "
            "label an image (for scores, take their argmax)"
        )
    return labels


def digest(*parts) -> str:
    """Returns a SHA-256 of texts and arrays, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        array = np.asarray(part)
        total.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
