"""Trains an autoregressive network to be the Boltzmann law of a spin system, and corrects what it says.

Leaves `model.safetensors` (written at every evaluation, so that `sample` may read an unfinished run), estimates before
and after correction by importance weights and by neural MCMC, beside the exact solution where there is one, and plots.
"""

import pathlib
import time

import jax
import numpy as np

from common import app, mesh, models
from common.training import checkpoint, supervised
from kernels import autoregressive
from projects.van import model, proposal, steps, systems
from projects.van.config import TrainConfig, network_of

WIDER = "wider_{}.safetensors"  # the networks of a defended training, beside model.safetensors


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and pictures, and returns what goes to `result.json`."""
    system = systems.create(settings)
    network = network_of(settings)
    images = proposal.images_of(settings, system, settings.images)  # what cannot be done stops before the training
    defence = [loaded(network, path, "defence", run) for path in settings.defence]
    parameters, wider = fit(settings, system, run)
    from projects.van import estimates, plots, records

    spins = autoregressive.sample(parameters, network, jax.random.key(settings.seed + 1), 16, 16)[0]
    found = estimates.from_network(
        parameters, network, system, settings.beta, settings.final_samples, seed=settings.seed, chunk=settings.chunk,
        defence=[*defence, *wider], images=images, progress=run,
    )  # fmt: skip
    run.table("estimates", *records.table(found, "Estimates and the exact solution"))
    final = steps.final_beta(settings, steps.steps_in_all(settings))
    if run.is_main:
        plots.draw_run(run, found, system.unfold(np.asarray(spins)), settings)
        print(records.line(found))
        print(f"trained up to beta {final:.6g} of {settings.beta:g}")
    return records.result(found) | {"system": system.title, "beta": settings.beta, "final_beta": final}


def fit(settings: TrainConfig, system: systems.System, run: app.Run) -> tuple[dict, list[dict]]:
    """Returns (trained parameters, those of a defended training at lower beta), resuming from the newest checkpoint.

    Says at which beta the training ends, where that is not the one of the flags.
    """
    if not mesh.is_single_process():
        raise ValueError("a network is trained by one process: sweep it one process a job (--processes=1)")
    network = network_of(settings)
    evaluate = make_evaluate(settings, system, run)
    period = min(settings.evaluate_every, settings.steps)
    final = steps.final_beta(settings, steps.steps_in_all(settings))
    if final < 0.99 * settings.beta:
        run.log(f"the training ends at beta {final:.4g} of {settings.beta:g}: raise --steps, or lower --anneal")
    began = time.monotonic()
    state = supervised.train(
        run,
        steps.make_step(settings, system.energy),
        steps.initial_state(settings, starting_parameters(settings, network, run)),
        {"beta": np.full(period, settings.beta, np.float32)},
        epochs=steps.steps_in_all(settings) // period,
        batch_size=1,
        seed=settings.seed,
        evaluate=evaluate,
        log_every=max(period // 10, 1),
        checkpoint_steps=settings.checkpoint_steps,
        description=f"{system.title}, beta {settings.beta:g}",
    )
    run.log(f"trained in {time.monotonic() - began:.0f} s")
    return steps.evaluated_parameters(settings, state), list(state.wider)


def starting_parameters(settings: TrainConfig, network: autoregressive.Network, run: app.Run) -> dict:
    """Returns fresh parameters, or those of `start_from`.

    Raises:
      ValueError: they do not fit (PixelCNN's fit any lattice, MADE's only their own).
    """
    if settings.start_from is None:
        return model.tree(model.create(network, settings.seed))
    return loaded(network, settings.start_from, "start_from", run)


def loaded(network: autoregressive.Network, source: str, flag: str, run: app.Run) -> dict:
    """Returns the parameters in a run directory or weight file, an input of the run, every name and shape checked.

    Raises:
      ValueError: they do not fit the network; the flag is named.
    """
    path = pathlib.Path(source)
    weights = path / "model.safetensors" if path.is_dir() else path
    run.inputs(weights)
    try:
        return model.tree(models.from_tree(model.create(network, 0), checkpoint.load_tree(weights)))
    except ValueError as error:
        raise ValueError(f"--{flag}={source}: {error}") from None


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
            for k, each in enumerate(state.wider):
                checkpoint.save_tree(run.path / WIDER.format(k), jax.device_get(each))
        n = settings.evaluation_samples
        spins, log_q = autoregressive.sample(
            parameters, network, jax.random.fold_in(key, state.done), n, settings.chunk or min(n, settings.batch_size)
        )
        energy = np.asarray(system.energy(spins), np.float64)
        if not np.isfinite(np.asarray(log_q)).all() or (np.isnan(energy) | np.isneginf(energy)).any():
            raise ValueError(systems.why_diverged(system, spins))
        log_w = autoregressive.log_weights(log_q, energy, settings.beta)
        allowed = log_w[np.isfinite(log_w)]
        if not len(allowed):
            raise ValueError(
                f"all {n} samples of the network are forbidden (infinite energy): there is nothing to learn from; give "
                "a large finite energy instead, or --start_from a network that meets allowed states"
            )
        weights = np.exp(log_w - allowed.max())
        metrics = {
            "ess": weights.mean() ** 2 / np.square(weights).mean(),
            "free_energy_gap": np.nan,
            "log_weight_deviation": allowed.std(),
        }
        if exact is not None:
            metrics["free_energy_gap"] = (exact.ln_z - log_w.mean()) / sites  # KL(q||p) a site
        return metrics

    return evaluate


if __name__ == "__main__":
    app.run(main, TrainConfig)
