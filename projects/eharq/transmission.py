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
    def symbols(self) -> int:
        """Symbols of a transmission."""
        return -(-self.sent // self.order)

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
    try:
        return ldpc.read_alist(text)
    except ValueError as error:
        raise ValueError(f"--alist={path}: {error}") from None


def again_of(settings: GenerateConfig) -> Again:
    """Returns the second transmission that flags describe."""
    doppler = channel.doppler_frequency(settings.speed / 3.6, settings.carrier)
    return Again(settings.redundancy_version, settings.retransmission, settings.retransmission_seconds, doppler)


def noise_of(es_n0_db: float) -> float:
    """Returns N_0, the mean square of complex noise, beside symbols of mean energy 1."""
    return 10.0 ** (-es_n0_db / 10)


def send(
    key: jax.Array,
    noise: float,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
    *,
    link: Link,
    count: int,
    again: Again | None = None,
    sharding: jax.sharding.Sharding | None = None,
) -> Transmission:
    """Returns a batch of blocks of random words, sent once or twice.

    Each step is a program of its own: in a common one XLA on a CPU would draw the noise of a symbol again for each of
    its bits, which makes all of it three times as slow.

    Args:
      key: of words, channels and noise.
      noise: N_0, see `noise_of`.
      low, high: float32 [count], quantiles between which the gain of the first channel's dominant mode lies; None:
        anywhere.
      link, count, again: what is sent over what, how many blocks, and the second transmission.
      sharding: how blocks lie on devices, see `common.mesh`.
    """
    keys, static = jax.random.split(key, 3), {"link": link, "sharding": sharding}
    noise = np.float32(noise)
    words, first, second, gain = _draw(keys[0], low, high, count=count, again=again, **static)
    llr = _transmit(keys[1], words, first, noise, None, 0, **static)
    if again is None:
        return Transmission(words, llr, None, gain)
    return Transmission(words, llr, _transmit(keys[2], words, second, noise, llr, again.version, **static), gain)


def _transmit(key, words, fading, noise, before, version: int, link: Link, sharding) -> jax.Array:
    """LLRs [blocks, n] of one transmission, added to those of an earlier one."""
    disturbance = _draw_noise(key, noise, count=len(words), link=link, sharding=sharding)
    received, response = _receive(words, fading, disturbance, version=version, link=link, sharding=sharding)
    llr = _demodulate(received, response, noise, link=link, sharding=sharding)
    return _recover(llr, before, version=version, link=link, sharding=sharding)


@functools.partial(jax.jit, static_argnames=("link", "count", "again", "sharding"))
def _draw(key, low, high, link: Link, count: int, again: Again | None, sharding):
    """Words [count, n], the channel [count, subcarriers] of both transmissions or None, mean gain of the first."""
    word_key, fading_key = jax.random.split(key)
    bits = mesh.constrain(random_bits(word_key, count, link.bits - link.fillers), sharding)
    words = mesh.constrain(ldpc.encode(link.code, jnp.pad(bits, ((0, 0), (0, link.fillers)))), sharding)
    if link.profile == "awgn":
        return words, None, None, jnp.ones(count, jnp.float32)
    first, second = draw_fading(fading_key, link, count, low, high, again)
    return words, first, second, jnp.mean(jnp.square(jnp.abs(first)), axis=1)


@functools.partial(jax.jit, static_argnames=("link", "count", "sharding"))
def _draw_noise(key, noise, *, link: Link, count: int, sharding):
    return mesh.constrain(channel.awgn(key, jnp.zeros((count, link.symbols), jnp.complex64), noise), sharding)


@functools.partial(jax.jit, static_argnames=("link", "version", "sharding"))
def _receive(words, fading, disturbance, *, link: Link, version: int, sharding):
    """What is received [count, symbols], and the channel there."""
    if link.is_rate_matched:
        bits = ldpc.rate_match(link.code, words, link.sent, version, **_matching(link))
    else:
        bits = words[:, link.code.n - link.sent :]
    x = channel.modulate(jnp.pad(bits, ((0, 0), (0, -link.sent % link.order))), link.order)
    h = jnp.ones((1, 1), x.dtype) if fading is None else _on_symbols(fading, link.symbols)
    return mesh.constrain(h * x + disturbance, sharding), h


@functools.partial(jax.jit, static_argnames=("link", "sharding"))
def _demodulate(received, response, noise, *, link: Link, sharding):
    """LLRs [count, sent]."""
    llr = channel.llr(received, response, noise, link.order, method="max_log" if link.max_log else "exact")
    return mesh.constrain(llr[:, : link.sent], sharding)


@functools.partial(jax.jit, static_argnames=("link", "version", "sharding"))
def _recover(llr, before, *, link: Link, version: int, sharding):
    """LLRs [count, n] of the bits of a word, added to those of an earlier transmission."""
    if link.is_rate_matched:
        llr = ldpc.rate_recover(link.code, llr, version, out=before, **_matching(link))
    else:
        llr = jnp.pad(llr, ((0, 0), (link.code.n - link.sent, 0))) + (0.0 if before is None else before)
    return mesh.constrain(llr, sharding)


def _matching(link: Link) -> dict[str, int]:
    return {"fillers": link.fillers, "modulation_order": link.order if link.interleaved else 1}


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


def _on_symbols(fading: jax.Array, symbols: int) -> jax.Array:
    """The channel [blocks, symbols] of symbols that fill the subcarriers of one OFDM symbol after the other."""
    return jnp.tile(fading, (1, -(-symbols // fading.shape[1])))[:, :symbols]
