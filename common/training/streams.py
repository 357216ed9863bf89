"""Batches that are read while the training runs, and the order in which examples are visited.

    source = records.Records("photos")  # or any object with len(source) and source[i], a dict of arrays
    stream = streams.shuffled(source, batch_size=128, seed=0)
    state = supervised.train(run, step, state, stream, plan)

An iterator of one's own, of Grain or not, is `Stream(iterator, epoch_steps)`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Returns the order in which an epoch visits the examples: int32 [size], a function of its arguments alone."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(size).astype(np.int32)


class CheckpointableIterator(Protocol):
    """Gives batches, and says where it is: iterators of Grain do."""

    def __next__(self) -> Any:
        """Returns the next batch: a pytree of NumPy arrays, of several processes each its own part of the rows."""

    def get_state(self) -> Mapping[str, Any]:
        """Returns where it is, as JSON has it; of several processes the same in each."""

    def set_state(self, state: Any) -> None:
        """Goes there."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """Batches in place of arrays for `supervised.train`.

    Attributes:
      iterator: of the batches; its state goes into the checkpoints.
      epoch_steps: batches that count as a pass over the data, after which the network is evaluated.
    """

    iterator: CheckpointableIterator
    epoch_steps: int


def shuffled(source: Any, batch_size: int, seed: int, *, threads: int = 4, ahead: int = 4) -> Stream:
    """Returns the examples of a source in the order of `permutation`, epoch after epoch: as arrays would be visited.

    Memory holds the order, four bytes an example, and the batches that are read ahead. Each of several processes reads
    its own part of every batch.

    Args:
      source: has `len(source)`, and `source[i]`, a dict of NumPy arrays of equal shapes, for all i; perhaps
        `__getitems__`, for several at once.
      batch_size: examples of a step, over all processes.
      seed: decides the order.
      threads: that read and decode.
      ahead: batches that are ready before they are asked for.

    Raises:
      ValueError: there are fewer examples than a batch has, or it does not split over the processes.
    """
    import grain
    import jax

    count, place = jax.process_count(), jax.process_index()
    if not 1 <= batch_size <= len(source):
        raise ValueError(f"batch_size {batch_size}: expected 1 to {len(source)}, the number of examples")
    if batch_size % count:
        raise ValueError(f"batch_size {batch_size} does not split over {count} processes; take a multiple of {count}")
    batches = grain.MapDataset.source(_Batches(source, batch_size, seed, place, count))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    return Stream(iter(batches.to_iter_dataset(options)), len(source) // batch_size)


class _Batches:
    """Batches by number, without end: a source for Grain."""

    def __init__(self, source: Any, batch_size: int, seed: int, place: int, count: int):
        self.source, self.batch_size, self.seed = source, batch_size, seed
        share = batch_size // count
        self.rows = slice(place * share, (place + 1) * share)
        self.order = functools.lru_cache(maxsize=2)(lambda epoch: permutation(seed, epoch, len(source)))

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        epoch, position = divmod(int(number), len(self.source) // self.batch_size)
        start = position * self.batch_size
        examples = _examples(self.source, self.order(epoch)[start : start + self.batch_size][self.rows])
        return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _examples(source: Any, indices: np.ndarray) -> list[dict[str, np.ndarray]]:
    if hasattr(source, "__getitems__"):
        return source.__getitems__(indices)
    return [source[int(index)] for index in indices]
