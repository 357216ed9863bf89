"""A network a temperature, each begun from that of the nearest temperature before: what the figures are made of.

Every rung leaves its estimates and weights in the run directory, so that a killed run goes on with the next one.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from common import app, checkpoint, files, models
from projects.van import estimates, model, proposal, steps, systems
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
            asked = dataclasses.replace(settings, steps=count, anneal=settings.anneal if begun is None else 0.0)
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
        row = files.clean(estimates.result(found) | {"beta": beta, "steps": count, "sites": found.sites})
        files.write_json(path, row)
        run.log(f"{ladder.name} beta {beta:g}: ESS {row['ess']:.3f}, {sigmas(row)}")
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
    key = (settings.steps, settings.anneal)
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


def sigmas(row: dict) -> str:
    """Says how far ln Z is from the exact value, before and after correction."""
    ln_z = row["estimates"]["ln_z"]
    if "exact" not in ln_z:
        return f"ln Z {ln_z['nis']:.4f} +- {ln_z['nis_error']:.4f}"
    raw = (ln_z["raw"] - ln_z["exact"]) / max(ln_z["raw_error"], 1e-12)
    nis = (ln_z["nis"] - ln_z["exact"]) / max(ln_z["nis_error"], 1e-12)
    return f"ln Z {ln_z['nis']:.4f} +- {ln_z['nis_error']:.4f}, {nis:+.2f} sigma (network alone {raw:+.1f})"
