"""What `coverage` draws from: networks of known ESS, one that lost half of the law, an untrained one, heavy weights.

All systems have exact values of ln Z, U, S, c_v and |M|.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kernels import autoregressive, ising
from kernels.autoregressive import Proposal, evidence, log_weights, network_law
from kernels.autoregressive.calibration import Case, Draw
from projects.van import systems, training_step, weights
from projects.van.config import TrainConfig, network_of

CONVOLUTIONS = TrainConfig(
    rows=6, beta=0.44, depth=3, channels=8, half_width=3, learning_rate=5e-3, batch_size=100, steps=400
)
LOOKS, LOOK = 2, 4000  # steps between two looks at the effective samples, and samples of a look
HALF = TrainConfig(
    rows=6, beta=0.45, depth=3, channels=8, half_width=3, learning_rate=5e-3, batch_size=100, steps=400, z2=False
)
FIELD = 0.3  # in which it is trained, so that it knows one sign only
MADE = TrainConfig(rows=3, columns=4, beta=0.44, network="made", depth=2, channels=2)
DEVIATION = 3.0  # of log-normal weights
BETA, SITES, LOG_Q = 0.5, 36, -20.0  # of theirs


def of_network(about: str, settings: TrainConfig, parameters: dict) -> Case:
    """Returns the case of a network for a small lattice."""
    system, network = systems.create(settings), network_of(settings)
    proposal, beta = Proposal([network_law(parameters, network)]), settings.beta
    measure = evidence.make_measure(system)

    def draw(seed: int, n: int) -> Draw:
        spins, log_q = autoregressive.sample(parameters, network, jax.random.key(seed), n)
        energy, m = measure(spins)
        first = spins[: evidence.MIRRORED], log_q[: evidence.MIRRORED]
        mirror = evidence.mirror_image(proposal, system, beta, *first)
        return Draw(*(np.asarray(each, np.float64) for each in (log_q, energy, m)), mirror)

    def reverse(seed: int):
        return evidence.clusters(proposal, system, beta, jax.random.fold_in(jax.random.key(seed), 2**31 + 1))[0]

    truth = evidence.truths(system.exact(beta), (system.abs_m(beta) / system.sites, 0.0))
    return Case(about, draw, truth, beta, system.sites, reverse)


def trained(settings: TrainConfig, ess: float | None = None, field: float = 0.0) -> tuple[dict, int]:
    """Returns (parameters, steps) of a training; with `ess`, which ends as soon as it has so many effective samples.

    They are looked at on samples of p, 1 / mean r: samples of q flatter a network that is young.
    """
    system, network = systems.create(settings), network_of(settings)
    step = jax.jit(training_step.make_step(settings, lambda spins: system.energy(spins) - field * spins.sum((1, 2))))
    state = training_step.initial_state(settings, weights.fresh(network, settings.seed))
    target = {"beta": np.full(1, settings.beta, np.float32)}
    if ess is not None:
        of_p = samples_of_p(system, network, settings.beta)
        log_p = log_weights(system.exact(settings.beta).ln_z, system.energy(of_p), settings.beta)
    for done in range(1, settings.steps + 1):
        state, _ = step(state, target)
        if ess is not None and done % LOOKS == 0:
            log_q = np.asarray(autoregressive.log_prob(state.parameters, network, of_p), np.float64)
            if 1 / np.exp(log_p - log_q).mean() >= ess:
                return state.parameters, done
    return state.parameters, settings.steps


def samples_of_p(system: ising.System, network: autoregressive.Network, beta: float) -> jax.Array:
    """Returns LOOK independent samples of a ferromagnet, int8 [LOOK, rows, columns]."""
    spins = jnp.ones((LOOK, network.rows * network.columns), jnp.int8)
    spins = ising.swendsen_wang(jax.random.key(0), spins, beta, system.bonds, evidence.BURN_IN)
    return spins.reshape(LOOK, network.rows, network.columns)


def with_ess(ess: float) -> Case:
    """Returns the case of a network of a 6 x 6 torus near the critical point with so many effective samples."""
    parameters, done = trained(CONVOLUTIONS, ess)
    return of_network(f"6 x 6 torus, beta 0.44, z2, {done} steps", CONVOLUTIONS, parameters)


def lost_half() -> Case:
    """Returns the case of a network that was trained in a field and knows one of two signs only."""
    parameters, _ = trained(HALF, field=FIELD)
    return of_network(f"6 x 6 torus, beta {HALF.beta:g}, one sign lost (trained in a field)", HALF, parameters)


def untrained(samples: int | None = None) -> Case:
    """Returns the case of a MADE that nobody trained."""
    parameters = weights.fresh(network_of(MADE), 0)
    about = f"MADE, 3 x 4 torus, beta {MADE.beta:g}, not trained" + (f", {samples:,} samples" if samples else "")
    return of_network(about, MADE, parameters)._replace(samples=samples)


def log_normal() -> Case:
    """Returns the case of log-weights that are normal: M is normal under q, shifted by their deviation under p."""

    def draw(seed: int, n: int) -> Draw:
        z = np.random.default_rng(seed).normal(size=n)
        return Draw(np.full(n, LOG_Q), -(DEVIATION * z + LOG_Q) / BETA, z)

    u = -(DEVIATION**2 + LOG_Q) / BETA
    ln_z = DEVIATION**2 / 2
    folded = math.sqrt(2 / math.pi) * math.exp(-(DEVIATION**2) / 2) + DEVIATION * math.erf(DEVIATION / math.sqrt(2))
    truth = {
        "ln_z": ln_z, "u": u / SITES, "entropy": (BETA * u + ln_z) / SITES, "c_v": DEVIATION**2 / SITES,
        "abs_m_site": folded / SITES,
    }  # fmt: skip
    return Case(f"log-normal weights of deviation {DEVIATION:g}", draw, truth, BETA, SITES)


CASES: dict[str, Callable[[], Case]] = {
    "ess_0.9": functools.partial(with_ess, 0.85),
    "ess_0.3": functools.partial(with_ess, 0.3),
    "ess_0.02": functools.partial(with_ess, 0.02),
    "lost_half": lost_half,
    "untrained": untrained,
    "untrained_1000": functools.partial(untrained, 1000),
    "log_normal": log_normal,
}
