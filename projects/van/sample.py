"""Draws any number of samples from a trained network and leaves estimates: memory is bounded, a killed run goes on.

Estimates of ln Z, F, U, S, c_v, |M|, chi and Binder's ratio as the network says them, corrected by importance weights
(delta-method and jackknife errors side by side) and by neural MCMC; at the beta of the training, and by reweighting
over a window of others. The same samples come in the same order, whatever was interrupted.
"""

import dataclasses
import itertools
import json
import pathlib
import resource
import time
import warnings

import jax
import numpy as np

from common import app, config, files, mesh, models
from common import config as config_lib
from common.training import checkpoint, supervised
from common.training.checkpoint import Checkpointer
from kernels import autoregressive
from kernels.autoregressive import Evidence, finalise, log_weights, stream
from kernels.autoregressive.thermodynamics import SPINS, spin_derived, spin_numbers
from projects.van import estimates, model, plots, published, records, sums, systems, train
from projects.van.config import TrainConfig, network_of
from projects.van.proposal import Proposal, images_of

ALONE = 20_000  # samples of the network itself, beside those of its mean over symmetries


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


def main(settings: SampleConfig, run: app.Run) -> dict:
    """Samples, and returns what goes to `result.json`."""
    if not mesh.is_single_process():
        raise ValueError("samples are drawn by one process: give each of several its own --seed and merge")
    trained, parameters = load(settings.checkpoint)
    run.inputs(pathlib.Path(settings.checkpoint) / "model.safetensors")
    system, network = systems.create(trained), network_of(trained)
    beta = trained.beta if settings.beta is None else settings.beta
    wider = defence_of(settings, network, run)
    proposal = Proposal(network, [parameters, *wider], images_of(trained, system, settings.images))
    gathered, others, seconds = draw(settings, run, proposal, system, beta)
    found = estimates.finish(gathered, proposal, system, beta, seed=settings.seed, chunk=settings.chunk)
    found = dataclasses.replace(found, single=network_alone(settings, proposal, system, beta, found))
    run.table("estimates", *records.table(found, "Estimates and the exact solution"))
    if run.is_main:
        spins = autoregressive.sample(parameters, network, jax.random.key(settings.seed), 8, 8)[0]
        plots.draw_run(run, found, system.unfold(np.asarray(spins)))
        print(records.line(found))
    result = records.result(found) | {"system": system.title, "beta": beta}
    if settings.window:
        result["window"] = window_rows(settings, others, system, proposal, estimates.entropy_of(gathered))
        run.table("window", *records.window_table(result["window"], "Reweighted to other beta"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if settings.publish and run.is_main:
        beside = {} if settings.same_as is None else {"resumed": compare(result, settings.same_as, run)}
        published.write_network(
            settings.publish, result | beside, run, trained, settings.images, peak, mixture=1 + len(wider)
        )
    # Neither follows from the flags: a resumed run has other ones.
    run.note(peak_mebibytes=round(peak), samples_per_second=seconds)
    run.log(f"peak memory of the process {peak:.0f} MiB" + (f", {seconds:.0f} samples/s" if seconds else ""))
    return result


def defence_of(settings: SampleConfig, network, run: app.Run) -> list[dict]:
    """Returns the parameters of the wider networks of a mixture.

    Raises:
      ValueError: the training has left none, or weights do not fit.
    """
    sources = list(settings.defence)
    if settings.defended:
        own = sorted(pathlib.Path(settings.checkpoint).glob(train.WIDER.format("*")))
        if not own:
            raise ValueError(
                f"--defended: {settings.checkpoint} holds no {train.WIDER.format('*')}; train with --defended, or name "
                "other trainings by --defence=RUN,..."
            )
        sources += map(str, own)
    return [train.loaded(network, source, "defence", run) for source in sources]


def load(folder: str) -> tuple[TrainConfig, dict]:
    """Returns the flags and the parameters of a training's run directory.

    Raises:
      ValueError: it is none, or has no weights yet.
    """
    path = pathlib.Path(folder)
    if not (path / "flags.txt").is_file() or not (path / "model.safetensors").is_file():
        raise ValueError(f"--checkpoint={folder}: expected a run directory of train with model.safetensors in it")
    trained = config_lib.parse(["train", f"--flagfile={path / 'flags.txt'}"], TrainConfig)[0]
    network = model.create(network_of(trained), 0)
    return trained, model.tree(models.from_tree(network, checkpoint.load_tree(path / "model.safetensors")))


def draw(settings: SampleConfig, run: app.Run, proposal: Proposal, system, beta: float):
    """Returns (sums, streams of the window, samples a second), going on from the newest checkpoint."""
    pilot = next(estimates.gather(proposal, system, beta, settings.chunk, seed=settings.seed, chunk=settings.chunk))[0]
    origin = pilot.weighted.origin
    others = tuple(stream.init(len(origin), origin) for _ in settings.window)
    state = (sums.empty(origin), others)
    checkpointer = Checkpointer(run.checkpoints)
    if restored := checkpointer.restore_latest(state):
        _, state = restored
        run.log(f"resumed after {int(state[0].raw.n):,} of {settings.samples:,} samples")
        run.note(resumed_after=[*run.meta().get("resumed_after", []), int(state[0].raw.n)])
    gathered, others = state
    begun = int(gathered.raw.n)
    start = saved_at = time.monotonic()
    with supervised.Termination(True) as termination, run.progress(settings.samples, "samples", begun) as progress:
        chunks = estimates.gather(
            proposal, system, beta, settings.samples, seed=settings.seed, chunk=settings.chunk,
            gathered=gathered,
        )  # fmt: skip
        for gathered, (log_q, energy, m) in chunks:
            numbers = spin_numbers(energy, m)
            others = tuple(
                stream.update(other, log_weights(log_q, energy, b), numbers)
                for b, other in zip(settings.window, others, strict=True)
            )
            progress.update(len(log_q))
            done = int(gathered.raw.n)
            stops = termination.after(done)
            if done == settings.samples or stops or time.monotonic() - saved_at >= settings.checkpoint_seconds:
                checkpointer.save(done, (gathered, others))
                saved_at = time.monotonic()
            if stops and done < settings.samples:
                raise app.Preempted(f"SIGTERM: checkpoint written after {done:,} of {settings.samples:,} samples")
    count = int(gathered.raw.n) - begun
    return gathered, others, round(count / (time.monotonic() - start), 1) if count else None


def network_alone(settings: SampleConfig, proposal: Proposal, system, beta: float, found: estimates.Found):
    """Returns the estimates of the network itself, to stand beside those of its mixture or mean over symmetries; None
    where it stands alone."""
    if proposal.images is None and len(proposal.components) == 1:
        return None
    single = dataclasses.replace(proposal, components=proposal.components[:1], images=None)
    count = min(settings.samples, ALONE)
    chunks = estimates.gather(single, system, beta, count, seed=settings.seed, chunk=min(settings.chunk, count))
    sites = proposal.network.rows * proposal.network.columns
    return estimates.alone_of([gathered for gathered, _ in chunks][-1], system, beta, sites, found.corrected)


def compare(result: dict, folder: str, run: app.Run) -> dict:
    """Returns how many numbers of a result differ from those of another run's, and where this run was resumed.

    Raises:
      ValueError: the other run has not finished.
    """
    other = files.read_json(pathlib.Path(folder) / "result.json")
    if other is None:
        raise ValueError(f"--same_as={folder}: expected a finished run, with result.json")
    ours, theirs = (json.dumps(files.clean(each), sort_keys=True, indent=0).splitlines() for each in (result, other))
    pairs = list(itertools.zip_longest(ours, theirs))
    found = {
        "resumed_after": run.meta().get("resumed_after", []),
        "numbers": sum(any(c.isdigit() for c in line.split(":")[-1]) for line in ours),
        "unequal": sum(a != b for a, b in pairs),
    }
    run.log(f"{found['numbers']} numbers, resumed after {found['resumed_after']}: {found['unequal']} unlike {folder}")
    return found


def window_rows(settings: SampleConfig, others, system, proposal: Proposal, entropy: float | None) -> list[dict]:
    """Returns a row for each beta of the window: its status, estimates, and the exact values where there are any.

    What the network lost is lost at each of them, so that its mirror image is looked at here, too.
    """
    rows = []
    sites = proposal.network.rows * proposal.network.columns
    for beta, other in zip(settings.window, others, strict=True):
        exact = system.exact(beta)
        mirror = estimates.mirror_of(proposal, system, beta, settings.seed, min(settings.chunk, settings.samples))
        evidence = Evidence(entropy, 2.0**sites, estimates.truths(exact, None, beta, sites), mirror=mirror)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # each row has its status
            result = finalise(other, SPINS, spin_derived(beta, sites), evidence)
        row = {"beta": beta, "status": result.status.level, "reasons": "; ".join(result.status.reasons)}
        row |= {name: records.number(getattr(result, name)) for name in ("ess", "k_hat", "ln_z")}
        row["ln_z_error"] = records.number(result.ln_z_err)
        for name in ("u", "entropy", "c_v", "abs_m_site"):
            row |= {name: records.number(result.mean[name]), f"{name}_error": records.number(result.err[name])}
        rows.append(row | ({} if exact is None else {"exact_ln_z": exact.ln_z, "exact_u": exact.u}))
    return rows


if __name__ == "__main__":
    app.run(main, SampleConfig)
