"""The figures of the VAN paper and of the Comment, and how honest the error bars are.

--scale=small shows one in about a minute. --scale=full trains CPU-sized networks and batches (flags/ has the paper's):
minutes to an hour a figure. Every network is a piece that is kept: a killed run goes on with the next one. --publish
puts result and pictures into the project's `results/`.
"""

import dataclasses
import functools

import jax
import numpy as np

from common import app, config, publishing
from common.publishing import verdicts
from common.runs import provenance
from common.study.parts import part
from kernels import autoregressive
from kernels.autoregressive import calibration
from kernels.autoregressive.record import status_of
from kernels.ising import energies
from kernels.ising.inverse import EXPANSIONS, exact_correlations, expansions
from projects.van import coverage, figures, inverse_ising, page, plots, records, weights
from projects.van.config import network_of
from projects.van.inverse_ising import Reconstruction
from projects.van.ladder import Ladder, climb

RECONSTRUCTIONS = {
    "small": Reconstruction(spins=8, betas=(0.5, 1.0), steps=200, samples=1000),
    "full": Reconstruction(),
}


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How error bars are looked at. Attributes: cases; seeds of each, samples of a seed."""

    cases: tuple[str, ...] = tuple(coverage.CASES)
    seeds: int = 400
    samples: int = 10_000


CALIBRATIONS = {"small": Calibration(("log_normal", "untrained"), 20, 1000), "full": Calibration()}
FIRST_SEED = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(publishing.PageConfig):
    """Which figure, and how large."""

    figure: str = config.field(
        "2a", "of the paper, the Comment's panel, or coverage of error bars", choices=tuple(figures.TITLES)
    )
    start_from: str | None = config.field(
        None, "weights that the first network of 2a begins with: a run of train with the same network"
    )


def main(settings: StudyConfig, run: app.Run) -> dict:
    """Makes a figure, and returns its numbers."""
    if settings.render_readme:
        return {"readme_changed": page.page.render()}
    stamp = page.page.stamp() if settings.publish else provenance.stamp()
    if settings.figure == "coverage":
        result, pictures = error_bars(CALIBRATIONS[settings.scale], run), {}
    elif settings.figure == "comment":
        result, pictures = panel(figures.ladders("comment", settings.scale), run)
    elif settings.figure == "4b":
        result, pictures = couplings(RECONSTRUCTIONS[settings.scale], run)
    else:
        result, pictures = temperatures(settings, run)
    result |= {"figure": settings.figure, "title": figures.TITLES[settings.figure], "provenance": stamp}
    if settings.publish and run.is_main:
        page.page.write("coverage" if settings.figure == "coverage" else f"figure_{settings.figure}", result, pictures)
    return result


def temperatures(settings: StudyConfig, run: app.Run) -> tuple[dict, dict]:
    """Returns (result, pictures) of a figure over temperatures."""
    ladders = figures.ladders(settings.figure, settings.scale)
    figure, start = figures.OVER_BETA[settings.figure], None
    caption = f"{figure.title}. Bars: one standard error, mostly smaller than the dots."
    if settings.start_from is not None:
        start = weights.load(network_of(ladders[0].settings), settings.start_from, "start_from", run)
    rows, pictures = {}, {}
    for ladder in ladders:
        rows[ladder.name] = climb(ladder, run, start)
        points = sorted(rows[ladder.name], key=lambda row: row["beta"])
        size = (ladder.settings.rows, ladder.settings.columns or ladder.settings.rows)
        title = figure.title + (f" ({size[0]} x {size[1]})" if size[0] > 1 else "")
        for suffix, names in figure.quantities.items():
            name = ladder.name + suffix
            plots.against_beta(run, name, caption, points, title, names, figures.curves(ladder))
            pictures[f"_{name}"] = run.plots / f"{name}.png"
        run.table(ladder.name, *page.temperature_table(rows[ladder.name], figure.columns), figure.title)
    if settings.figure == "3":
        plots.overlaps(run, overlaps(ladders[0], run))
        pictures["_overlaps"] = run.plots / "overlaps.png"
    places = {f"{name}, beta {row['beta']:g}": row for name, each in rows.items() for row in each}
    for place, row in places.items():
        print(f"{place}: {records.line(row)}")
    networks = {ladder.name: figures.description(ladder, settings.start_from is not None) for ladder in ladders}
    status = verdicts.worst({place: status_of(row) for place, row in places.items()})
    return {"status": status, "networks": networks, "rows": rows}, pictures


def overlaps(ladder: Ladder, run: app.Run) -> dict[float, np.ndarray]:
    """Returns beta to the overlaps [samples, 2] with the two patterns, at the ends of a ladder."""
    network = network_of(ladder.settings)
    n = network.rows * network.columns
    patterns = energies.orthogonal_patterns(n, ladder.settings.system_seed)
    by_beta = {}
    for beta in (ladder.betas[0], ladder.betas[-1]):
        parameters = weights.load(network, ladder.weights(run, beta))
        spins = autoregressive.sample(parameters, network, jax.random.key(7), 2000, 1000)[0]
        by_beta[beta] = np.asarray(spins, np.float64).reshape(-1, n) @ patterns.T / n
    return by_beta


def panel(ladders: list[Ladder], run: app.Run) -> tuple[dict, dict]:
    """Returns (result, pictures) of the Comment's panel: what the last of the networks says, before and after
    correction."""
    start = row = None
    for ladder in ladders:
        (row,) = climb(ladder, run, start)
        start = weights.load(network_of(ladder.settings), ladder.weights(run, ladder.betas[-1]))
    caption = f"{row['steps']} steps, ESS {row['ess']:.3f}: differences from the exact value. Bars: one standard error."
    plots.comparison(run, "comment", caption, row["estimates"])
    run.table("comment", *records.table(row, "Before and after correction"))
    print(f"beta {row['beta']:g}: {records.line(row)}")
    result = {"status": status_of(row), "rows": {ladders[-1].name: [row]}, "panel": True}
    return result, {"": run.plots / "comment.png"}


def couplings(settings: Reconstruction, run: app.Run) -> tuple[dict, dict]:
    """Returns (result, pictures) of figure 4b: errors of couplings over temperature."""
    J = energies.sk_couplings(settings.spins, settings.seed)

    def errors(beta: float) -> dict:
        C = exact_correlations(J, beta)
        with run.progress(settings.steps, f"couplings at beta {beta:g}") as progress:
            estimates = {"network": inverse_ising.reconstruct(C, beta, settings, progress.update)}
        estimates |= expansions(C, beta)
        return {"beta": beta} | {name: np.sqrt(np.mean(np.square(J - each))) for name, each in estimates.items()}

    rows = []
    for beta in settings.betas:
        rows.append(part(run, f"inverse_beta{beta:g}", functools.partial(errors, beta)))
        run.log(", ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()))
    columns = ["beta", "network", *EXPANSIONS]
    cells = [[row[name] for name in columns] for row in rows]
    run.table("errors", columns, cells, "Error of couplings (root mean square)")
    plots.inverse(run, rows, EXPANSIONS)
    return {"setting": dataclasses.asdict(settings), "rows": rows}, {"": run.plots / "inverse.png"}


def error_bars(settings: Calibration, run: app.Run) -> dict:
    """Returns how often error bars hold the truth, and how often they say that they do not know, of every case."""
    rows = {}
    for name in settings.cases:
        make = functools.partial(calibrate, name, settings, run)
        rows[name] = part(run, f"{name}_{settings.seeds}_{settings.samples}", make)
        run.log(f"{name}: ESS {rows[name]['ess']:.3f}, told {rows[name]['told']}")
    run.table("told", *page.told_table(rows), "How much is told")
    for method, title in page.METHODS.items():
        run.table(method, *page.coverage_table(rows, method), f"One-sigma coverage: {title}")
    return {"seeds": settings.seeds, "first_seed": FIRST_SEED, "samples": settings.samples, "coverage": rows}


def calibrate(name: str, settings: Calibration, run: app.Run) -> dict:
    """Returns the calibration of a case."""
    case = coverage.CASES[name]()
    seeds = range(FIRST_SEED, FIRST_SEED + settings.seeds)
    with run.progress(settings.seeds, name) as progress:
        return calibration.calibration(case, progress.over(seeds), case.samples or settings.samples)


if __name__ == "__main__":
    app.run(main, StudyConfig, transient=publishing.only_renders)
