"""Words of a code from information bits, and the checks that a word does not satisfy.

Codes of 5G NR by substitution: the core's four columns of parity bits from the sums of its four rows, then each further
column from its own row (TS 38.212, 5.3.2). Other codes by a generator (`generator`).
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Shaped, UInt8
from . import base_graphs
from .arguments import checked_bits
from .codes import Code, Rows, checked_code, nr_base_graph
from .generator import dimension, generator


def encode(code: Code, bits: Shaped[AnyArray, "*batch k"] | Sequence) -> UInt8[Array, "*batch n"]:
    """The words that hold information bits at `information_positions(code)`: at the beginning for 5G NR.

    Args:
      code: for `jax.jit` a static argument. A code without the structure of 5G NR is eliminated on the host on first
        use, see `dimension`.
      bits: 0 or 1, `dimension(code)` along the last axis; fillers of `nr_block` are zeros at the end.

    Raises:
      ValueError: bits have another length, or one of them is neither 0 nor 1 (unless traced).

    Source: TS 38.212, 5.3.2.

    Example:
      >>> from havel.kernels import ldpc
      >>> hamming = ldpc.sparse_code([[1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]])
      >>> ldpc.encode(hamming, [1, 0, 1, 1]).tolist()
      [1, 0, 1, 1, 0, 1, 0]
    """
    checked = checked_bits("bits", bits, dimension(code), f"information bits of {code}")
    return _encode(code, checked)


def syndrome(code: Code, bits: Shaped[AnyArray, "*batch n"] | Sequence) -> UInt8[Array, "*batch checks"]:
    """H x mod 2: 1 for each check that a word does not satisfy.

    Args:
      code: for `jax.jit` a static argument.
      bits: 0 or 1, or bool.

    Raises:
      ValueError: bits have another length, or one of them is neither 0 nor 1 (unless traced).

    Example:
      >>> from havel.kernels import ldpc
      >>> ldpc.syndrome(ldpc.sparse_code([[1, 1, 0], [0, 1, 1]]), [1, 1, 0]).tolist()
      [0, 1]
    """
    return _syndrome(code, checked_bits("bits", bits, checked_code(code).n, f"bits of a word of {code}"))


@functools.partial(jax.jit, static_argnums=0)
def _encode(code: Code, bits):
    return substitution(jnp, code, bits) if nr_base_graph(code) else _from_generator(code, bits)


@functools.partial(jax.jit, static_argnums=0)
def _syndrome(code: Code, bits):
    return parity_sums(jnp, bits, code.rows, code.lifting).reshape(*bits.shape[:-1], code.checks)


def parity_sums(xp, word, rows: Rows, z: int):
    """uint8 [..., rows, z]: the sums mod 2 that rows of a matrix of circulants ask for.

    A gather for each degree of rows. Sums of bytes may wrap, which leaves them even or odd.

    Args:
      xp: numpy or jax.numpy.
      word: uint8 [..., bits], at least as many as the rows touch.
    """
    degrees = np.array([len(row) for row in rows])
    parts, order = [], []
    for degree in np.unique(degrees):
        numbers = np.flatnonzero(degrees == degree)
        column, shift = np.moveaxis(np.array([rows[number] for number in numbers], np.int32), -1, 0)[..., None]
        index = column * z + (np.arange(z, dtype=np.int32) + shift) % z  # [rows, degree, z]
        parts.append(xp.take(word, index, axis=-1).sum(-2, dtype=np.uint8) & 1)
        order.append(numbers)
    return xp.take(xp.concatenate(parts, axis=-2), np.argsort(np.concatenate(order)), axis=-2)


def substitution(xp, code: Code, bits):
    """The words of a code of 5G NR; numpy or jax.numpy.

    With lambda_r the sum of row r's information, the four core rows add up to the one shift s of the core's first
    column that is not there twice: x = roll(lambda_0 + ... + lambda_3, s). The other three follow in rows with one
    unknown.
    """
    z, information, core = code.lifting, code.information, code.information + base_graphs.CORE
    batch = bits.shape[:-1]
    known = parity_sums(xp, bits, _entries_before(code.rows[: base_graphs.CORE], information), z)
    first, steps = _core_steps(code.rows[: base_graphs.CORE], information)
    columns = {information: xp.roll(known.sum(-2, dtype=np.uint8) & 1, first, axis=-1)}
    for row, column, shift, others in steps:
        total = known[..., row, :]
        for other, back in others:
            total = total ^ xp.roll(columns[other], -back, axis=-1)
        columns[column] = xp.roll(total, shift, axis=-1)
    word = xp.concatenate([bits, *(columns[column] for column in range(information, core))], axis=-1)
    if len(code.rows) == base_graphs.CORE:
        return word
    further = parity_sums(xp, word, _entries_before(code.rows[base_graphs.CORE :], core), z)
    return xp.concatenate([word, further.reshape(*batch, math.prod(further.shape[-2:]))], axis=-1)


def _entries_before(rows: Rows, column: int) -> Rows:
    return tuple(tuple(entry for entry in row if entry[0] < column) for row in rows)


def _core_steps(rows: Rows, information: int):
    """(shift of the first parity column, [(row, column, shift, entries known before)] for the other three)."""
    parity = [{column: shift for column, shift in row if column >= information} for row in rows]
    shifts = [row[information] for row in parity if information in row]
    first = next((shift for shift in shifts if shifts.count(shift) == 1), shifts[0])
    solved, steps = {information}, []
    while len(solved) < base_graphs.CORE:
        for number, row in enumerate(parity):
            unknown = [column for column in row if column not in solved]
            if len(unknown) == 1:
                others = [(column, shift) for column, shift in row.items() if column != unknown[0]]
                steps.append((number, unknown[0], row[unknown[0]], others))
                solved.add(unknown[0])
    return first, steps


def _from_generator(code: Code, bits):
    """By sums over information bits, 32 to a word."""
    information, parity, sums = generator(code)
    padded = jnp.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, sums.shape[1] * 32 - bits.shape[-1])])
    by_words = padded.reshape(*bits.shape[:-1], sums.shape[1], 32).astype(jnp.uint32)
    packed = jnp.sum(by_words << jnp.arange(32, dtype=jnp.uint32), axis=-1, dtype=jnp.uint32)
    common = packed[..., None, :] & sums
    odd = jax.lax.reduce(common, np.uint32(0), jax.lax.bitwise_xor, (common.ndim - 1,))
    checks = (jax.lax.population_count(odd) & 1).astype(jnp.uint8)
    places = np.argsort(np.concatenate([information, parity]))
    return jnp.take(jnp.concatenate([bits, checks], axis=-1), places, axis=-1)
