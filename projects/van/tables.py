"""The figures of the VAN paper and of the Comment: free energies, ordered phases, the inverse problem, corrections.

--scale=small shows one in about a minute. --scale=full trains CPU-sized networks and batches (flags/ has the paper's):
minutes to an hour a figure. Every network is a piece that is kept: a killed run goes on with the next one. --publish
puts result and pictures into the project's `results/`.
"""

import dataclasses

import numpy as np

from common import app, config, publishing
from common.runs import provenance
from common.training import checkpoint
from kernels.autoregressive.reliability import LEVELS
from projects.van import comment, figures, inverse, plots, published, records
from projects.van.config import network_of
from projects.van.ladder import Ladder, climb, sigmas_off, summary
from projects.van.page import page


@dataclasses.dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Which figure, and how large."""

    figure: str = config.field("2a", "of the paper, or the Comment's panel", choices=tuple(figures.TITLES))
    scale: str = config.field("small", "small: about a minute; full: CPU-sized, see README", choices=("small", "full"))
    start_from: str | None = config.field(
        None, "weights that the first network of 2a begins with: a run of train with the same network"
    )
    publish: bool = config.field(False, "put the result and its pictures into results/ (with --scale=full)")
    render_readme: bool = config.field(False, "only write the published results into README.md")


def main(settings: TablesConfig, run: app.Run) -> dict:
    """Makes a figure, and returns its numbers."""
    if settings.render_readme:
        return {"front_pages_changed": published.refresh_front_pages(), "readme_changed": page.render()}
    if settings.figure == "comment":
        result, pictures = comment.make(settings.scale, run)
    elif settings.figure == "4b":
        result, pictures = inverse.make(settings.scale, run)
    else:
        result, pictures = temperatures(settings, run)
    result |= {"figure": settings.figure, "title": figures.TITLES[settings.figure], "provenance": provenance.stamp()}
    if settings.publish and settings.scale == "full" and run.is_main:
        published.write(settings.figure, result, pictures)
    return result


def temperatures(settings: TablesConfig, run: app.Run) -> tuple[dict, dict]:
    """Returns (result, pictures) of a figure over temperatures."""
    rows, pictures, start = {}, {}, None
    if settings.start_from is not None:
        run.inputs(f"{settings.start_from}/model.safetensors")
        start = checkpoint.load_tree(settings.start_from)
    for ladder in figures.ladders(settings.figure, settings.scale):
        rows[ladder.name] = climb(ladder, run, start)
        for suffix, figure in draw(settings.figure, ladder, rows[ladder.name]).items():
            name = ladder.name + suffix
            caption = f"{figures.TITLES[settings.figure]}. Bars: one standard error, mostly smaller than the dots."
            pictures[f"_{name}"] = run.plot(name, figure, caption)
    run.table("points", *table(rows), figures.TITLES[settings.figure])
    if settings.figure == "3":
        pictures["_overlaps"] = overlaps(figures.ladders("3", settings.scale)[0], run)
    for name, each in rows.items():
        for row in each:
            print(f"{name} beta {row['beta']:g}: {summary(row)}")
    return {"status": worst_of(rows), "networks": describe(settings), "rows": rows}, pictures


def worst_of(rows: dict[str, list[dict]]) -> dict:
    """Returns the status of a figure: the worst of its points, each reason with its place."""
    levels, reasons = {"trusted": 0}, []
    for name, each in rows.items():
        for row in each:
            status = records.status_of(row)
            levels[status["level"]] = levels.get(status["level"], 0) + 1
            reasons += [f"{name}, beta {row['beta']:g}: {reason}" for reason in status["reasons"]]
    level = max(levels, key=lambda level: (levels[level] > 0, LEVELS.index(level)))
    return {"level": level, "reasons": reasons, "points": levels}


def describe(settings: TablesConfig) -> dict[str, str]:
    """Returns name of each ladder to its network and training, in words."""
    found = {}
    for ladder in figures.ladders(settings.figure, settings.scale):
        asked = ladder.settings
        width = f" h{asked.half_width}" if asked.network == "pixelcnn" else ""
        begun = "begun from a trained network, " if settings.start_from else f"{ladder.first_steps} steps, then "
        found[ladder.name] = (
            f"{asked.network} D{asked.depth} C{asked.channels}{width}, batch {asked.batch_size}, "
            f"{begun}{ladder.steps} steps a temperature, {ladder.samples:,} samples"
            + (f" of means over {ladder.images} symmetries" if ladder.images > 1 else "")
        )
    return found


def table(rows: dict[str, list[dict]]) -> tuple[list[str], list[list]]:
    """Returns (columns, rows): ln Z, entropy and |M| at every temperature."""
    columns = [
        "system", "beta", "ESS", "ln Z exact", "ln Z network", "ln Z corrected", "error", "sigmas off", "S/N exact",
        "S/N corrected", "error", "status",
    ]  # fmt: skip
    cells = []
    for name, each in rows.items():
        for row in each:
            ln_z, entropy = row["estimates"]["ln_z"], row["estimates"]["entropy"]
            level = records.status_of(row)["level"]
            cells.append([
                name, row["beta"], row["ess"], ln_z.get("exact"), ln_z["raw"],
                *(records.marked(_or_dash(value), level) for value in (ln_z["nis"], ln_z["nis_error"])),
                sigmas_off(ln_z, "nis"), entropy.get("exact"),
                *(records.marked(_or_dash(value), level) for value in (entropy["nis"], entropy["nis_error"])), level,
            ])  # fmt: skip
    return columns, cells


def _or_dash(value: float | None):
    return records.UNKNOWN if value is None else value


CHECKS = ("difference", "ess")
QUANTITIES = {  # of the pictures of each ladder, by what their names end with
    "2a": {"": ("free_energy", "u", "entropy", "abs_m_site"), "_weights": CHECKS},
    "2b": {"": ("entropy", "free_energy", "u", *CHECKS)},
    "3": {"": ("free_energy", *CHECKS)},
    "4a": {"": ("free_energy", *CHECKS)},
}


def draw(figure: str, ladder: Ladder, rows: list[dict]) -> dict:
    """Returns the pictures of one ladder, by the end of their names."""
    ordered = sorted(rows, key=lambda row: row["beta"])
    size = (ladder.settings.rows, ladder.settings.columns or ladder.settings.rows)
    title = figures.TITLES[figure] + (f" ({size[0]} x {size[1]})" if size[0] > 1 else "")
    exact, bulk = figures.exact_curves(ladder), figures.bulk_curves(ladder)
    return {end: plots.against_beta(ordered, exact, title, names, bulk) for end, names in QUANTITIES[figure].items()}


def overlaps(ladder: Ladder, run: app.Run):
    """Writes the picture of overlaps with the two patterns at the ends of a ladder; returns its path."""
    import jax

    from kernels import autoregressive
    from kernels.ising import energies

    network = network_of(ladder.settings)
    n = network.rows * network.columns
    patterns = energies.orthogonal_patterns(n, ladder.settings.system_seed)
    found = {}
    for beta in (ladder.betas[0], ladder.betas[-1]):
        parameters = checkpoint.load_tree(run.path / "pieces" / f"{ladder.name}_beta{beta:g}.safetensors")
        spins = autoregressive.sample(parameters, network, jax.random.key(7), 2000, 1000)[0]
        found[beta] = np.asarray(spins, np.float64).reshape(-1, n) @ patterns.T / n
    caption = "Overlaps of samples with the two patterns: disordered at high temperature, four ordered phases at low."
    return run.plot("overlaps", plots.overlaps(found), caption)


if __name__ == "__main__":
    app.run(main, TablesConfig, transient=publishing.only_renders)
