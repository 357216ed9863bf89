"""Trains an autoregressive network to be the Boltzmann law of a spin system, and corrects what it says.

Leaves `model.safetensors` (written at every evaluation, so that `sample` may read an unfinished run), estimates before
and after correction by importance weights and by neural MCMC, beside the exact solution where there is one, and plots.
"""

import time

import jax
import numpy as np

from common import app, mesh, processes, weight_files
from common.training import supervised
from kernels import autoregressive
from kernels.autoregressive import Proposal, SpinEstimates, network_law
from kernels.ising import System
from kernels.ising.systems import check_energies
from projects.van import systems, training_step, weights
from projects.van.config import TrainConfig, network_of


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights and pictures, and returns what goes to `result.json`."""
    from projects.van import plots

    system, network = systems.create(settings), network_of(settings)
    system.images(settings.images)  # what cannot be done stops before the training
    defence = [weights.load(network, source, "defence", run) for source in settings.defence]
    parameters, wider = fit(settings, system, run)
    spins = autoregressive.sample(parameters, network, jax.random.key(settings.seed + 1), 16, 16)[0]
    estimates = estimate(settings, system, [parameters, *defence, *wider], settings.final_samples, run)
    final = training_step.final_beta(settings)
    result = plots.draw_run(run, estimates, system.unfold(np.asarray(spins)), settings)
    print(f"trained up to beta {final:.6g} of {settings.beta:g}")
    return result | {"system": system.title, "beta": settings.beta, "final_beta": final}


def estimate(
    settings: TrainConfig, system: System, components: list[dict], samples: int, run: app.Run, seed: int | None = None
) -> SpinEstimates:
    """Returns estimates at the flags' beta from fresh samples of networks, averaged over the flags' `images`.

    Args:
      components: parameters, those of the network first; with others the estimates are of their mixture.
      seed: of the samples; None for that of the flags.
    """
    proposal = Proposal(
        [network_law(each, network_of(settings)) for each in components], system.images(settings.images)
    )
    with run.progress(samples * (1 if proposal.is_single else 2), "samples") as progress:
        return autoregressive.estimate(
            proposal, system, settings.beta, samples, chunk=settings.chunk or 1000, progress=progress.update,
            key=jax.random.key(settings.seed if seed is None else seed),
        )  # fmt: skip


def fit(settings: TrainConfig, system: System, run: app.Run) -> tuple[dict, list[dict]]:
    """Returns (trained parameters, those of a defended training at lower beta), resuming from the newest checkpoint.

    Says at which beta the training ends, where that is not the one of the flags.
    """
    if not processes.is_single_process():
        raise ValueError("a network is trained by one process: sweep it one process a job (--processes=1)")
    period = min(settings.evaluate_every, settings.steps)
    final = training_step.final_beta(settings)
    if final < 0.99 * settings.beta:
        run.log(f"the training ends at beta {final:.4g} of {settings.beta:g}: raise --steps, or lower --anneal")
    beginning = training_step.initial_state(settings, starting_parameters(settings, run))
    if (sharding := mesh.data_sharding()) is not None:
        run.log(mesh.holding(beginning, settings.batch_size, sharding, "samples"))
    start = time.monotonic()
    state = supervised.train(
        run,
        training_step.make_step(settings, system.energy),
        beginning,
        {"beta": np.full(period, settings.beta, np.float32)},
        supervised.Plan(
            epochs=training_step.steps_in_all(settings) // period,
            batch_size=1,
            seed=settings.seed,
            log_every=max(period // 10, 1),
            checkpoint_steps=settings.checkpoint_steps,
            description=f"{system.title}, beta {settings.beta:g}",
        ),
        evaluate=make_evaluate(settings, system, run),
    )
    run.log(f"trained in {time.monotonic() - start:.0f} s")
    return training_step.evaluated_parameters(settings, state), list(state.wider)


def starting_parameters(settings: TrainConfig, run: app.Run) -> dict:
    """Returns fresh parameters, or those of `start_from`; raises a ValueError where they do not fit."""
    network = network_of(settings)
    if settings.start_from is None:
        return weights.fresh(network, settings.seed)
    return weights.load(network, settings.start_from, "start_from", run)


def make_evaluate(settings: TrainConfig, system: System, run: app.Run):
    """Returns `state -> metrics` on samples of their own; it also writes the weights."""
    network, n = network_of(settings), settings.evaluation_samples
    key = jax.random.fold_in(jax.random.key(settings.seed), 2**31 - 1)
    exact = system.exact(settings.beta)

    def evaluate(state: training_step.State) -> dict:
        parameters = training_step.evaluated_parameters(settings, state)
        weight_files.save_tree(run.path / weights.FILE, parameters)
        for k, wider in enumerate(state.wider):
            weight_files.save_tree(run.path / weights.WIDER_FILE.format(k), wider)
        spins, log_q = autoregressive.sample(
            parameters, network, jax.random.fold_in(key, state.done), n, settings.chunk or min(n, settings.batch_size)
        )
        energy = np.asarray(system.energy(spins), np.float64)
        if not np.isfinite(np.asarray(log_q)).all() or (np.isnan(energy) | np.isneginf(energy)).any():
            check_energies(system, spins)
            raise ValueError("training diverged: log-probabilities are not finite; lower --learning_rate")
        log_w = autoregressive.log_weights(log_q, energy, settings.beta)
        allowed = log_w[np.isfinite(log_w)]
        if not len(allowed):
            raise ValueError(
                f"all {n} samples of the network are forbidden (infinite energy): there is nothing to learn from; give "
                "a large finite energy instead, or --start_from a network that meets allowed states"
            )
        relative = np.exp(log_w - allowed.max())
        return {
            "ess": relative.mean() ** 2 / np.square(relative).mean(),
            # KL(q||p) a site
            "free_energy_gap": np.nan if exact is None else (exact.ln_z - log_w.mean()) / system.sites,
            "log_weight_deviation": allowed.std(),
        }

    return evaluate


if __name__ == "__main__":
    app.run(main, TrainConfig)
