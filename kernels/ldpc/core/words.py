"""Belief propagation of words, sixteen at once in the lanes of vectors, until each satisfies its checks or time is up.

A word's numbers are those of its lane alone: whatever it is decoded beside, and wherever in the batch, they are the
same. A lane whose word has stopped goes on unread until all sixteen have.
"""

from ...compiling import compiled
from ...vectors import LANES, add, exclusive_or, indicator, load, magnitude, negative_lanes, splat, store
from .checks import min_sum, place, sum_product


@compiled
def decode(
    llr, begin, end, starts, columns, shifts, lifting, iterations, is_sum_product, flooding, scale, offset, clip,
    early_stop, statistics, posterior, sums, channel, messages, inputs, prefixes, counts, result, satisfied, stopped,
    reliability, unsatisfied,
):  # fmt: skip
    """Decodes the words begin to end.

    Args:
      llr: float32 [words, n].
      starts, columns, shifts: int64, edges of row r are starts[r] to starts[r + 1].
      scale, offset: float32 [iterations, rows].
      posterior, messages, inputs, prefixes, counts, and where flooding sums and channel: float32, work space.
      result: float32 [words, n], the posteriors. satisfied: uint8 [words]. stopped: int32 [words], iterations.
      reliability, unsatisfied: float32 [iterations + 1, words], written where `statistics`.
    """
    n, rows = llr.shape[1], starts.size - 1
    for first in range(begin, end, LANES):
        words = min(LANES, end - first)
        active = (1 << words) - 1
        fill(llr, first, words, posterior)
        for at in range(messages.size):
            messages[at] = 0.0
        if flooding:
            for at in range(n * LANES):
                channel[at] = posterior[at]
        if statistics:
            measure(
                posterior,
                starts,
                columns,
                shifts,
                lifting,
                n,
                counts,
                0,
                first,
                words,
                active,
                reliability,
                unsatisfied,
            )
        for iteration in range(iterations):
            if flooding:
                for at in range(n * LANES):
                    sums[at] = channel[at]
            for row in range(rows):
                factor, less = scale[iteration, row], offset[iteration, row]
                if is_sum_product:
                    sum_product(
                        posterior, sums, messages, inputs, prefixes, starts[row], starts[row + 1], columns, shifts,
                        lifting, factor, less, clip, flooding,
                    )  # fmt: skip
                else:
                    min_sum(
                        posterior, sums, messages, inputs, starts[row], starts[row + 1], columns, shifts, lifting,
                        factor, less, clip, flooding,
                    )  # fmt: skip
            if flooding:
                for at in range(n * LANES):
                    posterior[at] = sums[at]
            if statistics:
                measure(
                    posterior, starts, columns, shifts, lifting, n, counts, iteration + 1, first, words, active,
                    reliability, unsatisfied,
                )  # fmt: skip
            is_last = iteration == iterations - 1
            if early_stop or is_last:
                wrong = unsatisfied_lanes(posterior, starts, columns, shifts, lifting, active)
                ended = active if is_last else active & ~wrong
                for lane in range(words):
                    if (ended >> lane) & 1:
                        word = first + lane
                        satisfied[word] = 1 - ((wrong >> lane) & 1)
                        stopped[word] = iteration + 1
                        for bit in range(n):
                            result[word, bit] = posterior[bit * LANES + lane]
                active &= ~ended
                if active == 0:
                    break
        if statistics:
            repeat(first, words, iterations, stopped, reliability, unsatisfied)


@compiled
def fill(llr, first, words, posterior):
    """Lays words beside each other, a lane each; other lanes are zero, and so is -0.0, whose sign would count."""
    for lane in range(words):
        for bit in range(llr.shape[1]):
            posterior[bit * LANES + lane] = llr[first + lane, bit] + 0.0
    for lane in range(words, LANES):
        for bit in range(llr.shape[1]):
            posterior[bit * LANES + lane] = 0.0


@compiled
def unsatisfied_lanes(posterior, starts, columns, shifts, lifting, active):
    """Bits of the lanes that violate a check; ends where all active ones do."""
    wrong = 0
    for row in range(starts.size - 1):
        for z in range(lifting):
            parity = splat(0.0)
            for edge in range(starts[row], starts[row + 1]):
                parity = exclusive_or(parity, load(posterior, place(columns[edge], shifts[edge], z, lifting)))
            wrong |= negative_lanes(parity)
            if (wrong & active) == active:
                return wrong
    return wrong


@compiled
def measure(
    posterior, starts, columns, shifts, lifting, n, counts, iteration, first, words, active, reliability, unsatisfied
):
    """Mean magnitude of the posteriors, and the share of violated checks, of the lanes that are still active."""
    total = splat(0.0)
    for begin in range(0, n, lifting):  # by column: short sums lose less
        part = splat(0.0)
        for bit in range(begin, begin + lifting):
            part = add(part, magnitude(load(posterior, bit * LANES)))
        total = add(total, part)
    store(counts, 0, total)
    for lane in range(words):
        if (active >> lane) & 1:
            reliability[iteration, first + lane] = counts[lane] / n
    total = splat(0.0)
    for row in range(starts.size - 1):
        for z in range(lifting):
            parity = splat(0.0)
            for edge in range(starts[row], starts[row + 1]):
                parity = exclusive_or(parity, load(posterior, place(columns[edge], shifts[edge], z, lifting)))
            total = add(total, indicator(parity))
    store(counts, 0, total)
    for lane in range(words):
        if (active >> lane) & 1:
            unsatisfied[iteration, first + lane] = counts[lane] / ((starts.size - 1) * lifting)


@compiled
def repeat(first, words, iterations, stopped, reliability, unsatisfied):
    """What was measured last stays for the iterations that a word did not need."""
    for word in range(first, first + words):
        last = stopped[word]
        for iteration in range(last + 1, iterations + 1):
            reliability[iteration, word] = reliability[last, word]
            unsatisfied[iteration, word] = unsatisfied[last, word]
