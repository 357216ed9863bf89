"""Draws any number of samples from a trained network and leaves estimates: memory is bounded, a killed run goes on.

Estimates of ln Z, F, U, S, c_v, |M|, chi and Binder's ratio as the network says them, corrected by importance weights
(delta-method and jackknife errors side by side) and by neural MCMC; at the beta of the training, and by reweighting
over a window of others. The same samples come in the same order, whatever was interrupted.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from common import app, config, memory, processes
from common.study import finished
from common.training import accumulation
from kernels import autoregressive
from kernels.autoregressive import Proposal, accumulate
from kernels.autoregressive import estimates as estimation
from kernels.autoregressive.record import window_records
from projects.van import figures, plots, records, systems, weights
from projects.van.config import EstimateConfig, TrainConfig, network_of
from projects.van.page import page

SINGLE = 20_000  # samples of the network itself, beside those of its mean over symmetries


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig(EstimateConfig):
    """Which network, how many samples, at which temperatures."""

    checkpoint: str = config.field(config.REQUIRED, "run directory of train; it may be unfinished")
    samples: int = config.field(100_000, "to draw in all", minimum=2)
    chunk: int = config.field(1000, "samples at a time: memory grows with it, not with --samples", minimum=1)
    beta: float | None = config.field(
        None, "inverse temperature of the estimates (none: that of the training)", minimum=0
    )
    window: tuple[float, ...] = config.field((), "further inverse temperatures, reached by reweighting", minimum=0)
    same_as: str | None = config.field(
        None, "run directory of the same command, uninterrupted: compare every number with its result", identity=False
    )
    publish: str | None = config.field(
        None, "put the result and the panel of corrections into results/ under this name", identity=False
    )
    seed: int = config.field(1000, "of the samples; not the one of the training, which chose the weights", minimum=0)
    checkpoint_seconds: float = config.field(60.0, "at most so long between two checkpoints", minimum=0, identity=False)


def main(settings: SampleConfig, run: app.Run) -> dict:
    """Samples, and returns what goes to `result.json`."""
    if not processes.is_single_process():
        raise ValueError("samples are drawn by one process: give each of several its own --seed and merge")
    stamp = page.stamp() if settings.publish else None  # what cannot be published stops before the work
    trained, parameters = load(settings.checkpoint, run)
    system, network = systems.create(trained), network_of(trained)
    laws = [autoregressive.network_law(each, network) for each in [parameters, *defence_of(settings, network, run)]]
    beta = trained.beta if settings.beta is None else settings.beta
    proposal, key = Proposal(laws, system.images(settings.images)), jax.random.key(settings.seed)
    stream = {"key": key, "chunk": settings.chunk}
    (sums, others), rate = draw(settings, run, proposal=proposal, system=system, beta=beta, **stream)
    estimates = estimation.finish(sums, proposal, system, beta, **stream)
    estimates = estimation.with_first_law(estimates, proposal, system, n=min(settings.samples, SINGLE), **stream)
    spins = autoregressive.sample(parameters, network, key, 8, 8)[0]
    result = plots.draw_run(run, estimates, system.unfold(np.asarray(spins)))
    result |= {"system": system.title, "beta": beta}
    if settings.window:
        options = {"key": key, "count": min(settings.chunk, sums.n), "entropy": accumulate.entropy(sums)}
        result["window"] = window_records(others, settings.window, proposal, system, **options)
        run.table("window", *records.window_table(result["window"], "Reweighted to other beta"))
    peak = memory.peak_mebibytes()
    if settings.publish:
        resumed = {} if settings.same_as is None else {"resumed": comparison(result, settings.same_as, run)}
        about = {
            "title": f"{system.title}, beta {beta:g}, {settings.samples:,} samples",
            "network": figures.network_text(trained, folded=trained.fold, images=settings.images, mixture=len(laws)),
            "peak_mebibytes": round(peak), "provenance": stamp,
        }  # fmt: skip
        pictures = {f"_{name}": run.plots / f"{name}.png" for name in ("correction", "weights", "chain")}
        page.write(settings.publish, result | resumed | about, pictures)
    # Neither follows from the flags: a resumed run has other ones.
    run.note(peak_mebibytes=round(peak), samples_per_second=rate)
    run.log(f"peak memory of the process {peak:.0f} MiB" + (f", {rate:.0f} samples/s" if rate else ""))
    return result


def comparison(result: dict, folder: str, run: app.Run) -> dict:
    """Returns how many numbers of a result are unlike those of another run's, and where this run was resumed."""
    counts = {"resumed_after": run.meta().get("resumed_after", [])} | finished.compare(result, folder, "same_as")
    run.log("{numbers} numbers, resumed after {resumed_after}: {unequal} unlike ".format(**counts) + folder)
    return counts


def defence_of(settings: SampleConfig, network: autoregressive.Network, run: app.Run) -> list[dict]:
    """Returns the parameters of the wider networks of a mixture.

    Raises:
      ValueError: the training has left none, or weights do not fit.
    """
    sources = list(settings.defence)
    if settings.defended:
        own = sorted(pathlib.Path(settings.checkpoint).glob(weights.WIDER_FILE.format("*")))
        if not own:
            raise ValueError(
                f"--defended: {settings.checkpoint} holds no {weights.WIDER_FILE.format('*')}; train with --defended, "
                "or name other trainings by --defence=RUN,..."
            )
        sources += map(str, own)
    return [weights.load(network, source, "defence", run) for source in sources]


def load(folder: str, run: app.Run) -> tuple[TrainConfig, dict]:
    """Returns the flags and the parameters of a training's run directory.

    Raises:
      ValueError: it is none, or has no weights yet.
    """
    path = pathlib.Path(folder)
    if not (path / "flags.txt").is_file() or not (path / weights.FILE).is_file():
        raise ValueError(f"--checkpoint={folder}: expected a run directory of train with {weights.FILE} in it")
    trained = config.parse(["train", f"--flagfile={path / 'flags.txt'}"], TrainConfig)[0]
    return trained, weights.load(network_of(trained), path, "checkpoint", run)


def draw(settings: SampleConfig, run: app.Run, **options: Any) -> tuple[estimation.Window, float | None]:
    """Returns ((sums, streams of the window), samples a second), going on from the newest checkpoint.

    Args:
      settings, run: how many, and where checkpoints go.
      options: proposal, system, beta, key and chunk of `sample_chunks`.
    """
    options["betas"] = settings.window
    return accumulation.accumulate(
        run,
        lambda window: estimation.window_chunks(**options, n=settings.samples, window=window),
        estimation.begin_window(**options),
        lambda window: window[0].n,
        settings.samples,
        checkpoint_seconds=settings.checkpoint_seconds,
        description="samples",
    )


if __name__ == "__main__":
    app.run(main, SampleConfig)
