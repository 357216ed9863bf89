"""What a client downloads that was away: the messages it missed, their sum, or the whole model, whichever is cheapest.

A client that comes in at round t and last had the weights of round t - s needs the updates D of s rounds. Adding them
in order repeats the server's own float32 additions, hence its weights to the bit; adding their sum does so on a grid
only (`methods.on_grid`). Section IV of Sattler et al., arXiv:1903.02891. Bits are integers of Python: none overflows.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.federated.compressor import NOTHING, Bits
from kernels import scalars

WAYS = ("nothing", "replay", "merged", "full")


class Download(NamedTuple):
    """What a client takes. Attributes: way, "nothing", "replay", "merged" or "full"; bits."""

    way: str
    bits: Bits


@dataclasses.dataclass
class Ledger:
    """Who has the weights of which round, and what the messages since then cost.

    Attributes:
      last_sync: of each client, the round whose weights it has; 0 at first: all start from the same weights.
      totals: totals[t], bits of the messages of the rounds before t.
      full_bits: of the whole model.
      ways: how many downloads were of which way.
      cache: how many messages the server keeps; None: all.
      merged_bits: rounds -> bits of so many updates in one message; None: there is none.
    """

    last_sync: list[int]
    totals: list[Bits]
    full_bits: Bits
    ways: dict[str, int]
    cache: int | None = None
    merged_bits: Callable[[int], Bits] | None = None

    @property
    def round(self) -> int:
        """The round whose weights the server has."""
        return len(self.totals) - 1

    def quote(self, client: int) -> Download:
        """Returns what a client would take now."""
        gap = self.round - self.last_sync[client]
        replay = self.totals[-1].plus(self.totals[self.last_sync[client]], -1)
        merged = self.merged_bits(gap) if self.merged_bits is not None and gap else None
        return cheapest(gap, replay, self.full_bits, merged_bits=merged, cache=self.cache)

    def synchronise(self, client: int) -> Download:
        """Returns what a client takes now; it then has the server's weights."""
        download = self.quote(client)
        self.ways[download.way] += 1
        self.last_sync[client] = self.round
        return download

    def broadcast(self, bits: Bits) -> None:
        """Adds the message of a round."""
        self.totals.append(self.totals[-1].plus(bits))


def new_ledger(
    clients: int, full_bits: Bits, cache: int | None = None, merged_bits: Callable[[int], Bits] | None = None
) -> Ledger:
    """Returns the ledger before the first round; arguments as the attributes of `Ledger`.

    Raises:
      ValueError: a number makes no sense.
    """
    scalars.whole("clients", clients, 1)
    scalars.whole("full_bits", full_bits.total, 1)
    if cache is not None:
        scalars.whole("cache", cache, 0)
    return Ledger([0] * clients, [NOTHING], full_bits, dict.fromkeys(WAYS, 0), cache, merged_bits)


def cheapest(
    gap: int, replay_bits: Bits, full_bits: Bits, *, merged_bits: Bits | None = None, cache: int | None = None
) -> Download:
    """Returns the cheapest way over a gap; of equal ones the first of replay, merged, full.

    Args:
      gap: rounds that were missed, at least 0.
      replay_bits: of their messages, one after the other.
      full_bits: of the whole model.
      merged_bits: of the sum of their updates; None: not offered.
      cache: how many messages the server keeps; a longer gap takes the whole model. None: all.
    """
    scalars.whole("gap", gap, 0)
    if gap == 0:
        return Download("nothing", NOTHING)
    ways = [Download("full", full_bits)]
    if cache is None or gap <= cache:
        merged = [] if merged_bits is None else [Download("merged", merged_bits)]
        ways = [Download("replay", replay_bits), *merged, *ways]
    return min(ways, key=lambda way: way.bits.total)


def replay(weights: Any, updates: Iterable[Any]) -> np.ndarray:
    """Returns the weights after updates in order: those of the server, bit for bit.

    Args:
      weights: float32 [n], of the last synchronisation.
      updates: float32 [n] each, decoded from the messages since.
    """
    weights = np.array(weights, np.float32)
    for number, update in enumerate(updates):
        update = np.asarray(update)
        if update.shape != weights.shape or update.dtype != np.float32:
            kind = f"{update.dtype} {update.shape}"
            raise ValueError(f"update {number} is {kind}: expected float32 {weights.shape}, as the weights are")
        weights += update
    return weights


def merge(updates: Sequence[Any], grid: float) -> np.ndarray:
    """Returns the sum of updates on a grid: adding it gives what adding them in turn gives, bit for bit.

    Args:
      updates: float32 [n] each, at least one.
      grid: what they are multiples of, as `methods.on_grid` has it.

    Raises:
      ValueError: an update is not on the grid, or the sum has left what float32 holds of it.
    """
    if not len(updates):
        raise ValueError("updates=[]: expected at least one")
    total = np.zeros(np.shape(updates[0]), np.float64)  # exact: 2^53 steps
    for number, update in enumerate(updates):
        steps = np.asarray(update, np.float64) / grid
        if wrong := np.count_nonzero(steps != np.rint(steps)):
            raise ValueError(
                f"update {number} has {wrong} values that are no multiples of grid={grid}: replay it instead"
            )
        total += steps
    if np.abs(total).max(initial=0.0) >= 2**24:
        raise ValueError(
            f"the sum reaches 2^24 steps of grid={grid}, which float32 does not hold: choose a coarser one"
        )
    return (total * grid).astype(np.float32)
