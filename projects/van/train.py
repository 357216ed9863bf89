"""Trains an autoregressive network to be the Boltzmann law of a spin system, and corrects what it says.

Leaves `model.safetensors` (written at every evaluation, so that `sample` may read an unfinished run), estimates before
and after correction by importance weights and by neural MCMC, beside the exact solution where there is one, and plots.
"""

import pathlib
import time

import jax
import numpy as np

from common import app, checkpoint, mesh, models, training
from kernels import autoregressive
from projects.van import model, steps, systems
from projects.van.config import TrainConfig, network_of


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and pictures, and returns what goes to `result.json`."""
    system = systems.create(settings)
    parameters = fit(settings, system, run)
    from projects.van import estimates, plots

    network = network_of(settings)
    spins = autoregressive.sample(parameters, network, jax.random.key(settings.seed + 1), 16, 16)[0]
    found = estimates.from_network(
        parameters, network, system, settings.beta, settings.final_samples, seed=settings.seed, chunk=settings.chunk,
        progress=run,
    )  # fmt: skip
    run.table("estimates", *estimates.table(found, "Estimates and the exact solution"))
    if run.is_main:
        plots.draw_run(run, found, system.unfold(np.asarray(spins)), settings)
    return estimates.result(found) | {"system": system.title, "beta": settings.beta}


def fit(settings: TrainConfig, system: systems.System, run: app.Run) -> dict:
    """Returns the trained parameters, resuming from the run's newest checkpoint."""
    if not mesh.is_single_process():
        raise ValueError("a network is trained by one process: sweep it one process a job (--processes=1)")
    network = network_of(settings)
    evaluate = make_evaluate(settings, system, run)
    period = min(settings.evaluate_every, settings.steps)
    periods = -(-settings.steps // period)
    began = time.monotonic()
    state = training.train(
        run,
        steps.make_step(settings, system.energy),
        steps.initial_state(settings, starting_parameters(settings, network, run)),
        {"beta": np.full(period, settings.beta, np.float32)},
        epochs=periods,
        batch_size=1,
        seed=settings.seed,
        evaluate=evaluate,
        log_every=max(period // 10, 1),
        checkpoint_steps=settings.checkpoint_steps,
        description=f"{system.title}, beta {settings.beta:g}",
    )
    run.log(f"trained in {time.monotonic() - began:.0f} s")
    return steps.evaluated_parameters(settings, state)


def starting_parameters(settings: TrainConfig, network: autoregressive.Network, run: app.Run) -> dict:
    """Returns fresh parameters, or those of `start_from`.

    Raises:
      ValueError: they do not fit (PixelCNN's fit any lattice, MADE's only their own).
    """
    fresh = model.create(network, settings.seed)
    if settings.start_from is None:
        return model.tree(fresh)
    path = pathlib.Path(settings.start_from)
    weights = path / "model.safetensors" if path.is_dir() else path
    run.inputs(weights)
    try:
        return model.tree(models.from_tree(fresh, checkpoint.load_tree(weights)))
    except ValueError as error:
        raise ValueError(f"--start_from={settings.start_from}: {error}") from None


def make_evaluate(settings: TrainConfig, system: systems.System, run: app.Run):
    """Returns `state -> metrics` on samples of their own; it also writes the weights."""
    network = network_of(settings)
    sites = network.rows * network.columns
    key = jax.random.fold_in(jax.random.key(settings.seed), 2**31 - 1)
    exact = system.exact(settings.beta)

    def evaluate(state: steps.State) -> dict:
        parameters = steps.evaluated_parameters(settings, state)
        if run.is_main:
            checkpoint.save_tree(run.path / "model.safetensors", jax.device_get(parameters))
        n = settings.evaluation_samples
        spins, log_q = autoregressive.sample(
            parameters, network, jax.random.fold_in(key, state.done), n, settings.chunk or min(n, settings.batch_size)
        )
        log_w = -settings.beta * np.asarray(system.energy(spins), np.float64) - np.asarray(log_q, np.float64)
        if not np.isfinite(log_w).all():
            raise ValueError("training diverged: log-weights are not finite; lower --learning_rate")
        weights = np.exp(log_w - log_w.max())
        found = {
            "ess": weights.mean() ** 2 / np.square(weights).mean(),
            "free_energy_gap": np.nan,
            "log_weight_deviation": log_w.std(),
        }
        if exact is not None:
            found["free_energy_gap"] = (exact.ln_z - log_w.mean()) / sites  # KL(q||p) a site
        return found

    return evaluate


if __name__ == "__main__":
    app.run(main, TrainConfig)
