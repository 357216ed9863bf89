"""The tables: distances against queries for each law of noise, alpha against alpha = 2, and the sampler.

--scale=small trains a small network on scikit-learn's digits and attacks 20 images, in about a minute. --scale=full
runs what is missing of the victims' studies in runs/ (hours; train the victims first): every law and seed is a piece, a
killed run goes on. --noattack takes what is there. --publish puts results into the project's `results/`.
"""

import dataclasses
import pathlib

from common import app, config, publishing
from common.runs import run_directory
from projects.levy_attack import published, study, train, victims
from projects.levy_attack.page import page
from projects.levy_attack.train import TrainConfig

SMALL_VICTIM = TrainConfig(victim="mlp", dataset="digits", epochs=30, batch_size=32, learning_rate=2e-3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Which tables, and how large."""

    table: tuple[str, ...] = config.field(("queries", "alpha"), "which tables", choices=("queries", "alpha", "sampler"))
    scale: str = config.field(
        "small", "small: a minute, on digits; full: the victims themselves", choices=("small", "full")
    )
    victims: tuple[str, ...] = config.field(("mlp", "mnist_cnn"), "of --scale=full", choices=victims.NAMES)
    seeds: tuple[int, ...] = config.field((0, 1, 2), "of the attacks", minimum=0)
    attack: bool = config.field(True, "run what is missing")
    publish: bool = config.field(False, "put results and pictures into the project's results/ (with --scale=full)")
    render_readme: bool = config.field(False, "only write the published results into README.md")


def main(settings: TablesConfig, run: app.Run) -> dict:
    """Measures what is asked for, writes tables and pictures, and returns the comparisons."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    results, summary = {}, {}
    if {"queries", "alpha"} & set(settings.table):
        results = _studies(settings, run)
    for name, rows, caption in (
        ("queries", published.query_rows, "Median L2 distance after so many queries, and other norms at the end"),
        ("alpha", published.alpha_rows, "Paired over images with alpha = 2, at the full budget"),
    ):
        if name in settings.table and results:
            columns, cells = rows(results)
            run.table(name, columns, cells, caption)
            print("\n".join(" | ".join(row) for row in [columns, *cells]))
    for name, result in results.items():
        print(published.finding(name, result))
        summary[name] = {
            study.Law(row["noise"], row["alpha"]).title(): row["comparison"]
            for row in result["laws"]
            if "comparison" in row
        }
    if "sampler" in settings.table:
        from projects.levy_attack import sampler_table

        summary["sampler"] = sampler_table.run(run, settings.scale)
    return summary


def _studies(settings: TablesConfig, run: app.Run) -> dict[str, dict]:
    """Returns the published form of every study that has a baseline."""
    from projects.levy_attack import study_plots
    from projects.levy_attack.study_plots import plt

    if settings.scale == "small":
        asked = {"mlp": study.small(str(_small_victim(run)))}
        base, seeds = run.path / "runs", settings.seeds[:1]
    else:
        asked = {name: study.STUDIES[name] for name in settings.victims}
        base, seeds = pathlib.Path("runs"), settings.seeds
    is_published = settings.publish and settings.scale == "full"
    results, pictures = {}, {}
    for name, one in asked.items():
        result = study.measure(one, seeds, base, run, settings.attack)
        if result is None:
            run.log(f"{name}: no attack with alpha = 2 has finished")
            continue
        if is_published:
            victim = victims.open_victim(
                name, study.settings_of(one, study.BASELINE, 0).checkpoint, one.attack.dataset, one.attack.width
            )
            result |= {"accuracy": victims.accuracy(victim), "test_images": len(victim.images)}
        results[name] = result
        figure = study_plots.draw(result)
        pictures[name] = run.plot(name, figure, f"{victims.TITLES[name]}: {published.finding(name, result)}")
        plt.close(figure)
    if is_published:  # at the end: what is measured after a file was written comes from a changed working tree
        for name, result in results.items():
            published.write(name, result, pictures[name])
    return results


def _small_victim(run: app.Run) -> pathlib.Path:
    """The run directory of a small network, trained where it is missing."""
    path = run.path / "runs" / "victim"
    opened = run_directory.open_run(path, SMALL_VICTIM, verb="levy_attack.train", argv=["tables", "victim"])
    try:
        if opened.result is None:
            opened.finish(train.main(SMALL_VICTIM, opened))
    finally:
        opened.close()
    return path


if __name__ == "__main__":
    app.run(main, TablesConfig, transient=publishing.only_renders)
