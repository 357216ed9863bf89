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
from projects.eharq.config import BlerConfig, GenerateConfig, LinkConfig


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
      fading: "correlated" with the first one's, "same", or "independent".
      delay: in s after the first, where they are correlated.
      doppler: f_D, in Hz.
    """

    version: int = 0
    fading: str = "same"
    delay: float = 0.0
    doppler: float = 0.0

    @property
    def correlation(self) -> float:
        """Of a tap's gain with that of the first transmission."""
        if self.fading == "correlated":
            return float(channel.jakes_correlation(self.delay, self.doppler))
        return float(self.fading == "same")


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
    doppler = channel.doppler_frequency(settings.speed / 3.6, settings.carrier)
    return Again(settings.redundancy_version, settings.retransmission, settings.retransmission_seconds, doppler)


def noise_of(es_n0_db: float) -> float:
    """Returns N_0, the mean square of complex noise, beside symbols of mean energy 1."""
    return 10.0 ** (-es_n0_db / 10)


@functools.partial(jax.jit, static_argnames=("link", "count", "again", "sharding"))
def send(
    key: jax.Array,
    noise: float,
    low: jax.Array | None = None,
    high: jax.Array | None = None,
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
      low, high: float32 [count], quantiles between which the gain of the first channel's dominant mode lies; None:
        anywhere.
      link, count, again: what is sent over what, how many blocks, and the second transmission.
      sharding: how blocks lie on devices, see `common.mesh`.
    """
    word_key, fading_key, noise_key, again_key = jax.random.split(key, 4)
    bits = mesh.constrain(random_bits(word_key, count, link.bits - link.fillers), sharding)
    words = mesh.constrain(ldpc.encode(link.code, jnp.pad(bits, ((0, 0), (0, link.fillers)))), sharding)
    first, second = (None, None) if link.profile == "awgn" else draw_fading(fading_key, link, count, low, high, again)
    gain = jnp.ones(count, jnp.float32) if first is None else jnp.mean(jnp.square(jnp.abs(first)), axis=1)
    noise = jnp.asarray(noise, jnp.float32)
    llr = mesh.constrain(_transmit(noise_key, words, first, noise, link), sharding)
    if again is None:
        return Transmission(words, llr, None, gain)
    combined = _transmit(again_key, words, second, noise, link, again.version, llr)
    return Transmission(words, llr, mesh.constrain(combined, sharding), gain)


def draw_fading(
    key: jax.Array, link: Link, count: int, low: jax.Array | None, high: jax.Array | None, again: Again | None
) -> tuple[jax.Array, jax.Array | None]:
    """Returns the channel [count, subcarriers] of the first transmission and that of the second.

    Without strata the taps are drawn, with them the modes of the same law, the first of which is confined to them.
    """
    again, now, later = again or Again(), *jax.random.split(key)
    frequencies = link.spacing * np.arange(link.subcarriers)
    line, law = (link.profile, link.delay_spread, frequencies), channel.tdl_frequency_response
    if again.fading == "correlated" and channel.tdl_profile(link.profile).line_of_sight:
        both = law(now, *line, (count,), times=[0.0, again.delay], doppler=again.doppler)
        return both[:, 0], both[:, 1]
    if low is None:
        first = law(now, *line, (count,))
    else:
        modes = channel.channel_modes(*line)
        first = channel.modes_response(modes, channel.stratified_modes(now, modes, low, high, (count,)))
    if again.fading == "same":
        return first, first
    if again.fading == "independent":
        return first, law(later, *line, (count,))
    return first, channel.later_response(later, first, *line, again.delay, again.doppler)


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
