"""LDPC codes in float64 and integers, edge by edge, from TS 38.212 and the formulas of belief propagation; slow."""

import itertools
import types

import numpy as np

STARTS = {22: (66, (0, 17, 33, 56)), 10: (50, (0, 13, 25, 43))}  # TS 38.212, table 5.4.2.1-2, by information columns


# Codes and encoding


def parity_check_matrix(rows, columns: int, z: int) -> np.ndarray:
    """[rows z, columns z]: check k of a row touches bit (k + shift) mod z of the column."""
    matrix = np.zeros((len(rows) * z, columns * z), np.uint8)
    for number, row in enumerate(rows):
        for column, shift in row:
            for k in range(z):
                matrix[number * z + k, column * z + (k + shift) % z] += 1
    assert matrix.max() <= 1
    return matrix


def reduced(matrix, columns=None) -> tuple[np.ndarray, list[int]]:
    """(row echelon form over GF(2) with ones alone in their pivot columns, pivot columns); in an order of columns."""
    matrix = np.array(matrix, bool)
    pivots: list[int] = []
    for column in range(matrix.shape[1]) if columns is None else columns:
        ones = np.flatnonzero(matrix[len(pivots) :, column])
        if not ones.size:
            continue
        at, one = len(pivots), len(pivots) + ones[0]
        matrix[[at, one]] = matrix[[one, at]]
        others = np.flatnonzero(matrix[:, column])
        matrix[others[others != at]] ^= matrix[at]
        pivots.append(column)
        if len(pivots) == len(matrix):
            break
    return matrix[: len(pivots)], pivots


def rank(matrix) -> int:
    return len(reduced(matrix)[1])


def encode(matrix, positions, bits) -> np.ndarray:
    """The word [n] with H x = 0 and x[positions] = bits; the other bits have to follow from them."""
    n = np.shape(matrix)[1]
    rest = [bit for bit in range(n) if bit not in set(np.asarray(positions).tolist())]
    form, pivots = reduced(matrix, rest)
    assert pivots == rest, "the positions do not determine the word"
    word = np.zeros(n, np.uint8)
    word[positions] = bits
    for row, pivot in zip(form, pivots, strict=True):
        word[pivot] = row[positions] @ np.asarray(bits) % 2
    return word


def codewords(matrix) -> np.ndarray:
    """All words [2^k, n]."""
    n = np.shape(matrix)[1]
    form, pivots = reduced(matrix)
    free = [bit for bit in range(n) if bit not in pivots]
    words = []
    for bits in itertools.product((0, 1), repeat=len(free)):
        word = np.zeros(n, np.int64)
        word[free] = bits
        for row, pivot in zip(form, pivots, strict=True):
            word[pivot] = row[free] @ np.array(bits, np.int64) % 2
        words.append(word)
    return np.array(words)


# Rate matching, bit by bit (TS 38.212, 5.4.2)


def buffer(word, z: int, information: int, fillers: int) -> list:
    """The circular buffer: (place in the word, bit) without the first 2 z; None where there is a filler."""
    k = information * z
    return [None if k - fillers <= place < k else (place, word[place]) for place in range(2 * z, len(word))]


