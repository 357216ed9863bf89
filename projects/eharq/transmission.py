"""Blocks over the link: random words, encoded, mapped to symbols, faded, with noise, and back to LLRs.

L = log P(bit 0) / P(bit 1) throughout. The channel stands still for a block, and the receiver knows it. Of two
transmissions the LLRs of a bit add up. Everything follows from a key, block by block, on any number of devices.
"""

import dataclasses
import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common import mesh
from kernels import channel, ldpc
from projects.eharq.config import BlerConfig, GenerateConfig, LinkConfig, correlation


@dataclasses.dataclass(frozen=True)
class Link:
    """What is sent over what; a static argument of `jax.jit`.

    Attributes:
      code: of the words.
      bits: of information in a block, fillers among them.
      fillers: known zeros at the end of the information, which are not sent.
      sent: bits of a transmission.
      order: bits of a symbol.
      interleaved: 5G's interleaver of bits stands before the mapping.
      max_log: of the LLRs.
      profile: of the delay line, "awgn" for none.
      delay_spread, subcarriers, spacing: of the channel, in s and Hz.
    """

    code: ldpc.Code
    bits: int
    fillers: int
    sent: int
    order: int
    interleaved: bool
    max_log: bool
    profile: str
    delay_spread: float
    subcarriers: int
    spacing: float

    @property
    def rate(self) -> float:
        """Information bits a sent bit."""
        return (self.bits - self.fillers) / self.sent

    @property
    def is_rate_matched(self) -> bool:
        """Whether 5G's circular buffer is between word and transmission; else all bits of the word are sent."""
        return self.code.information > 0


class Again(NamedTuple):
    """The second transmission.

    Attributes:
      version: redundancy version, 0 to 3.
      correlation: of its fading with the first one's.
    """

    version: int
    correlation: float


class Transmission(NamedTuple):
    """What became of a batch of blocks.

    Attributes:
      words: uint8 [blocks, n], what was sent.
      llr: float32 [blocks, n], of the first transmission.
      combined: float32 [blocks, n], of both; None where there is one.
      gain: float32 [blocks], mean |H|^2 of the first.
    """

    words: jax.Array
    llr: jax.Array
    combined: jax.Array | None
    gain: jax.Array


