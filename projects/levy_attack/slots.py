"""Which images go on together: slots shared by threads, each with a program of its own, refilled after every chunk.

Several devices have a thread each. So have the cores of a CPU: a step is a chain of short operations, most of which XLA
runs on one core, and two programs side by side take two cores little longer than one of them. The numbers are the same.
"""

import os
from collections.abc import Callable, Sequence
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from projects.levy_attack.walk import Problem, State

LEAST = 8  # slots that are worth a thread of their own


def cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def places(count: int, devices: Sequence[jax.Device]) -> list[jax.Device | None]:
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


class Unfinished(BaseException):
    """A program that ended in the middle of a chunk.

    Attributes:
      state: after its last query.
      cause: what ended it.
    """

    def __init__(self, state: State, cause: BaseException):
        super().__init__(repr(cause))
        self.state, self.cause = state, cause


class Slots:
    """Images at a time, each thread with its share of them.

    Attributes:
      size: images at a time, of a thread.
      places: a device for each thread, or None.
    """

    def __init__(self, count: int, places: Sequence[jax.Device | None] = (None,)):
        """`places`: more than one only for compiled JAX code, which several threads may call."""
        self.places = list(places)
        self.size = -(-count // len(self.places))
        self._is_compiled = len(set(self.places)) == len(self.places)  # each thread compiles for its device

    def advance(self, program: Callable, problem: Problem, store: State, waiting: np.ndarray, queries: int) -> State:
        """Returns the states of all images after some queries of as many as there are slots for.

        Args:
          program: (problem, state, queries, rows) of `size` images, `rows` their places among all -> their state.
          problem, store: of all images.
          waiting: indices of those that are not done, one or more.
          queries: of an image.

        Raises:
          Unfinished: the program did, on one thread; its state is that of all images here.
        """
        total, home = len(problem.label), self.places[0]
        parts = [part for part in self._parts(waiting) if part[1].any()]

        def call(part, queries):
            rows, live, place = part
            part_of_problem, state = _moved(_take((problem, store), rows), place)
            part_of_problem = part_of_problem._replace(live=jnp.asarray(live))
            return _moved(jax.block_until_ready(program(part_of_problem, state, queries, rows)), home)

        if len(parts) == 1:
            try:
                states = [call(parts[0], queries)]
            except Unfinished as unfinished:
                rows, live, _ = parts[0]
                raise Unfinished(_put(store, unfinished.state, np.where(live, rows, total)), unfinished.cause) from None
        else:
            if not self._is_compiled:  # once, and not by every thread
                call(parts[0], 0)
                self._is_compiled = True
            call = _in_this_mode(call)
            with futures.ThreadPoolExecutor(len(parts)) as pool:
                states = list(pool.map(lambda part: call(part, queries), parts))
        for (rows, live, _), state in zip(parts, states, strict=True):
            store = _put(store, state, np.where(live, rows, total))
        return store

    def _parts(self, waiting: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, jax.Device | None]]:
        """Rows of images for each thread's slots, which of the slots hold one, and the device."""
        parts = []
        for index, place in enumerate(self.places):
            own = waiting[index :: len(self.places)][: self.size]
            rows = np.zeros(self.size, np.int32)
            rows[: len(own)] = own
            parts.append((rows, np.arange(self.size) < len(own), place))
        return parts


def _moved(tree, place):
    """The tree on a device."""
    return tree if place is None else jax.device_put(tree, place)


def _in_this_mode(call):
    """The function with this thread's contexts, such as `jax.enable_x64()`, which other threads do not have."""
    wide, precision, device = (
        getattr(jax.config, f"jax_{name}") for name in ("enable_x64", "default_matmul_precision", "default_device")
    )

    def called(*arguments):
        with jax.enable_x64(wide), jax.default_matmul_precision(precision), jax.default_device(device):
            return call(*arguments)

    return called


@jax.jit
def _take(tree, rows):
    """The slots' entries of all images."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


@jax.jit
def _put(tree, part, rows):
    """All images with the slots' entries; rows beyond the last image are dropped."""
    return jax.tree.map(lambda leaf, new: leaf.at[rows].set(new, mode="drop"), tree, part)