def sent_bits(word, e: int, rv: int, z: int, information: int, fillers: int, order: int, limit=None) -> list:
    """[(place, bit)] of the e bits that are sent, after the interleaver."""
    d = buffer(word, z, information, fillers)
    n_cb = len(d) if limit is None else limit
    length, starts = STARTS[information]
    j = starts[rv] * n_cb // (length * z) * z
    selection = []
    while len(selection) < e:
        if d[j % n_cb] is not None:
            selection.append(d[j % n_cb])
        j += 1
    output = [None] * e
    for j in range(e // order):
        for i in range(order):
            output[i + j * order] = selection[i * e // order + j]
    return output


def recovered(llr, out, rv: int, z: int, information: int, fillers: int, order: int, llr_max: float, limit=None):
    """LLRs [n] that e received ones are added onto; those of fillers are llr_max."""
    out = np.array(out, np.float64)
    places = [place for place, _ in sent_bits(out, len(llr), rv, z, information, fillers, order, limit)]
    for place, value in zip(places, llr, strict=True):
        out[place] += value
    k = information * z
    out[k - fillers : k] = llr_max
    return out


# Belief propagation


def boxplus(a, b) -> np.ndarray:
    """The LLR of the sum of two bits: 2 atanh(tanh(a/2) tanh(b/2)), without its overflow."""
    signs, a, b = np.where(a < 0, -1.0, 1.0) * np.where(b < 0, -1.0, 1.0), np.abs(a), np.abs(b)
    return signs * np.maximum(np.minimum(a, b) + np.log1p(np.exp(-(a + b))) - np.log1p(np.exp(-np.abs(a - b))), 0)


def check_messages(q, update: str, scale, offset, clip) -> np.ndarray:
    """[words, degree] of messages from one check, each from the messages q to it but its own."""
    q = q if clip is None else np.clip(q, -clip, clip)
    messages = np.zeros_like(q)
    for e in range(q.shape[1]):
        others = np.delete(q, e, axis=1)
        if not others.shape[1]:
            messages[:, e] = np.inf if clip is None else clip  # a check of one bit says that it is 0
        elif update == "min_sum":
            signs = np.prod(np.where(others < 0, -1.0, 1.0), axis=1)
            messages[:, e] = scale * signs * np.maximum(np.min(np.abs(others), axis=1) - offset, 0)
        else:
            total = others[:, 0]
            for other in others[:, 1:].T:
                total = boxplus(total, other)
            messages[:, e] = total
    return messages


def decode(
    check, bit, llr, iterations, *, update="min_sum", schedule="layered", scale=0.75, offset=0.0, clip=None,
    early_stop=True, earliest=0,
):  # fmt: skip
    """Belief propagation of words, check after check.

    Layered, each check changes the posteriors at once; checks that share no bit, as those of one row of circulants, may
    as well go together. Flooding, all checks read the posteriors of the iteration before.

    Args:
      check, bit: [edges], as `ldpc.edges` gives them: the order of checks is that of the layered schedule.
      llr: [words, n].
      update: "min_sum" or "sum_product"; scale and offset are of the former.
      scale, offset: one number, or [iterations, checks]; per row of circulants: repeat each Z times.
      clip: largest magnitude of a message that enters a check; posteriors are not clipped.
      early_stop: a word whose hard decisions satisfy all checks is left as it is; looked at before every iteration
        from number `earliest` on (1: the first iteration is always done).

    Returns:
      posterior [words, n], satisfied [words], iterations [words] (done), reliability and unsatisfied
      [iterations + 1, words]: mean |posterior| and the share of unsatisfied checks after each.
    """
    llr = np.array(llr, np.float64)
    check, bit = np.asarray(check), np.asarray(bit)
    checks = check.max() + 1
    edges_of = [np.flatnonzero(check == number) for number in range(checks)]
    scale, offset = (np.broadcast_to(np.asarray(x, np.float64), (iterations, checks)) for x in (scale, offset))
    posterior, messages = llr.copy(), np.zeros((len(llr), len(check)))
    done = np.zeros(len(llr), int)

    def unsatisfied():
        hard = (posterior < 0).astype(int)
        return np.stack([hard[:, bit[edges]].sum(1) % 2 for edges in edges_of], axis=1).mean(1)

    reliability, shares = [np.abs(posterior).mean(1)], [unsatisfied()]
    for iteration in range(iterations):
        active = shares[-1] > 0 if early_stop and iteration >= earliest else np.ones(len(llr), bool)
        before = posterior[active].copy()
        after, own = before.copy(), messages[active].copy()
        for number, edges in enumerate(edges_of):
            bits = bit[edges]
            q = (after if schedule == "layered" else before)[:, bits] - own[:, edges]
            own[:, edges] = check_messages(q, update, scale[iteration, number], offset[iteration, number], clip)
            if schedule == "layered":
                after[:, bits] = q + own[:, edges]
        if schedule == "flooding":
            after = llr[active].copy()
            for edge, place in enumerate(bit):
                after[:, place] += own[:, edge]
        posterior[active], messages[active] = after, own
        done += active
        reliability.append(np.abs(posterior).mean(1))
        shares.append(unsatisfied())
    return types.SimpleNamespace(
        posterior=posterior, satisfied=shares[-1] == 0, iterations=done,
        reliability=np.array(reliability), unsatisfied=np.array(shares),
    )  # fmt: skip


# What belief propagation should give, by enumeration


def log_weights(words, llr) -> np.ndarray:
    """[words] up to a constant: ln P(word | llr), where a bit of 1 costs its LLR."""
    return -words @ np.asarray(llr, np.float64)


def bit_marginals(matrix, llr) -> np.ndarray:
    """The LLR of each bit [n], given all others and the checks."""
    words = codewords(matrix)
    weights = log_weights(words, llr)
    return np.array([_log_sum(weights[b == 0]) - _log_sum(weights[b == 1]) for b in words.T])


def max_marginals(matrix, llr) -> np.ndarray:
    """[n]: by how much the best word with bit 0 is more likely than the best with bit 1; infinite where none has it."""
    words = codewords(matrix)
    weights = log_weights(words, llr)
    return np.array([max(weights[b == 0], default=-np.inf) - max(weights[b == 1], default=-np.inf) for b in words.T])


def most_likely_word(matrix, llr) -> np.ndarray:
    words = codewords(matrix)
    return words[np.argmax(log_weights(words, llr))]


def _log_sum(values) -> float:
    return -np.inf if not values.size else float(values.max() + np.log(np.exp(values - values.max()).sum()))
