"""Which images go on together: slots shared by threads, each with a program of its own, refilled after every chunk.

A step is a chain of short operations, most of which XLA runs on one core: two programs side by side take a CPU of two
cores little longer than one of them. The numbers are the same.
"""

import os
from collections.abc import Callable
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from projects.levy_attack.walk import Problem, State

LEAST = 8  # slots that are worth a thread of their own


def cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Slots:
    """Images at a time, each thread with its share of them.

    Attributes:
      size: images at a time, of a thread.
      threads: one for every core of a CPU where the slots suffice, else one.
    """

    def __init__(self, count: int, is_shared: bool = True):
        """`is_shared`: whether several threads may call the program; it is compiled JAX code."""
        is_shared = is_shared and jax.default_backend() == "cpu"
        self.threads = max(1, min(cores(), count // LEAST)) if is_shared else 1
        self.size = -(-count // self.threads)
        self._is_compiled = False

    def advance(self, program: Callable, problem: Problem, store: State, waiting: np.ndarray, queries: int) -> State:
        """Returns the states of all images after some queries of as many as there are slots for.

        Args:
          program: (problem, state, queries) of `size` images -> their state.
          problem, store: of all images.
          waiting: indices of those that are not done, one or more.
          queries: of an image.
        """
        total = len(problem.label)
        parts = [part for part in self._parts(waiting) if part[1].any()]

        def call(part, queries):
            part_of_problem, state = _take((problem, store), part[0])
            part_of_problem = part_of_problem._replace(live=jnp.asarray(part[1]))
            return jax.block_until_ready(program(part_of_problem, state, queries))

        if len(parts) == 1:
            states = [call(parts[0], queries)]
        else:
            if not self._is_compiled:  # once, and not by every thread
                call(parts[0], 0)
                self._is_compiled = True
            call = _in_this_mode(call)
            with futures.ThreadPoolExecutor(len(parts)) as pool:
                states = list(pool.map(lambda part: call(part, queries), parts))
        for (rows, live), state in zip(parts, states, strict=True):
            store = _put(store, state, np.where(live, rows, total))
        return store

    def _parts(self, waiting: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of images for each thread's slots, and which of the slots hold one."""
        parts = []
        for index in range(self.threads):
            own = waiting[index :: self.threads][: self.size]
            rows = np.zeros(self.size, np.int32)
            rows[: len(own)] = own
            parts.append((rows, np.arange(self.size) < len(own)))
        return parts


def _in_this_mode(call):
    """The function with this thread's contexts, such as `jax.enable_x64()`, which other threads do not have."""
    wide, precision = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision

    def called(*arguments):
        with jax.enable_x64(wide), jax.default_matmul_precision(precision):
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
