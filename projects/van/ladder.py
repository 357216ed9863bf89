"""A network a temperature, each begun from that of the nearest temperature before: what the figures are made of.

Every rung leaves its estimates and weights in the run directory, so that a killed run goes on with the next one.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from common import app, files, weight_files
from common.study.parts import part
from kernels.autoregressive import record
from kernels.ising import System
from projects.van import records, systems, train, training_step, weights
from projects.van.config import TrainConfig, network_of


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
    rows, networks, steps_of = [], {}, {}
    system, network = systems.create(ladder.settings), network_of(ladder.settings)
    for rung, beta in enumerate(ladder.betas):
        path = ladder.weights(run, beta)
        first = rung == 0 and start is None
        steps = ladder.first_steps if first else ladder.steps
        if path.is_file():
            networks[beta] = weights.load(network, path)
        else:
            settings = dataclasses.replace(ladder.settings, beta=beta, steps=max(steps, 1))
            if first:
                parameters = weights.fresh(network, settings.seed)
            else:
                settings = dataclasses.replace(settings, anneal=0.0, anneal_share=None)
                parameters = networks[min(networks, key=lambda other: abs(other - beta))] if networks else start
            networks[beta] = train_rung(settings, system, parameters, steps_of, run, f"{ladder.name}, beta {beta:g}")
            path.parent.mkdir(parents=True, exist_ok=True)
            files.remove(path.with_suffix(".json"))  # the row of weights that are gone
            weight_files.save_tree(path, networks[beta])
        rows.append(part(run, path.stem, functools.partial(estimated, ladder, run, system, networks, rung, steps)))
    return rows


def estimated(ladder: Ladder, run: app.Run, system: System, networks: Mapping[float, dict], rung: int, steps: int):
    """Returns the row of a rung, whose network has been trained for so many steps."""
    beta = ladder.betas[rung]
    components = [networks[beta], *(wider(networks, beta) if ladder.defended else ())]
    settings = dataclasses.replace(ladder.settings, beta=beta, chunk=ladder.chunk)
    estimates = train.estimate(settings, system, components, ladder.samples, run, settings.seed + 1 + rung)
    row = record(estimates) | {"beta": beta, "steps": steps, "sites": system.sites}
    run.log(f"{ladder.name} beta {beta:g}: {records.line(row)}")
    return row


def wider(networks: Mapping[float, dict], beta: float) -> list[dict]:
    """Returns networks of about 3/4, 1/2 and 1/4 of beta, of those that there are."""
    betas = {min(networks, key=lambda other: abs(other - share * beta)) for share in training_step.WIDER}
    return [networks[other] for other in sorted(betas) if other < beta]


def train_rung(
    settings: TrainConfig, system: System, parameters: dict, steps_of: dict, run: app.Run, title: str
) -> dict:
    """Returns parameters trained at one beta; `steps_of` keeps compiled steps from one call to the next."""
    key = (settings.steps, settings.anneal, settings.anneal_share)
    if key not in steps_of:
        steps_of[key] = jax.jit(training_step.make_step(settings, system.energy), donate_argnums=0)
    state = training_step.initial_state(settings, parameters)
    state = state._replace(key=jax.random.fold_in(state.key, round(1e6 * settings.beta)))
    state = jax.tree.map(jnp.copy, state)  # whose buffers are donated
    with run.progress(settings.steps, title) as bar:
        steps = training_step.trained(steps_of[key], state, settings.beta, settings.steps)
        for done, (last, metrics) in enumerate(steps):  # noqa: B007
            bar.update(1, **({} if done % 50 else {name: metrics[name] for name in ("loss", "loss_deviation")}))
    return training_step.evaluated_parameters(settings, last)
