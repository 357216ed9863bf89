"""Draws any number of samples from a trained network and leaves estimates: memory is bounded, a killed run goes on.

Estimates of ln Z, F, U, S, c_v, |M|, chi and Binder's ratio as the network says them, corrected by importance weights
(delta-method and jackknife errors side by side) and by neural MCMC; at the beta of the training, and by reweighting
over a window of others. The same samples come in the same order, whatever was interrupted.
"""

import dataclasses
import pathlib
import resource

import jax
import numpy as np

from common import app, config, mesh
from common.study import finished
from common.training import accumulation
from kernels import autoregressive
from kernels.autoregressive import Proposal, SpinEstimates, accumulate, log_weights, record, stream
from kernels.autoregressive import estimates as estimation
from kernels.autoregressive.record import window_record
from kernels.autoregressive.thermodynamics import spin_numbers
from kernels.ising import System
from projects.van import figures, plots, records, systems, train, weights
from projects.van.config import TrainConfig, network_of
from projects.van.page import page

SINGLE = 20_000  # samples of the network itself, beside those of its mean over symmetries


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Which network, how many samples, at which temperatures."""

    checkpoint: str = config.field(config.REQUIRED, "run directory of train; it may be unfinished")
    samples: int = config.field(100_000, "to draw in all", minimum=2)
    chunk: int = config.field(1000, "samples at a time: memory grows with it, not with --samples", minimum=1)
    beta: float | None = config.field(
        None, "inverse temperature of the estimates (none: that of the training)", minimum=0
    )
    window: tuple[float, ...] = config.field((), "further inverse temperatures, reached by reweighting", minimum=0)
    images: int = config.field(
        1,
        "average the network over so many symmetries (sign, shifts, reflections): the same number of passes",
        minimum=1,
    )
    defended: bool = config.field(
        False, "the estimates are of a mixture with the networks of lower beta that train --defended has left"
    )
    defence: tuple[str, ...] = config.field(
        (), "run directories or weight files of other networks for that mixture, such as trainings at a lower beta"
    )
    same_as: str | None = config.field(
        None, "run directory of the same command, uninterrupted: compare every number with its result", identity=False
    )
    publish: str | None = config.field(
        None, "put the result and the panel of corrections into results/ under this name", identity=False
    )
    seed: int = config.field(1000, "of the samples; not the one of the training, which chose the weights", minimum=0)
    checkpoint_seconds: float = config.field(60.0, "at most so long between two checkpoints", minimum=0, identity=False)


@dataclasses.dataclass(frozen=True)
class Task:
    """What is sampled: the proposal, for a system at beta, from a key, so many samples at a time."""

    proposal: Proposal
    system: System
    beta: float
    key: jax.Array
    chunk: int


def main(settings: SampleConfig, run: app.Run) -> dict:
    """Samples, and returns what goes to `result.json`."""
    if not mesh.is_single_process():
        raise ValueError("samples are drawn by one process: give each of several its own --seed and merge")
    stamp = page.stamp() if settings.publish else None  # what cannot be published stops before the work
    trained, parameters = load(settings.checkpoint)
    run.inputs(weights.path_of(settings.checkpoint))
    system, network = systems.create(trained), network_of(trained)
    laws = [autoregressive.network_law(each, network) for each in [parameters, *defence_of(settings, network, run)]]
    beta = trained.beta if settings.beta is None else settings.beta
    proposal = Proposal(laws, system.images(settings.images))
    task = Task(proposal, system, beta, jax.random.key(settings.seed), settings.chunk)
    sums, others, seconds = draw(settings, run, task)
    estimates = estimation.finish(sums, proposal, system, beta, key=task.key, chunk=settings.chunk)
    estimates = dataclasses.replace(estimates, single=network_alone(settings, task, estimates))
    result = record(estimates)
    run.table("estimates", *records.table(result, "Estimates and the exact solution"))
    if run.is_main:
        spins = autoregressive.sample(parameters, network, task.key, 8, 8)[0]
        plots.draw_run(run, estimates, system.unfold(np.asarray(spins)))
        print(records.line(result))
    result |= {"system": system.title, "beta": beta}
    if settings.window:
        result["window"] = window_rows(settings, others, task, accumulate.entropy(sums))
        run.table("window", *records.window_table(result["window"], "Reweighted to other beta"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if settings.publish and run.is_main:
        resumed = {} if settings.same_as is None else {"resumed": comparison(result, settings.same_as, run)}
        about = {
            "title": f"{system.title}, beta {beta:g}, {settings.samples:,} samples",
            "network": figures.network_text(trained, folded=trained.fold, images=settings.images, mixture=len(laws)),
            "peak_mebibytes": round(peak), "provenance": stamp,
        }  # fmt: skip
        pictures = {f"_{name}": run.plots / f"{name}.png" for name in ("correction", "weights", "chain")}
        page.write(settings.publish, result | resumed | about, pictures)
    # Neither follows from the flags: a resumed run has other ones.
    run.note(peak_mebibytes=round(peak), samples_per_second=seconds)
    run.log(f"peak memory of the process {peak:.0f} MiB" + (f", {seconds:.0f} samples/s" if seconds else ""))
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
    return [train.load_input(network, source, "defence", run) for source in sources]


def load(folder: str) -> tuple[TrainConfig, dict]:
    """Returns the flags and the parameters of a training's run directory.

    Raises:
      ValueError: it is none, or has no weights yet.
    """
    path = pathlib.Path(folder)
    if not (path / "flags.txt").is_file() or not (path / weights.FILE).is_file():
        raise ValueError(f"--checkpoint={folder}: expected a run directory of train with {weights.FILE} in it")
    trained = config.parse(["train", f"--flagfile={path / 'flags.txt'}"], TrainConfig)[0]
    return trained, weights.load(network_of(trained), path)


def draw(settings: SampleConfig, run: app.Run, task: Task):
    """Returns (sums, streams of the window, samples a second), going on from the newest checkpoint."""
    pilot = next(estimation.sample_chunks(**vars(task), n=settings.chunk))[0]
    origin = pilot.weighted.origin

    def chunks(state):
        sums, others = state
        for sums, (log_q, energy, m) in estimation.sample_chunks(**vars(task), n=settings.samples, sums=sums):  # noqa: B020
            numbers = spin_numbers(energy, m)
            others = tuple(
                stream.update(other, log_weights(log_q, energy, beta), numbers)
                for beta, other in zip(settings.window, others, strict=True)
            )
            yield sums, others

    (sums, others), rate = accumulation.accumulate(
        run, chunks, (accumulate.init(origin), tuple(stream.init(len(origin), origin) for _ in settings.window)),
        lambda state: state[0].n, settings.samples, checkpoint_seconds=settings.checkpoint_seconds,
        description="samples",
    )  # fmt: skip
    return sums, others, rate


def network_alone(settings: SampleConfig, task: Task, estimates: SpinEstimates):
    """Returns the estimates of the network itself, to stand beside those of its mixture or mean over symmetries; None
    where it stands alone."""
    if task.proposal.is_single:
        return None
    count = min(settings.samples, SINGLE)
    single = dataclasses.replace(task, proposal=Proposal(task.proposal.laws[:1]), chunk=min(settings.chunk, count))
    *_, (sums, _) = estimation.sample_chunks(**vars(single), n=count)
    return estimation.of_single(sums, task.beta, task.system.sites, estimates.exact, estimates.corrected)


def window_rows(settings: SampleConfig, others, task: Task, entropy: float | None) -> list[dict]:
    """Returns a row for each beta of the window: its status, estimates, and the exact values where there are any."""
    rows, count = [], min(settings.chunk, settings.samples)
    for beta, other in zip(settings.window, others, strict=True):
        weighted = estimation.reweighted(
            other, task.proposal, task.system, beta, key=task.key, count=count, entropy=entropy
        )
        rows.append(window_record(beta, weighted, task.system.exact(beta)))
    return rows


if __name__ == "__main__":
    app.run(main, SampleConfig)
