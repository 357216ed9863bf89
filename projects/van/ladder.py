"""A network a temperature, each begun from that of the nearest temperature before: what the figures are made of.

Every rung leaves its estimates and weights in the run directory, so that a killed run goes on with the next one.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from common import app, files, models
from common.training import checkpoint
from projects.van import estimates, model, proposal, records, steps, systems
from projects.van.config import TrainConfig, network_of


@dataclasses.dataclass(frozen=True)
class Ladder:
    """A network and temperatures for it.

    Attributes:
      name: of its files.
      settings: system, network, batch and rate; beta and steps are replaced.
      betas: in the order in which they are trained.
      first_steps, steps: of training at the first beta (annealed, from the start) and at each other.
      samples: of the estimates at each beta.
      chunk: samples at a time.
      defended: estimates are of a mixture with networks of higher temperatures, see `proposal`.
      images: estimates are of the mean over so many symmetries of the system.
    """

    name: str
    settings: TrainConfig
    betas: tuple[float, ...]
    first_steps: int
    steps: int
    samples: int
    chunk: int = 2000
    defended: bool = False
    images: int = 1


def climb(ladder: Ladder, run: app.Run, start: dict | None = None) -> list[dict]:
    """Returns a row a beta: `estimates.result` and beta; those that lie in the run directory are not trained again.

    Args:
      ladder: what to train.
      run: where pieces are kept.
      start: parameters to begin from; fresh ones by default.
    """
    settings = dataclasses.replace(ladder.settings, steps=max(ladder.steps, 1))
    system, network = systems.create(settings), network_of(settings)
    template = model.create(network, settings.seed)
    images = proposal.images_of(settings, system, ladder.images)
    rows, advance, climbed = [], {}, {}
    for rung, beta in enumerate(ladder.betas):
        path = run.path / "pieces" / f"{ladder.name}_beta{beta:g}.json"
        weights = path.with_suffix(".safetensors")
        count = ladder.steps if rung or start is not None else ladder.first_steps
        kept = files.read_json(path) if weights.is_file() else None
        if weights.is_file():
            climbed[beta] = loaded(template, weights)
        else:
            begun = climbed[min(climbed, key=lambda other: abs(other - beta))] if climbed else start
            asked = dataclasses.replace(settings, steps=count)
            if begun is not None:
                asked = dataclasses.replace(asked, anneal=0.0, anneal_share=None)
            begun = model.tree(template) if begun is None else begun
            climbed[beta] = train(asked, system, beta, begun, advance, run, f"{ladder.name}, beta {beta:g}")
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save_tree(weights, jax.device_get(climbed[beta]))
        if kept is not None:
            rows.append(kept)
            continue
        found = estimates.from_network(
            climbed[beta], network, system, beta, ladder.samples, seed=settings.seed + 1 + rung, chunk=ladder.chunk,
            defence=wider(climbed, beta) if ladder.defended else (), images=images, progress=run,
        )  # fmt: skip
        row = files.clean(records.result(found) | {"beta": beta, "steps": count, "sites": found.sites})
        files.write_json(path, row)
        run.log(f"{ladder.name} beta {beta:g}: {summary(row)}")
        rows.append(row)
    return rows


def loaded(template: model.Network, weights: pathlib.Path) -> dict:
    """Returns the parameters in a file, each name and shape checked."""
    return model.tree(models.from_tree(template, checkpoint.load_tree(weights)))


def wider(climbed: Mapping[float, dict], beta: float) -> list[dict]:
    """Returns networks of about 3/4, 1/2 and 1/4 of beta, of those that were climbed."""
    betas = {min(climbed, key=lambda other: abs(other - share * beta)) for share in (0.75, 0.5, 0.25)}
    return [climbed[other] for other in sorted(betas) if other < beta]


def final(ladder: Ladder, run: app.Run) -> dict:
    """Returns the parameters at the last beta of a ladder that was climbed."""
    path = run.path / "pieces" / f"{ladder.name}_beta{ladder.betas[-1]:g}.safetensors"
    return loaded(model.create(network_of(ladder.settings), 0), path)


def train(settings: TrainConfig, system, beta: float, parameters: dict, advance: dict, run: app.Run, text: str) -> dict:
    """Returns parameters trained at one beta; `advance` keeps compiled steps from one call to the next."""
    key = (settings.steps, settings.anneal, settings.anneal_share)
    if key not in advance:
        advance[key] = jax.jit(steps.make_step(settings, system.energy), donate_argnums=0)
    state = steps.initial_state(settings, jax.tree.map(jnp.array, parameters))
    state = state._replace(key=jax.random.fold_in(state.key, round(1e6 * beta)))
    if settings.averaging:
        state = state._replace(mean=jax.tree.map(jnp.array, parameters))
    target = {"beta": jnp.full(1, beta, jnp.float32)}
    with run.progress(settings.steps, text) as progress:
        for done in range(settings.steps):
            state, metrics = advance[key](state, target)
            shown = {} if done % 50 else {name: metrics[name] for name in ("loss", "loss_deviation")}
            progress.update(1, **shown)
    return steps.evaluated_parameters(settings, state)


def summary(row: dict) -> str:
    """Says how far ln Z is from the exact value, before and after correction, and whether to trust it."""
    ln_z, ess = row["estimates"]["ln_z"], row["ess"]
    text = f"ESS {records.UNKNOWN if ess is None else f'{ess:.3f}'}, ln Z {records.with_error(*pair_of(ln_z, 'nis'))}"
    if "exact" in ln_z:
        off, alone = sigmas_off(ln_z, "nis"), sigmas_off(ln_z, "raw")
        text += "" if off is None else f", {off:+.2f} sigma"
        text += "" if alone is None else f" (network alone {alone:+.1f})"
    status = records.status_of(row)
    return f"{text}: {'; '.join([status['level'], *status['reasons']])}"


def pair_of(values: Mapping, method: str) -> tuple[float | None, float | None]:
    """Returns (value, error) of a method in a row of estimates; None for what is not known."""
    return values.get(method), values.get(f"{method}_error")


def sigmas_off(values: Mapping, method: str) -> float | None:
    """Returns how many errors a method is off the exact value; None where one of them is not known."""
    value, error = pair_of(values, method)
    if value is None or not error or "exact" not in values:
        return None
    return (value - values["exact"]) / error
