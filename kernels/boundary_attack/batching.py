"""Which images go on together: slots shared by threads, each with a program of its own, refilled after every chunk.

Several devices have a thread each. So have the cores of a CPU: a step is a chain of short operations, most of which XLA
runs on one core, and two programs side by side take two cores little longer than one of them. The numbers are the same.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import Integer
from ..threads import cores
from .state import Problem, State

LEAST = 8  # slots that are worth a thread of their own


class Unfinished(BaseException):
    """A program that ended in the middle of a chunk.

    Attributes:
      state: after its last query.
      cause: what ended it.
    """

    def __init__(self, state: State, cause: BaseException):
        super().__init__(repr(cause))
        self.state, self.cause = state, cause


@dataclasses.dataclass(frozen=True)
class Slots:
    """Images at a time, each thread with its share of them.

    Attributes:
      program: (problem, state, queries, rows) of `size` images, `rows` their places among all -> their state.
      size: images at a time, of a thread.
      places: a device for each thread, or None, which leaves it to JAX. More than one only for compiled JAX code, which
        several threads may call.
    """

    program: Callable
    size: int
    places: Sequence[jax.Device | None] = (None,)


def make_slots(program: Callable, count: int, places: Sequence[jax.Device | None] = (None,)) -> Slots:
    """Returns `count` slots, or a few more, in equal shares for the threads."""
    return Slots(program, -(-count // len(places)), places)


def thread_places(count: int, devices: Sequence[jax.Device]) -> list[jax.Device | None]:
    """Returns, for each thread, the device that its images go to; None leaves it to JAX.

    Args:
      count: slots in all.
      devices: to share them, as many as have `LEAST` slots; none: wherever JAX computes.
    """
    most = max(1, count // LEAST)
    if len(devices) > 1:
        return list(devices[:most])
    place = devices[0] if devices else None
    platform = place.platform if place else jax.default_backend()
    return [place] * (min(cores(), most) if platform == "cpu" else 1)


def advance(
    slots: Slots, problem: Problem, state: State, waiting: Integer[np.ndarray, " waiting"], queries: int
) -> State:
    """Returns the states of all images after some queries of as many as there are slots for.

    Args:
      slots: of the attack.
      problem, state: of all images.
      waiting: indices of those that are not done, one or more.
      queries: of an image.

    Raises:
      Unfinished: the program did, on one thread; its state is that of all images here.
    """
    total, home = len(problem.label), slots.places[0]
    parts = _parts(slots, waiting)

    def call(part, queries):
        rows, live, place = part
        part_of_problem, part_of_state = _move(_take((problem, state), rows), place)
        part_of_problem = part_of_problem._replace(live=jnp.asarray(live))
        return _move(jax.block_until_ready(slots.program(part_of_problem, part_of_state, queries, rows)), home)

    if len(parts) == 1:
        try:
            after = [call(parts[0], queries)]
        except Unfinished as unfinished:
            rows, live, _ = parts[0]
            raise Unfinished(_put(state, unfinished.state, np.where(live, rows, total)), unfinished.cause) from None
    else:
        call = _in_this_mode(call)
        with futures.ThreadPoolExecutor(len(parts)) as pool:
            after = list(pool.map(lambda part: call(part, queries), parts))
    for (rows, live, _), part_of_state in zip(parts, after, strict=True):
        state = _put(state, part_of_state, np.where(live, rows, total))
    return state


def compile_once(slots: Slots, problem: Problem, state: State) -> None:
    """Compiles what several threads of one device are about to call, once, and not by every thread."""
    if len(set(slots.places)) < len(slots.places):
        one = dataclasses.replace(slots, places=slots.places[:1])
        advance(one, problem, state, np.arange(len(problem.label)), 0)


def _parts(slots, waiting) -> list[tuple[np.ndarray, np.ndarray, jax.Device | None]]:
    """Rows of images for the slots of each thread that has any, which of its slots hold one, and the device."""
    parts = []
    for index, place in enumerate(slots.places):
        share = waiting[index :: len(slots.places)][: slots.size]
        rows = np.zeros(slots.size, np.int32)
        rows[: len(share)] = share
        if len(share):
            parts.append((rows, np.arange(slots.size) < len(share), place))
    return parts


def _move(tree, place):
    """The tree on a device."""
    return tree if place is None else jax.device_put(tree, place)


def _in_this_mode(call):
    """The function with this thread's contexts, such as `jax.enable_x64()`, which other threads do not have."""
    wide, precision, device = (
        getattr(jax.config, f"jax_{name}") for name in ("enable_x64", "default_matmul_precision", "default_device")
    )

    def call_in_mode(*arguments):
        with jax.enable_x64(wide), jax.default_matmul_precision(precision), jax.default_device(device):
            return call(*arguments)

    return call_in_mode


@jax.jit
def _take(tree, rows):
    """The slots' entries of all images."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


@jax.jit
def _put(tree, part, rows):
    """All images with the slots' entries; rows beyond the last image are dropped."""
    return jax.tree.map(lambda leaf, new: leaf.at[rows].set(new, mode="drop"), tree, part)
