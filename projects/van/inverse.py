"""The inverse Ising problem: couplings from correlations, by a network that follows the couplings; and three baselines.

The gradient of the log-likelihood in J is beta (C_data - C_model). The network is trained at the current J all along,
and C_model are its correlations, corrected by importance weights; each pair is averaged given the other spins.
Baselines: naive mean field, independent pairs, Sessak and Monasson (J. Phys. A 42, 055001). Wu, Wang, Zhang,
arXiv:1809.10606, figure 4b.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from common import app, files
from common.runs import metrics
from kernels import autoregressive
from kernels.ising import energies, exact
from projects.van import model, plots

SMALLEST = 1e-30  # norm of a difference of correlations, which is 0 where they agree
BASELINES = ("mean field", "independent pairs", "Sessak-Monasson")


@dataclasses.dataclass(frozen=True)
class Setting:
    """How couplings are found. Attributes: spins; betas; steps of J; samples of each, on which the network is trained;
    rate of J (Adam, falling to 0 as a cosine) and of the network; depth, channels of the MADE; seed."""

    spins: int = 20
    betas: tuple[float, ...] = tuple(round(0.2 * k, 1) for k in range(1, 11))
    steps: int = 800
    samples: int = 2000
    rate: float = 0.01
    network_rate: float = 5e-3
    depth: int = 2
    channels: int = 5
    seed: int = 0


FULL = Setting()
SMALL = Setting(spins=8, betas=(0.5, 1.0), steps=200, samples=1000)


class State(NamedTuple):
    """Network, couplings, their moments, running mean of the couplings."""

    parameters: Any
    network_moments: Any
    couplings: jax.Array
    moments: Any
    mean: jax.Array


def exact_correlations(J: np.ndarray, beta: float) -> np.ndarray:
    """Returns <s_i s_j> [n, n] of up to 24 spins without fields, by enumeration: a second for 20.

    Raises:
      ValueError: couplings that do not fit, more spins, a bad beta.
    """
    exact.check_beta(beta)
    blocks = [(spins, energies.pairwise(spins, J)) for spins in exact.states(len(J))]
    lowest = min(energy.min() for _, energy in blocks)
    total, norm = 0.0, 0.0
    for spins, energy in blocks:
        weights, s = np.exp(-beta * (energy - lowest)), spins.astype(np.float64)
        total, norm = total + (s * weights[:, None]).T @ s, norm + weights.sum()
    return total / norm


def baselines(C: np.ndarray, beta: float) -> dict[str, np.ndarray]:
    """Returns name to couplings [n, n] by three expansions, from correlations [n, n] at zero magnetisation.

    Raises:
      ValueError: no correlations, or singular ones, or a beta of 0.
    """
    C = checked_correlations(C, beta)
    try:
        inverse = np.linalg.inv(C)
    except np.linalg.LinAlgError:
        raise ValueError("C is singular: some spins always agree or differ; take a smaller beta or more data") from None
    off = ~np.eye(len(C), dtype=bool)
    pairs = np.where(off, np.clip(C, -1 + 1e-12, 1 - 1e-12), 0)
    found = {
        "mean field": -inverse / beta,
        "independent pairs": np.arctanh(pairs) / beta,
        "Sessak-Monasson": (-inverse + np.arctanh(pairs) - pairs / (1 - pairs**2)) / beta,
    }
    return {name: np.where(off, J, 0) for name, J in found.items()}


def checked_correlations(C: np.ndarray, beta: float) -> np.ndarray:
    """Returns C in double; raises a ValueError unless it holds correlations, and beta is more than 0."""
    C = np.asarray(C, np.float64)
    if C.ndim != 2 or C.shape[0] != C.shape[1] or len(C) < 2:
        raise ValueError(f"C of shape {list(C.shape)}: expected correlations [n, n] of at least 2 spins")
    if not np.allclose(C, C.T) or np.abs(C).max() > 1 + 1e-6 or not np.allclose(np.diagonal(C), 1):
        raise ValueError("C holds no correlations <s_i s_j>: they are symmetric, from -1 to 1, and 1 on the diagonal")
    exact.check_beta(beta)
    if beta == 0:
        raise ValueError("beta=0: there correlations say nothing of couplings")
    return C


def error(J: np.ndarray, found: np.ndarray) -> float:
    """Returns the root of the mean square over all n^2 entries."""
    return float(np.sqrt(np.mean(np.square(J - found))))


def reconstruct(C: np.ndarray, beta: float, setting: Setting, quiet: bool = True) -> np.ndarray:
    """Returns couplings [n, n] whose model has the correlations C [n, n] at beta.

    Args:
      C: of data, 1 on the diagonal.
      beta: inverse temperature of the data, more than 0.
      setting: how.
      quiet: shows no progress.

    Raises:
      ValueError: no correlations, or a beta of 0.
    """
    C = checked_correlations(C, beta)
    n = len(C)
    network = autoregressive.MADE(1, n, depth=setting.depth, channels=setting.channels, bias=False, z2=True)
    of_network = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(setting.network_rate))
    of_couplings = optax.adam(optax.cosine_decay_schedule(setting.rate, setting.steps))
    parameters = model.tree(model.create(network, setting.seed))
    J = jnp.zeros((n, n), jnp.float32)
    state = State(parameters, of_network.init(parameters), J, of_couplings.init(J), jnp.zeros_like(J))
    step = jax.jit(make_step(setting, network, of_network, of_couplings), donate_argnums=0)
    data, key = jnp.asarray(C, jnp.float32), jax.random.key(setting.seed)
    with metrics.progress(setting.steps, f"couplings at beta {beta:g}", enabled=not quiet) as progress:
        for done in range(setting.steps):
            state, shown = step(state, data, jnp.float32(beta), jax.random.fold_in(key, done))
            progress.update(1, **({} if done % 100 else shown))
    return np.asarray(state.mean, np.float64)


def make_step(setting: Setting, network, of_network, of_couplings):
    """Returns `(state, C, beta, key) -> (state, shown)`: one step of the network and one of the couplings."""

    def step(state: State, data, beta, key):
        spins, log_q = autoregressive.sample(state.parameters, network, key, setting.samples, setting.samples)
        s = spins.reshape(setting.samples, -1).astype(jnp.float32)
        energy = -0.5 * ((s @ state.couplings) * s).sum(-1)
        loss = log_q + beta * energy
        advantage = (loss - loss.mean()) / (setting.samples - 1)

        def surrogate(parameters):
            return jnp.sum(advantage * autoregressive.log_prob(parameters, network, spins))

        updates, network_moments = of_network.update(jax.grad(surrogate)(state.parameters), state.network_moments)
        weights = jax.nn.softmax(-loss)
        model_correlations = jnp.einsum("b,bij->ij", weights, pair_means(s, state.couplings, beta))
        difference = jnp.where(jnp.eye(s.shape[1], dtype=bool), 0.0, data - model_correlations)
        norm = jnp.linalg.norm(difference)
        change, moments = of_couplings.update(-difference / jnp.maximum(norm, SMALLEST), state.moments)
        couplings = state.couplings + change
        mean = state.mean + 0.01 * (couplings - state.mean)
        state = State(optax.apply_updates(state.parameters, updates), network_moments, couplings, moments, mean)
        return state, {"difference": norm, "ess": 1 / jnp.sum(weights**2) / setting.samples}

    return step


def pair_means(s, J, beta):
    """Returns <s_i s_j given all other spins> [n, i, j] of spins [n, i]: the same mean under p, with far less noise.

    With fields a, b of the other spins and c = beta J_ij it is tanh(c + atanh(tanh a tanh b)).
    """
    fields = s @ J
    t = jnp.tanh(beta * (fields[:, :, None] - J * s[:, None, :]))  # [n, i, j]: on i, without j
    product, coupling = t * t.swapaxes(1, 2), jnp.tanh(beta * J)
    return (coupling + product) / (1 + coupling * product)


def make(scale: str, run: app.Run) -> tuple[dict, dict]:
    """Returns (result, pictures) of figure 4b: errors of couplings over temperature."""
    setting = SMALL if scale == "small" else FULL
    J = energies.sk_couplings(setting.spins, setting.seed)
    rows = []
    for beta in setting.betas:
        path = run.path / "pieces" / f"inverse_beta{beta:g}.json"
        if (row := files.read_json(path)) is None:
            C = exact_correlations(J, beta)
            row = {"beta": beta, "network": error(J, reconstruct(C, beta, setting, quiet=not run.is_main))}
            row |= {name: error(J, found) for name, found in baselines(C, beta).items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(path, row)
        rows.append(row)
        run.log(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
    columns = ["beta", "network", *BASELINES]
    run.table(
        "errors", columns, [[row[name] for name in columns] for row in rows], "Error of couplings (root mean square)"
    )
    picture = run.plot("inverse", plots.inverse(rows, BASELINES), "Error of the couplings found, over temperature.")
    return {"setting": dataclasses.asdict(setting), "rows": rows}, {"": picture}