def link_of(settings: LinkConfig) -> Link:
    """Returns the link that flags describe.

    Raises:
      ValueError: there is no such code, or it cannot be sent so.
    """
    fillers, sent = 0, settings.sent
    if isinstance(settings, BlerConfig) and settings.alist is not None:
        code = read_alist(settings.alist)
        bits, sent = ldpc.dimension(code), code.sendable
    elif isinstance(settings, BlerConfig) and settings.payload is not None:
        block = ldpc.nr_block(settings.payload, settings.rate)
        code, fillers = block.code, block.fillers
        bits, order = code.information * code.lifting, settings.modulation_order
        sent = -(-round(settings.payload / settings.rate) // order) * order
    else:
        code = ldpc.qc_code(settings.base_graph, settings.lifting)
        bits = code.information * code.lifting
        if sent < bits - code.punctured * code.lifting:
            raise ValueError(
                f"--sent={sent}: expected at least the {bits - code.punctured * code.lifting} systematic bits of "
                f"{code.name} that are not punctured"
            )
    if bits < 1:
        raise ValueError(f"{code}: expected a code with information: its {code.checks} checks leave none")
    return Link(
        code, bits, fillers, sent, settings.modulation_order, getattr(settings, "interleaver", False),
        settings.max_log, settings.channel, settings.delay_spread, settings.subcarriers, settings.spacing,
    )  # fmt: skip


def read_alist(path: str) -> ldpc.Code:
    """Returns the code of an alist file.

    Raises:
      ValueError: it cannot be read, or is no such file.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--alist={path}: expected a readable text file ({error})") from None
    return ldpc.read_alist(text)


def again_of(settings: GenerateConfig) -> Again:
    """Returns the second transmission that flags describe."""
    return Again(settings.redundancy_version, correlation(settings))


def noise_of(es_n0_db: float) -> float:
    """Returns N_0, the mean square of complex noise, beside symbols of mean energy 1."""
    return 10.0 ** (-es_n0_db / 10)


@functools.partial(jax.jit, static_argnames=("link", "count", "again", "sharding"))
def send(
    key: jax.Array,
    noise: float,
    low: jax.Array | float = 0.0,
    high: jax.Array | float = 1.0,
    *,
    link: Link,
    count: int,
    again: Again | None = None,
    sharding: jax.sharding.Sharding | None = None,
) -> Transmission:
    """Returns a batch of blocks of random words, sent once or twice.

    Args:
      key: of words, channels and noise.
      noise: N_0, see `noise_of`.
      low, high: float32 [count], between which probabilities the gain of the channel's dominant mode lies.
      link, count, again: what is sent over what, how many blocks, and the second transmission.
      sharding: how blocks lie on devices, see `common.mesh`.
    """
    keys = jax.random.split(key, 5)
    bits = mesh.constrain(random_bits(keys[0], count, link.bits - link.fillers), sharding)
    bits = jnp.pad(bits, ((0, 0), (0, link.fillers)))
    words = mesh.constrain(ldpc.encode(link.code, bits), sharding)
    noise = jnp.asarray(noise, jnp.float32)
    fading = draw_fading(keys[1], link, count, low, high)
    llr = mesh.constrain(_transmit(keys[2], words, fading, noise, link), sharding)
    gain = jnp.mean(jnp.square(jnp.abs(fading)), axis=1) if fading is not None else jnp.ones(count, jnp.float32)
    if again is None:
        return Transmission(words, llr, None, gain)
    second = fading
    if fading is not None and again.correlation < 1:
        other = draw_fading(keys[3], link, count)
        second = again.correlation * fading + float(np.sqrt(1 - again.correlation**2)) * other
    combined = _transmit(keys[4], words, second, noise, link, again.version, llr)
    return Transmission(words, llr, mesh.constrain(combined, sharding), gain)


def random_bits(key: jax.Array, count: int, bits: int) -> jax.Array:
    """Returns uint8 [count, bits] of even coins, 32 of which cost one random number."""
    numbers = jax.random.bits(key, (count, -(-bits // 32)), jnp.uint32)
    spread = (numbers[..., None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    return spread.reshape(count, -1)[:, :bits].astype(jnp.uint8)


def _transmit(key, words, fading, noise, link: Link, version: int = 0, before=None) -> jax.Array:
    """LLRs [blocks, n] of one transmission, added to those of an earlier one."""
    code, options = link.code, {"fillers": link.fillers, "modulation_order": link.order if link.interleaved else 1}
    if link.is_rate_matched:
        bits = ldpc.rate_match(code, words, link.sent, version, **options)
    else:
        bits = words[:, code.n - link.sent :]
    padding = -link.sent % link.order
    x = channel.modulate(jnp.pad(bits, ((0, 0), (0, padding))), link.order)
    h = 1.0 if fading is None else _on_symbols(fading, x.shape[1])
    y = channel.awgn(key, x * h, noise)
    llr = channel.llr(y, h, noise, link.order, method="max_log" if link.max_log else "exact")[:, : link.sent]
    if link.is_rate_matched:
        return ldpc.rate_recover(code, llr, version, out=before, **options)
    return jnp.pad(llr, ((0, 0), (code.n - link.sent, 0))) + (0.0 if before is None else before)


def _on_symbols(fading: jax.Array, symbols: int) -> jax.Array:
    """The channel [blocks, symbols] of symbols that fill the subcarriers of one OFDM symbol after the other."""
    return jnp.tile(fading, (1, -(-symbols // fading.shape[1])))[:, :symbols]
