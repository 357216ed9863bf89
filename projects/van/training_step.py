"""One step of variational training: samples, their energies, the gradient of the free energy, the schedules.

l = ln q(s) + beta_t E(s) of s ~ q; the gradient of <l> is the mean of (l - mean l) grad ln q, times n/(n-1). Where q is
the Boltzmann law l is constant: the gradient loses its noise towards the end. Wu, Wang, Zhang, arXiv:1809.10606, eq. 3.

An infinite energy forbids a state. Its l would be infinite, and the gradient with it: it counts as much as the worst
allowed sample of the batch and FORBIDDEN nats, which drives the network away from it; their share is a metric.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from common import mesh
from common.training import plateau
from kernels import autoregressive
from kernels.autoregressive.probability import score_gradient
from projects.van.config import ANNEAL_SHARE, TrainConfig, network_of

FORBIDDEN = 5.0  # nats above the largest finite loss of a batch
WIDER = (0.25, 0.5, 0.75)  # shares of beta, on the way to which a defended training keeps its network


class State(NamedTuple):
    """Parameters, their running mean, Adam's moments, the plateau, the key (folded with the step), finished steps, and
    of a defended training the networks of WIDER shares of beta."""

    parameters: Any
    mean: Any
    optimizer: Any
    plateau: plateau.Plateau
    key: jax.Array
    done: jax.Array
    wider: tuple = ()


def initial_state(settings: TrainConfig, parameters: dict) -> State:
    """Returns the state before the first step."""
    return State(
        parameters,
        parameters if settings.averaging else {},
        make_optimizer(settings).init(parameters),
        plateau.initial(settings.learning_rate),
        jax.random.key(settings.seed),
        jnp.int32(0),
        (parameters,) * len(WIDER) if settings.defended else (),
    )


def evaluated_parameters(settings: TrainConfig, state: State) -> dict:
    """Returns the parameters that count: the running mean, where there is one."""
    return state.mean if settings.averaging else state.parameters


def make_optimizer(settings: TrainConfig) -> optax.GradientTransformation:
    """Returns clipping and Adam without a rate."""
    clipping = optax.clip_by_global_norm(settings.clip) if settings.clip else optax.identity()
    return optax.chain(clipping, optax.scale_by_adam())


def steps_in_all(settings: TrainConfig) -> int:
    """Returns the steps of a training by `train`: whole periods of evaluation."""
    period = min(settings.evaluate_every, settings.steps)
    return -(-settings.steps // period) * period


def annealing(settings: TrainConfig, step, xp=jnp):
    """Returns the share of the final beta at a step, counted from 1, by JAX or (`xp`) NumPy."""
    if settings.anneal == 0:
        return 1.0
    if settings.anneal is not None:
        return -xp.expm1(step * math.log(settings.anneal))
    share = ANNEAL_SHARE if settings.anneal_share is None else settings.anneal_share
    return xp.minimum(step / max(share * settings.steps, 1.0), 1.0)


def beta_at(settings: TrainConfig, beta, done) -> jax.Array:
    """Returns the inverse temperature of the step after `done` steps towards `beta`."""
    return beta * annealing(settings, done + 1.0)


def final_beta(settings: TrainConfig) -> float:
    """Returns the inverse temperature of the last step of a training by `train`."""
    return float(settings.beta * annealing(settings, steps_in_all(settings), np))


def rate_at(settings: TrainConfig, plateau_rate: jax.Array, done) -> jax.Array:
    """Returns the learning rate of the step after `done` steps."""
    rate = plateau_rate if settings.schedule == "plateau" else jnp.float32(settings.learning_rate)
    done = jnp.asarray(done, jnp.float32)  # in 64-bit mode, too
    if settings.schedule == "cosine":
        rate = rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(done / settings.steps, 1.0)))
    if settings.warmup:
        rate = rate * jnp.minimum((done + 1.0) / settings.warmup, 1.0)
    return rate


def make_step(settings: TrainConfig, energy: Callable[[jax.Array], jax.Array]) -> Callable:
    """Returns `(state, {"beta": [1]}) -> (state, metrics)`, jittable; metrics are of a site.

    The temperature is an argument, so that one compilation serves a ladder of them.

    Args:
      energy: spins int8 [n, rows, columns] to energies [n].
    """
    network, optimizer = network_of(settings), make_optimizer(settings)
    sites, n = network.rows * network.columns, settings.batch_size
    sharding = mesh.data_sharding()

    def step(state: State, target: dict):
        key = jax.random.fold_in(state.key, state.done)
        samples = autoregressive.sample(state.parameters, network, key, n, settings.chunk or n)
        spins, log_q = mesh.constrain(samples, sharding)  # each device draws its own: the law is propagated backwards
        energies = jnp.asarray(energy(spins), log_q.dtype)
        beta = beta_at(settings, target["beta"][0], state.done)
        forbidden = jnp.isposinf(energies)
        allowed = jnp.where(forbidden, 0.0, energies)
        loss = finite_loss(log_q + beta * allowed, forbidden)
        advantage = (loss - loss.mean()) / (n - 1)
        gradient = score_gradient(state.parameters, network, spins, advantage, settings.gradient_dtype)
        updates, moments = optimizer.update(gradient, state.optimizer, state.parameters)
        rate = rate_at(settings, state.plateau.rate, state.done)
        parameters = jax.tree.map(lambda p, u: (p - rate * u).astype(p.dtype), state.parameters, updates)
        mean = state.mean
        if settings.averaging:
            # Young means forget faster, so that the first weights do not stay in them.
            decay = jnp.minimum(settings.averaging, (state.done + 1.0) / (state.done + 10.0))
            mean = jax.tree.map(lambda m, p: (decay * m + (1 - decay) * p).astype(m.dtype), mean, parameters)
        mean_energy = allowed.sum() / jnp.maximum((~forbidden).sum(), 1)
        metrics = {
            "loss": loss.mean() / sites, "loss_deviation": loss.std(), "energy": mean_energy / sites,
            "entropy": -log_q.mean() / sites, "beta": beta, "rate": rate, "gradient": optax.tree.norm(gradient),
            "forbidden": forbidden.mean(dtype=jnp.float32),
        }  # fmt: skip
        stall = plateau.following(state.plateau, metrics["loss"], *settings.plateau)
        wider = wider_networks(settings, state, mean if settings.averaging else parameters)
        return State(parameters, mean, moments, stall, state.key, state.done + 1, wider), metrics

    return step


def trained(step: Callable, state: State, beta: float, steps: int) -> Iterator[tuple[State, dict]]:
    """Yields (state, metrics) after each of so many steps towards beta."""
    target = {"beta": np.full(1, beta, np.float32)}
    for _ in range(steps):
        state, metrics = step(state, target)
        yield state, metrics


def finite_loss(loss: jax.Array, forbidden: jax.Array) -> jax.Array:
    """Returns the losses [n] with those of forbidden states above the worst of the others; all 0 where none is left."""
    worst = jnp.where(forbidden, -jnp.inf, loss).max()
    return jnp.where(jnp.isneginf(worst), 0.0, jnp.where(forbidden, worst + FORBIDDEN, loss))


def wider_networks(settings: TrainConfig, state: State, parameters: dict) -> tuple:
    """Returns the networks of WIDER shares of beta: each is that of the first step at or beyond it."""
    if not settings.defended:
        return ()
    now, before = (beta_at(settings, 1.0, done) for done in (state.done, state.done - 1))
    return tuple(
        jax.tree.map(lambda new, old, at=(before < share) & (share <= now): jnp.where(at, new, old), parameters, old)
        for share, old in zip(WIDER, state.wider, strict=True)
    )
