"""The inverse Ising problem: couplings from correlations, by a network that follows the couplings.

The gradient of the log-likelihood in J is beta (C_data - C_model). The network is trained at the current J all along,
and C_model are its correlations, corrected by importance weights; each pair is averaged given the other spins. Wu,
Wang, Zhang, arXiv:1809.10606, figure 4b; what it is compared with stands in kernels/ising/inverse.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kernels import autoregressive
from kernels.autoregressive.probability import score_gradient
from kernels.ising.inverse import checked_correlations, pair_means
from projects.van import weights

SMALLEST = 1e-30  # norm of a difference of correlations, which is 0 where they agree
MEMORY = 0.01  # of the running mean of the couplings, a step


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """How couplings are reconstructed.

    Attributes:
      spins, betas: of the figure.
      steps: of J; samples: of each, on which the network is trained.
      rate, network_rate: of J (Adam, falling to 0 as a cosine) and of the network.
      depth, channels: of the MADE.
      seed: of weights, samples and the figure's couplings.
    """

    spins: int = 20
    betas: tuple[float, ...] = tuple(round(0.2 * k, 1) for k in range(1, 11))
    steps: int = 800
    samples: int = 2000
    rate: float = 0.01
    network_rate: float = 5e-3
    depth: int = 2
    channels: int = 5
    seed: int = 0


class State(NamedTuple):
    """Network, couplings, their moments, running mean of the couplings."""

    parameters: Any
    network_moments: Any
    couplings: jax.Array
    moments: Any
    mean: jax.Array


def reconstruct(
    C: np.ndarray, beta: float, settings: Reconstruction, progress: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """Returns couplings [n, n] whose model has the correlations C [n, n] at beta.

    Args:
      C: of data, 1 on the diagonal.
      beta: inverse temperature of the data, more than 0.
      settings: how.
      progress: called with 1 after every step.

    Raises:
      ValueError: no correlations, or a beta of 0.
    """
    C = checked_correlations(C, beta)
    n, samples = len(C), settings.samples
    network = autoregressive.MADE(1, n, depth=settings.depth, channels=settings.channels, bias=False, z2=True)
    of_network = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(settings.network_rate))
    of_couplings = optax.adam(optax.cosine_decay_schedule(settings.rate, settings.steps))

    def step(state: State, data: jax.Array, beta: jax.Array, key: jax.Array) -> State:
        """One step of the network at the current couplings, and one of the couplings."""
        spins, log_q = autoregressive.sample(state.parameters, network, key, samples, samples)
        s = spins.reshape(samples, -1).astype(jnp.float32)
        loss = log_q + beta * (-0.5 * ((s @ state.couplings) * s).sum(-1))
        advantage = (loss - loss.mean()) / (samples - 1)
        gradient = score_gradient(state.parameters, network, spins, advantage)
        updates, network_moments = of_network.update(gradient, state.network_moments)
        model_correlations = jnp.einsum("b,bij->ij", jax.nn.softmax(-loss), pair_means(s, state.couplings, beta))
        difference = jnp.where(jnp.eye(n, dtype=bool), 0.0, data - model_correlations)
        norm = jnp.maximum(jnp.linalg.norm(difference), SMALLEST)
        change, moments = of_couplings.update(-difference / norm, state.moments)
        couplings = state.couplings + change
        mean = state.mean + MEMORY * (couplings - state.mean)
        return State(optax.apply_updates(state.parameters, updates), network_moments, couplings, moments, mean)

    parameters, J = weights.fresh(network, settings.seed), jnp.zeros((n, n), jnp.float32)
    state = State(parameters, of_network.init(parameters), J, of_couplings.init(J), jnp.zeros_like(J))
    compiled = jax.jit(step, donate_argnums=0)
    data, key = jnp.asarray(C, jnp.float32), jax.random.key(settings.seed)
    for done in range(settings.steps):
        state = compiled(state, data, jnp.float32(beta), jax.random.fold_in(key, done))
        progress(1)
    return np.asarray(state.mean, np.float64)
