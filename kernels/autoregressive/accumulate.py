"""Sums over any number of samples of a network, in bounded memory: for weights, for plain means, for the Markov chain.

sums = init(origin(energy, m)); sums = update(sums, key, log_q, energy, m, beta) for each chunk; estimates.from_sums

`Sums` is a pytree of NumPy arrays, so that a checkpoint holds it and a killed run goes on to the same numbers.
Forbidden states, of infinite energy, have weights of zero; plain means are those of the other samples.
"""

from typing import NamedTuple

import numpy as np

from ..array_types import Float64, RandomKey, Real, Scalar
from . import chain_stream, stream
from .arguments import Samples
from .stream import log_weights
from .thermodynamics import SPINS, spin_numbers

__all__ = [
    "Sums",
    "entropy",
    "init",
    "origin",
    "update",
]

RAW = ("log_w", "log_q", "energy", "abs_m", "m_squared")  # numbers of the stream of plain means
OF_CHAIN = tuple(SPINS.index(name) for name in ("energy", "abs_m", "m_squared"))


class Sums(NamedTuple):
    """Sums over the samples so far. Attributes: weighted: stream of SPINS; raw: of RAW, every allowed sample alike;
    chain; head: log_q, E, M of the first samples [3, chain_stream.HEAD]."""

    weighted: stream.State
    raw: stream.State
    chain: chain_stream.Chain
    head: Float64[np.ndarray, "3 HEAD"]

    @property
    def n(self) -> int:
        """The number of samples."""
        return int(self.raw.n)


def origin(energy: Samples, magnetisation: Samples) -> Float64[np.ndarray, " 5"]:
    """Returns roughly where the numbers SPINS of a sample lie [5], from a first chunk [n]; E = +inf counts as 0."""
    energy = np.asarray(energy, np.float64)
    return spin_numbers(np.where(np.isposinf(energy), 0.0, energy), magnetisation).mean(axis=1)


def init(origin: Real[np.ndarray, " 5"]) -> Sums:
    """Returns sums over nothing; `origin` [5] is roughly where the numbers SPINS of a sample lie."""
    raw = np.array([0.0, 0.0, *(origin[k] for k in OF_CHAIN)])
    return Sums(
        stream.init(len(SPINS), origin),
        stream.init(len(RAW), raw),
        chain_stream.init(),
        np.zeros((3, chain_stream.HEAD)),
    )


def update(sums: Sums, key: RandomKey, log_q: Samples, energy: Samples, magnetisation: Samples, beta: Scalar) -> Sums:
    """Returns the sums with one more chunk of samples, which are offered to the chain, too.

    Args:
      sums: from `init` or `update`.
      key: of the chain, another for each chunk.
      log_q, energy, magnetisation: ln q, E (+inf of forbidden states) and sum of spins of the samples [n].
      beta: inverse temperature of the estimates.

    Raises:
      ValueError: ln q or energies of nan or of the wrong infinity, named.
    """
    log_q, energy, m = (np.asarray(values, np.float64) for values in (log_q, energy, magnetisation))
    log_w = log_weights(log_q, energy, beta)
    allowed = ~np.isneginf(log_w)
    numbers = spin_numbers(np.where(allowed, energy, 0.0), m)
    raw = np.stack([np.where(allowed, log_w, -np.inf), log_q, energy, np.abs(m), np.square(m)])
    return Sums(
        stream.update(sums.weighted, log_w, numbers),
        stream.update(sums.raw, np.where(allowed, 0.0, -np.inf), raw),
        chain_stream.update(sums.chain, key, log_w, numbers[list(OF_CHAIN)]),
        chain_stream.fill_head(sums.head, sums.n, np.stack([log_q, energy, m])),
    )


def entropy(sums: Sums) -> float | None:
    """Returns -mean ln q of the samples that are allowed, nats; None where none is."""
    total = sums.raw.first.sum(axis=0)
    return None if total[0] == 0 else -float(total[2] / total[0] + sums.raw.origin[1])
