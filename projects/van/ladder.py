"""A network a temperature, each begun from that of the nearest temperature before: what the figures are made of.

Every rung leaves its estimates and weights in the run directory, so that a killed run goes on with the next one.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from common import app, files
from kernels.autoregressive import record
from kernels.ising import System
from projects.van import records, systems, train, training_step, weights
from projects.van.config import TrainConfig, network_of

WIDER = (0.75, 0.5, 0.25)  # shares of beta, at which a defended ladder takes the networks of a mixture


@dataclasses.dataclass(frozen=True)
class Ladder:
    """A network and temperatures for it.

    Attributes:
      name: of its files.
      settings: system, network, batch and rate, and the symmetries of the estimates; beta and steps are replaced.
      betas: in the order in which they are trained.
      first_steps, steps: of training at the first beta (annealed, from the start) and at each other.
      samples: of the estimates at each beta.
      chunk: samples at a time.
      defended: estimates are of a mixture with networks of higher temperatures, see kernels/autoregressive/proposal.
    """

    name: str
    settings: TrainConfig
    betas: tuple[float, ...]
    first_steps: int
    steps: int
    samples: int
    chunk: int = 2000
    defended: bool = False

    def weights(self, run: app.Run, beta: float) -> pathlib.Path:
        """Returns the weight file of a rung."""
        return run.path / "pieces" / f"{self.name}_beta{beta:g}.safetensors"


def climb(ladder: Ladder, run: app.Run, start: dict | None = None) -> list[dict]:
    """Returns a row a beta: `record` and beta; what lies in the run directory is not made again.

    Args:
      ladder: what to train.
      run: where pieces are kept.
      start: parameters to begin from; fresh ones by default.
    """
    rows, compiled, networks = [], {}, {}
    system, network = systems.create(ladder.settings), network_of(ladder.settings)
    for rung, beta in enumerate(ladder.betas):
        path = ladder.weights(run, beta)
        first = rung == 0 and start is None
        steps = ladder.first_steps if first else ladder.steps
        if not path.is_file():
            settings = dataclasses.replace(ladder.settings, steps=max(steps, 1))
            if first:
                parameters = weights.fresh(network, settings.seed)
            else:
                settings = dataclasses.replace(settings, anneal=0.0, anneal_share=None)
                parameters = networks[min(networks, key=lambda other: abs(other - beta))] if networks else start
            text = f"{ladder.name}, beta {beta:g}"
            networks[beta] = train_rung(settings, system, beta, parameters, compiled, run.progress(steps, text))
            path.parent.mkdir(parents=True, exist_ok=True)
            weights.save(path, networks[beta])
        else:
            networks[beta] = weights.load(network, path)
            if (row := files.read_json(path.with_suffix(".json"))) is not None:
                rows.append(row)
                continue
        components = [networks[beta], *(wider(networks, beta) if ladder.defended else ())]
        settings = dataclasses.replace(ladder.settings, beta=beta, chunk=ladder.chunk)
        seed = settings.seed + 1 + rung
        estimates = train.estimate(settings, system, components, ladder.samples, run, seed)
        row = files.clean(record(estimates) | {"beta": beta, "steps": steps, "sites": system.sites})
        files.write_json(path.with_suffix(".json"), row)
        run.log(f"{ladder.name} beta {beta:g}: {records.line(row)}")
        rows.append(row)
    return rows


def wider(networks: Mapping[float, dict], beta: float) -> list[dict]:
    """Returns networks of about 3/4, 1/2 and 1/4 of beta, of those that there are."""
    betas = {min(networks, key=lambda other: abs(other - share * beta)) for share in WIDER}
    return [networks[other] for other in sorted(betas) if other < beta]


def train_rung(settings: TrainConfig, system: System, beta: float, parameters: dict, compiled: dict, progress) -> dict:
    """Returns parameters trained at one beta; `compiled` keeps compiled steps from one call to the next."""
    key = (settings.steps, settings.anneal, settings.anneal_share)
    if key not in compiled:
        compiled[key] = jax.jit(training_step.make_step(settings, system.energy), donate_argnums=0)
    state = training_step.initial_state(settings, jax.tree.map(jnp.array, parameters))
    state = state._replace(key=jax.random.fold_in(state.key, round(1e6 * beta)))
    if settings.averaging:
        state = state._replace(mean=jax.tree.map(jnp.array, parameters))
    target = {"beta": jnp.full(1, beta, jnp.float32)}
    with progress as bar:
        for done in range(settings.steps):
            state, metrics = compiled[key](state, target)
            bar.update(1, **({} if done % 50 else {name: metrics[name] for name in ("loss", "loss_deviation")}))
    return training_step.evaluated_parameters(settings, state)
