"""Autoregressive networks of spins: samples together with their exact probabilities, and what follows from them.

cfg = PixelCNN(16, depth=4, channels=32, half_width=3, z2=True)
spins, log_q = sample(init(cfg, jax.random.key(0)), cfg, jax.random.key(1), n=1000)
estimates = importance(log_weights(log_q, energy(spins), beta), {"energy": energy(spins)}, log_q=log_q)
print(estimates.ln_z, estimates.ln_z_err, estimates.status)

A stream of samples: `stream.init`, `stream.update` and `stream.merge` keep sums, `finalise` makes estimates of them.
Everything for any network and energy, in bounded memory, with statuses: `estimate(Proposal([Law(...)]), system, ...)`,
or with a loop of one's own `accumulate.init`, `accumulate.update` and `from_sums`.
"""

from . import accumulate, chain_stream, stream
from .estimates import SpinEstimates, estimate, from_sums
from .importance import Derived, Estimates, finalise, importance
from .markov_chain import ChainEstimate, CorrelationTime, burn_in, chain_estimate, integrated_time, nmcmc
from .networks import MADE, Layer, Network, PixelCNN, init, layers, parameter_counts
from .pareto import k_hat
from .probability import conditionals, log_prob, logits
from .proposal import Law, Proposal, network_law
from .record import record
from .reliability import Evidence, Status
from .reverse import ReverseEstimate, mirror_difference, reverse_ln_z
from .sampling import sample
from .stream import log_weights
from .thermodynamics import thermodynamics, window

__all__ = [
    "MADE",
    "ChainEstimate",
    "CorrelationTime",
    "Derived",
    "Estimates",
    "Evidence",
    "Law",
    "Layer",
    "Network",
    "PixelCNN",
    "Proposal",
    "ReverseEstimate",
    "SpinEstimates",
    "Status",
    "accumulate",
    "burn_in",
    "chain_estimate",
    "chain_stream",
    "conditionals",
    "estimate",
    "finalise",
    "from_sums",
    "importance",
    "init",
    "integrated_time",
    "k_hat",
    "layers",
    "log_prob",
    "log_weights",
    "logits",
    "mirror_difference",
    "network_law",
    "nmcmc",
    "parameter_counts",
    "record",
    "reverse_ln_z",
    "sample",
    "stream",
    "thermodynamics",
    "window",
]
