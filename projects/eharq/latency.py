"""Latency of blocks on a slotted link: Poisson arrivals, a queue, feedback that takes time, at most one retransmission.

A block that arrives waits for the beginning of a slot, and for room in it. It is sent again when its first
transmission was predicted (early feedback) or known (regular feedback) to be lost; times are those of
`predict_config.QueueConfig`. The outcome of a block is drawn from blocks of the test set as they are probable.
"""

import collections
import math
from typing import NamedTuple

import numpy as np

from common.study import statistics
from projects.eharq.predict_config import QueueConfig

QUANTILES = (0.5, 0.9, 0.99, 0.999)
BATCHES = 20  # of consecutive blocks, whose late shares say how much a queue ties neighbours together


class Outcomes(NamedTuple):
    """What becomes of blocks, bool [blocks] each.

    Attributes:
      nack: is predicted from the subcode; regular feedback does not look at it.
      failed: the first transmission cannot be decoded.
      combined_failed: nor can both together.
    """

    nack: np.ndarray
    failed: np.ndarray
    combined_failed: np.ndarray


class Passage(NamedTuple):
    """Blocks through the link, in order of arrival.

    Attributes:
      arrival: float64 [blocks], in slots.
      first: int64 [blocks], slot of the first transmission.
      second: int64 [blocks], slot of the retransmission, -1 where there is none.
      delivery: float64 [blocks], when it is decoded; infinite where it never is.
    """

    arrival: np.ndarray
    first: np.ndarray
    second: np.ndarray
    delivery: np.ndarray


def draw(outcomes: Outcomes, weight: np.ndarray, blocks: int, generator: np.random.Generator) -> Outcomes:
    """Returns the outcomes of so many blocks, drawn with replacement as they are probable."""
    share = None if np.ptp(weight) == 0 else weight / weight.sum()
    rows = generator.choice(len(weight), blocks, replace=True, p=share)
    return Outcomes(*(each[rows] for each in outcomes))


def regular(outcomes: Outcomes) -> Outcomes:
    """Returns the outcomes as regular feedback sees them: a NACK where the block is lost."""
    return outcomes._replace(nack=outcomes.failed)


def feedback_delay(settings: QueueConfig, share: float | None) -> int:
    """Returns how many slots after the start of a transmission a retransmission may start at the earliest.

    Args:
      settings: its times.
      share: the subcode's part of a slot, for early feedback; None for regular feedback.
    """
    delay = (1 + settings.processing if share is None else share + settings.early_processing) + settings.feedback
    return max(1, math.ceil(round(delay, 9)))


def simulate(settings: QueueConfig, load: float, outcomes: Outcomes, share: float | None, seed: int) -> Passage:
    """Returns the passage of blocks, as many as there are outcomes; the link is empty before and runs until all left.

    Args:
      settings: its times and capacity.
      load: new blocks a slot over the capacity, by a Poisson process.
      outcomes: of the blocks in order of arrival, see `draw` and `regular`.
      share: the subcode's part of a slot (early feedback), or None (regular feedback).
      seed: of the arrivals.
    """
    blocks = len(outcomes.failed)
    arrival = np.cumsum(np.random.default_rng(seed).exponential(1 / (load * settings.capacity), blocks))
    delay = np.where(outcomes.nack, feedback_delay(settings, share), -1)
    if settings.late_feedback and share is not None:
        delay[outcomes.failed & ~outcomes.nack] = feedback_delay(settings, None)
    first, second = queue(np.ceil(arrival).astype(np.int64), delay, settings.capacity, priority=settings.priority)
    again = second >= 0
    ready = np.where(outcomes.failed, np.inf, first + 1 + settings.processing)
    saved = outcomes.failed & again & ~outcomes.combined_failed
    return Passage(arrival, first, second, np.where(saved, second + 1 + settings.processing, ready))


def queue(ready: np.ndarray, delay: np.ndarray, capacity: int, *, priority: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the slots (first, second) of each block's transmissions; second is -1 where there is one only.

    Slot after slot, retransmissions that are due and then new blocks join the end of a line, of which the first
    `capacity` are sent; with priority, retransmissions have a line of their own, which is served first.

    Args:
      ready: int64 [blocks], ascending: the slot in which a block joins.
      delay: int64 [blocks], slots from its first transmission to its retransmission's joining; -1: it has none.
      capacity: transmissions of a slot.
      priority: of retransmissions.
    """
    blocks, ready, delay = len(ready), ready.tolist(), delay.tolist()
    first, second = [-1] * blocks, [-1] * blocks
    due: dict[int, list[int]] = {}
    line: collections.deque[int] = collections.deque()
    ahead = collections.deque() if priority else line
    slot, new = 0, 0
    while new < blocks or line or ahead or due:
        if not line and not ahead and slot not in due:  # nothing to send: on to the next that joins
            slot = min(*due, ready[new]) if new < blocks and due else min(due) if due else max(slot, ready[new])
        if slot in due:
            ahead.extend(due.pop(slot))
        while new < blocks and ready[new] <= slot:
            line.append(new)
            new += 1
        for _ in range(capacity):
            if ahead:
                block = ahead.popleft()
            elif line:
                block = line.popleft()
            else:
                break
            if first[block] >= 0:
                second[block] = slot
            else:
                first[block] = slot
                if delay[block] >= 0:
                    due.setdefault(slot + delay[block], []).append(block)
        slot += 1
    return np.array(first, np.int64), np.array(second, np.int64)


def measure(settings: QueueConfig, load: float, passage: Passage) -> dict:
    """Returns latencies in milliseconds, what is late or lost, and how busy the link was.

    Neighbours in a queue are late together: the interval is Clopper and Pearson's for as many blocks as would vary
    like batches of consecutive ones do.
    """
    latency = milliseconds(settings, passage)
    late = ~(latency <= settings.deadline_ms)
    sent = len(late) + int(np.count_nonzero(passage.second >= 0))
    last = max(passage.first.max(), passage.second.max()) + 1
    expected = load * sent / len(late)
    return {
        "load": load,
        "utilisation": sent / (settings.capacity * float(last)),
        "is_stable": bool(expected < 1),
        "mean_transmissions": sent / len(late),
        "quantiles_ms": dict(zip(map(str, QUANTILES), np.quantile(latency, QUANTILES, method="higher"), strict=True)),
        "late": late_share(late),
        "lost": float(np.mean(np.isinf(latency))),
        "blocks": len(late),
    }


def milliseconds(settings: QueueConfig, passage: Passage) -> np.ndarray:
    """Returns from arrival to delivery, float64 [blocks]; infinite for a block that is lost."""
    return (passage.delivery - passage.arrival) * settings.slot_ms


def late_share(late: np.ndarray) -> dict:
    """Returns the share of late blocks with its interval, and by how much batches vary more than independent blocks."""
    count, total = int(np.count_nonzero(late)), len(late)
    batches = np.array([part.sum() for part in np.array_split(late, BATCHES)])
    spread = batches.var(ddof=1) / (batches.mean() * (1 - count / total)) if 0 < count < total else 1.0
    spread = max(1.0, float(spread))
    effective = max(1, round(total / spread))
    low, high = statistics.share_interval(min(effective, round(count / spread)), effective)
    return {"value": count / total, "low": low, "high": high, "events": count, "spread": spread}
