"""What `coverage` draws from: networks of known ESS, one that lost half of the law, an untrained one, heavy weights.

All systems have exact values of ln Z, U, S, c_v and |M|.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from kernels import autoregressive
from kernels.autoregressive import Proposal, calibration, evidence, log_weights, network_law
from kernels.autoregressive.calibration import Case
from projects.van import systems, training_step, weights
from projects.van.config import TrainConfig, network_of

CONVOLUTIONS = TrainConfig(
    rows=6, beta=0.44, depth=3, channels=8, half_width=3, learning_rate=5e-3, batch_size=100, steps=400
)
LOOKS, LOOK = 2, 4000  # steps between two looks at the effective samples, and samples of a look
HALF = dataclasses.replace(CONVOLUTIONS, beta=0.45, z2=False)
FIELD = 0.3  # in which it is trained, so that it knows one sign only
MADE = TrainConfig(rows=3, columns=4, beta=0.44, network="made", depth=2, channels=2)
DEVIATION = 3.0  # of log-normal weights
BETA, SITES, LOG_Q = 0.5, 36, -20.0  # of theirs


def of_network(about: str, settings: TrainConfig, parameters: dict) -> Case:
    """Returns the case of a network for a small lattice."""
    network, proposal = network_of(settings), Proposal([network_law(parameters, network_of(settings))])

    def sample(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        return autoregressive.sample(parameters, network, key, n)

    return calibration.system_case(about, sample, proposal, systems.create(settings), settings.beta)


def trained(settings: TrainConfig, ess: float | None = None, field: float = 0.0) -> tuple[dict, int]:
    """Returns (parameters, steps) of a training; with `ess`, which ends as soon as it has so many effective samples.

    They are looked at on samples of p, 1 / mean r: samples of q flatter a network that is young.
    """
    system, network = systems.create(settings), network_of(settings)
    step = jax.jit(training_step.make_step(settings, lambda spins: system.energy(spins) - field * spins.sum((1, 2))))
    state = training_step.initial_state(settings, weights.fresh(network, settings.seed))
    if ess is not None:
        of_p = evidence.samples_of_p(system, settings.beta, LOOK, jax.random.key(0))
        log_p = log_weights(system.exact(settings.beta).ln_z, system.energy(of_p), settings.beta)
    for done, (last, _) in enumerate(training_step.trained(step, state, settings.beta, settings.steps), 1):
        if ess is not None and done % LOOKS == 0:
            log_q = np.asarray(autoregressive.log_prob(last.parameters, network, of_p), np.float64)
            if 1 / np.exp(log_p - log_q).mean() >= ess:
                break
    return last.parameters, done


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


CASES: dict[str, Callable[[], Case]] = {
    "ess_0.9": functools.partial(with_ess, 0.85),
    "ess_0.3": functools.partial(with_ess, 0.3),
    "ess_0.02": functools.partial(with_ess, 0.02),
    "lost_half": lost_half,
    "untrained": untrained,
    "untrained_1000": functools.partial(untrained, 1000),
    "log_normal": functools.partial(calibration.log_normal_case, DEVIATION, BETA, SITES, LOG_Q),
}
