"""Which bits of a word are sent, in which order, and back: the circular buffer of 5G NR with its redundancy versions.

TS 38.212: 7.2.2 (base graph), 5.2.2 (lifting size and fillers of one code block), 5.4.2 (rate matching). LLRs are
log P(bit 0) / P(bit 1).
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Count, Float, Scalar, Shaped
from . import base_graphs
from .arguments import checked_llr, with_length
from .codes import LONGEST, Code, checked_code, nr_base_graph, qc_code

LLR_MAX = 1000.0  # of a bit that is known, a filler's: beyond all doubt, and small enough for float16 and for sums
LARGEST_BLOCK = {1: 8448, 2: 3840}  # bits
VERSIONS = {1: (0, 17, 33, 56), 2: (0, 13, 25, 43)}  # starts of redundancy versions, columns of the whole buffer
ORDERS = (1, 2, 4, 6, 8)  # bits a symbol


class NrBlock(NamedTuple):
    """One code block of 5G NR; `encode` takes its payload, then as many zeros as it has fillers.

    Attributes:
      code: with payload + fillers information bits.
      payload: bits, those of checksums included.
      fillers: bits that are known to be 0 and never sent.
    """

    code: Code
    payload: int
    fillers: int


def nr_block(payload: Count, rate: Scalar, *, crc: Count = 0) -> NrBlock:
    """The code and the fillers that the standard takes for one code block.

    Base graph 2 for A <= 292, for A <= 3824 with rate <= 0.67, and for rate <= 0.25, else 1, where A = payload - crc;
    the smallest lifting with K_b Z >= payload, K_b = 22, or for base graph 2 by payload 10 (above 640), 9 (560),
    8 (192) or 6.

    Args:
      payload: B, bits of the block, those of checksums included.
      rate: the code rate that is aimed at, in (0, 1].
      crc: bits of the payload that are a checksum (TS 38.212: 24 above A = 3824, else 16); 0: A is the payload.

    Raises:
      ValueError: a number is out of range, or the payload is more than one block: 8448 bits, 3840 for base graph 2.

    Source: TS 38.212, 5.2.2 and 7.2.2.

    Example:
      >>> from havel.kernels import ldpc
      >>> ldpc.nr_block(360, 0.2)
      NrBlock(code=Code('BG2 Z=48', n=2496, checks=2016, edges=9456), payload=360, fillers=120)
    """
    payload = scalars.whole("payload", payload, 1)
    rate = scalars.real("rate", rate, "a code rate in (0, 1]", lambda r: 0 < r <= 1)
    data = payload - scalars.whole("crc", crc, 0, payload - 1)
    graph = 2 if data <= 292 or (data <= 3824 and rate <= 0.67) or rate <= 0.25 else 1
    most = LARGEST_BLOCK[graph]
    if payload > most:
        expected = f"at most {most}, one block of base graph {graph} at rate {rate:g}; cut it into several blocks"
        raise scalars.refusal("payload", payload, expected)
    columns = base_graphs.INFORMATION[graph]
    if graph == 2 and payload <= 640:
        columns = 9 if payload > 560 else 8 if payload > 192 else 6
    lifting = next(size for size in base_graphs.LIFTINGS if columns * size >= payload)
    code = qc_code(graph, lifting)
    return NrBlock(code, payload, code.information * lifting - payload)


def rate_match(
    code: Code,
    word: Shaped[AnyArray, "*batch n"],
    e: Count,
    rv: Count = 0,
    *,
    fillers: Count = 0,
    modulation_order: Count = 1,
    buffer: Count | None = None,
) -> Shaped[Array, "*batch e"]:
    """The bits of a word that are sent, in their order.

    The buffer is the word without its punctured columns. From the start of the redundancy version on, e bits are taken
    that are no fillers, around its end as often as needed; then the interleaver: f[j + i Q] = e[i + j e / Q].

    Args:
      code: for `jax.jit` a static argument, as all but `word` are.
      word: any dtype, as `encode` returns it; or what belongs to its bits.
      e: bits to send.
      rv: redundancy version 0 to 3. Versions above 0 are those of whole codes of 5G NR.
      fillers: at the end of the information bits.
      modulation_order: Q, bits of a symbol: 1 (no interleaver), 2, 4, 6 or 8.
      buffer: N_cb, for a receiver with less memory: only so many bits of the buffer are used; None: all.

    Raises:
      ValueError: a number is out of range, e is no multiple of the modulation order, or the word has another length.

    Source: TS 38.212, 5.4.2.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import ldpc
      >>> code = ldpc.qc_code(2, 2)  # the first 4 bits of a word are punctured
      >>> ldpc.rate_match(code, np.arange(code.n), 6, modulation_order=2).tolist()
      [4, 7, 5, 8, 6, 9]
    """
    e, order = _checked_size("e", e, modulation_order)
    ring = _ring(checked_code(code), rv, fillers, buffer)
    selection = ring[np.arange(e) % len(ring)]
    return jnp.take(with_length("word", word, code.n, f"bits of {code}"), _interleaved(selection, order), axis=-1)


def rate_recover(
    code: Code,
    llr: Float[AnyArray, "*batch e"],
    rv: Count = 0,
    *,
    fillers: Count = 0,
    modulation_order: Count = 1,
    buffer: Count | None = None,
    out: Float[AnyArray, "*batch n"] | None = None,
) -> Float[Array, "*batch n"]:
    """LLRs of the word that `rate_match` took its bits from: 0 where nothing was sent, sums where a bit came again.

    Args:
      code: for `jax.jit` a static argument, as all but `llr` and `out` are.
      llr: log P(bit 0) / P(bit 1) of what was sent, finite.
      rv, fillers, modulation_order, buffer: as of `rate_match`.
      out: LLRs of transmissions before, which these are added onto (soft combining); None: zeros.

    Returns:
      the dtype of llr; fillers have LLR_MAX = 1000, whatever `out` says.

    Raises:
      ValueError: a number is out of range, the number of LLRs is no multiple of the modulation order, or (unless
        traced) an LLR is NaN or infinite.

    Source: TS 38.212, 5.4.2.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import ldpc
      >>> code = ldpc.qc_code(2, 2)
      >>> ldpc.rate_recover(code, np.ones(102, np.float32))[:8].tolist()  # of 100 bits; two came twice
      [0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 1.0, 1.0]
    """
    values = checked_llr("llr", llr)
    e, order = _checked_size("the number of LLRs", values.shape[-1], modulation_order)
    ring = _ring(checked_code(code), rv, fillers, buffer)
    batch, width = values.shape[:-1], min(e, len(ring))
    straight = jnp.swapaxes(values.reshape(*batch, e // order, order), -1, -2).reshape(*batch, e)
    padded = jnp.pad(straight, [(0, 0)] * len(batch) + [(0, -e % width)])
    sums = padded.reshape(*batch, -(-e // width), width).sum(-2)
    source = np.full(code.n, width)  # what was not sent reads a zero
    source[ring[:width]] = np.arange(width)
    word = jnp.take(jnp.concatenate([sums, jnp.zeros_like(sums[..., :1])], axis=-1), source, axis=-1)
    if out is not None:
        before = checked_llr("out", with_length("out", out, code.n, f"LLRs of {code}"))
        word = word + before.astype(word.dtype)
    end = code.information * code.lifting
    return word.at[..., end - fillers : end].set(LLR_MAX) if fillers else word


def _interleaved(selection: np.ndarray, order: int) -> np.ndarray:
    """f [e] of e [e]: the bits of a symbol come from as many parts of the selection."""
    return selection.reshape(order, -1).T.reshape(-1)


def _checked_size(name: str, e, modulation_order) -> tuple[int, int]:
    order = scalars.whole("modulation_order", modulation_order, 1)
    if order not in ORDERS:
        raise scalars.refusal("modulation_order", order, f"one of {ORDERS} bits a symbol; 1: no interleaver")
    e = scalars.whole(name, e, 1, LONGEST)
    if e % order:
        raise scalars.refusal(name, e, f"a multiple of modulation_order={order}, whole symbols")
    return e, order


def _ring(code: Code, rv, fillers, buffer) -> np.ndarray:
    """Places in the word in the order they are sent in, each once: the buffer without fillers, from its start on."""
    is_whole = _is_whole(code)
    rv = scalars.whole("rv", rv, 0, 3 if is_whole else 0, "" if is_whole else ": others are those of whole 5G NR codes")
    most = max(code.information * code.lifting - 1, 0)
    fillers = scalars.whole("fillers", fillers, 0, most, f", less than the information bits of {code}")
    size = code.sendable if buffer is None else scalars.whole("buffer", buffer, 1, code.sendable)
    ring = _places(code, rv, fillers, size)
    if not ring.size:
        raise scalars.refusal("buffer", size, f"more, since fillers={fillers} leave none of its bits to send")
    return ring


def _is_whole(code: Code) -> bool:
    """Whether a code is one of 5G NR with all its columns."""
    graph = nr_base_graph(code)
    return graph != 0 and code.columns == base_graphs.columns(graph) and code.punctured == base_graphs.PUNCTURED


@functools.lru_cache(maxsize=256)
def _places(code: Code, rv: int, fillers: int, size: int) -> np.ndarray:
    start = VERSIONS[nr_base_graph(code)][rv] * size // code.sendable * code.lifting if rv else 0
    places = code.punctured * code.lifting + (start + np.arange(size)) % size
    end = code.information * code.lifting
    ring = places[(places < end - fillers) | (places >= end)]
    ring.flags.writeable = False
    return ring
