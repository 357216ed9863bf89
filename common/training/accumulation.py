"""A loop that sums something up over chunks, with checkpoints, resume and progress.

A run killed at any moment and started again ends with the same sums, as long as each chunk follows from how many items
came before it.
"""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from common.runs.run_directory import Preempted, Run
from common.training.checkpoint import Checkpointer
from common.training.supervised import Termination

State = TypeVar("State")


def accumulate(
    run: Run,
    chunks: Callable[[State], Iterable[State]],
    state: State,
    count: Callable[[State], int],
    total: int,
    *,
    checkpoint_seconds: float = 60.0,
    description: str = "items",
) -> tuple[State, float | None]:
    """Returns (the state after `total` items, items a second; None where all of them were there), in one process.

    Args:
      run: where checkpoints go; its `meta.json` notes under "resumed_after" how many items there were at each resume.
      chunks: the states after each chunk that follows a state, up to `total` items.
      state: the one to begin with, a pytree of arrays.
      count: of the items in a state.
      total: items in all.
      checkpoint_seconds: at most so long between checkpoints, when a chunk ends; the end writes one too.
      description: the word beside the progress.

    Raises:
      Preempted: SIGTERM arrived; the checkpoint is written.
      ValueError: a checkpoint does not fit the state.
    """
    checkpointer = Checkpointer(run.checkpoints)
    if restored := checkpointer.restore_latest(state):
        _, state = restored
        run.log(f"resumed after {count(state):,} of {total:,} {description}")
        run.note(resumed_after=[*run.meta().get("resumed_after", []), count(state)])
    first = done = count(state)
    start = saved_at = time.monotonic()
    with checkpointer, Termination(True) as termination, run.progress(total, description, first) as progress:
        for state in chunks(state):  # noqa: B020  (the loop goes on from the state before it)
            progress.update(count(state) - done)
            done = count(state)
            stops = termination.after(done)
            if done == total or stops or time.monotonic() - saved_at >= checkpoint_seconds:
                checkpointer.save(done, state, wait=False)
                saved_at = time.monotonic()
            if stops and done < total:
                raise Preempted(f"SIGTERM: checkpoint written after {done:,} of {total:,} {description}")
    seconds = time.monotonic() - start
    return state, round((done - first) / seconds, 1) if done > first else None
