"""Autoregressive networks of spins: samples together with their exact probabilities, and what follows from them.

cfg = PixelCNN(16, depth=4, channels=32, half_width=3, z2=True)
spins, log_q = sample(init(cfg, jax.random.key(0)), cfg, jax.random.key(1), n=1000)
estimates = importance(-beta * energy(spins) - log_q, {"energy": energy(spins)})

A stream of samples: `stream.init`, `stream.update` and `stream.merge` keep sums, `finalise` makes estimates of them.
"""

from . import stream
from .importance import Derived, Estimates, finalise, importance, reverse_ln_z, thermodynamics, window
from .markov_chain import burn_in, chain_estimate, integrated_time, nmcmc
from .networks import MADE, Layer, Network, PixelCNN, init, layers, parameter_counts
from .probability import conditionals, log_prob, logits
from .sampling import sample

__all__ = [
    "MADE",
    "Derived",
    "Estimates",
    "Layer",
    "Network",
    "PixelCNN",
    "burn_in",
    "chain_estimate",
    "conditionals",
    "finalise",
    "importance",
    "init",
    "integrated_time",
    "layers",
    "log_prob",
    "logits",
    "nmcmc",
    "parameter_counts",
    "reverse_ln_z",
    "sample",
    "stream",
    "thermodynamics",
    "window",
]
