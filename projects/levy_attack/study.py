"""The studies: laws of noise on the same images, compared with alpha = 2 after each number of queries.

--scale=small trains a small network on scikit-learn's digits and attacks 20 images, in about a minute. --scale=full
runs what is missing of the studies in runs/ (hours): every arm and seed is a piece, a killed run goes on. --pieces=take
takes what is there. --publish puts results into the project's `results/`.
"""

import dataclasses

from common import app, config, publishing
from common.study import pieces
from projects.levy_attack import comparison, victims
from projects.levy_attack.arms import SMALL, STUDIES, Study
from projects.levy_attack.page import comparison_table, distance_table, finding_text, page, ratio_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(publishing.StudyConfig):
    """Which studies, and what to do with their pieces."""

    studies: tuple[str, ...] = config.field(
        ("mlp", "mnist_cnn"),
        "of --scale=full: a victim's directions at its full budget, or lengths and first steps at equal effort",
        choices=tuple(STUDIES),
    )
    pieces: str = pieces.field()


def main(settings: StudyConfig, run: app.Run) -> dict:
    """Runs or takes the attacks, writes tables and pictures, and returns the comparisons."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    stamp = page.stamp() if settings.publish else None
    studies, seeds, runs = {name: STUDIES[name] for name in settings.studies}, settings.seeds, settings.runs
    if settings.scale == "small":
        studies, seeds, runs = {"mlp": SMALL}, seeds[:1], str(run.path / "runs")
    attacks = {(name, seed): study.pieces((seed,), runs) for seed in seeds for name, study in studies.items()}
    gathered = pieces.gather([piece for row in attacks.values() for piece in row.values()], run, settings)
    if gathered.is_partial:
        return gathered.summary()
    results, summary = {}, {}
    for name, study in studies.items():
        by_arm = {key: piece for seed in seeds for key, piece in attacks[name, seed].items()}
        result = measure(study, by_arm, gathered)
        if result is None:
            run.log(f"{name}: no attack with alpha = 2 has finished")
            continue
        results[name] = result
        print(finding_text(name, result))
        summary[name] = {row["title"]: row["comparison"] for row in result["arms"] if "comparison" in row}
        picture = draw(run, name, result, finding_text(name, result))
        if settings.publish and run.is_main:
            page.write(
                name,
                result | _accuracy(study, by_arm) | {"provenance": gathered.provenance(stamp, *by_arm.values())},
                picture,
            )
    if results:
        run.table(
            "distances", *distance_table(results), "Median L2 distance after so many queries, other norms at the end"
        )
        run.table("ratios", *ratio_table(results), "Ratios to alpha = 2 after so many queries")
        run.table("comparison", *comparison_table(results), "Paired over images with alpha = 2, at the full budget")
    return summary | gathered.summary()


def measure(study: Study, attacks: dict, gathered: pieces.Gathered) -> dict | None:
    """Returns the published form of a study; None without a baseline.

    Args:
      study: what is compared.
      attacks: its pieces by arm and seed.
      gathered: what there is of them.
    """
    finished = {key: gathered[piece] for key, piece in attacks.items() if piece in gathered}
    result = comparison.compare(finished)
    if result is None:
        return None
    names = ("victim", "width", "images", "budget", "delta", "eps")
    return {
        "title": study.title,
        **{name: getattr(study.attack, name) for name in names},
        **result,
        "missing": [f"{arm.title}, seed {seed}" for arm, seed in attacks if (arm, seed) not in finished],
        "attacked_at": sorted({commit for attack in finished.values() for commit in attack.commits}),
    }


def _accuracy(study: Study, attacks: dict) -> dict:
    """How many of its test images the victim gets right, before any attack."""
    attack = next(iter(attacks.values())).settings
    victim = victims.open_victim(attack.victim, attack.checkpoint, attack.dataset, attack.width)
    return {"accuracy": victims.accuracy(victim), "test_images": len(victim.images)}


def draw(run: app.Run, name: str, result: dict, caption: str):
    """Leaves the picture of a study; returns its path."""
    from projects.levy_attack import plots  # matplotlib takes seconds to import

    figure = plots.draw_study(result)
    path = run.plot(name, figure, caption)
    plots.plt.close(figure)
    return path


if __name__ == "__main__":
    app.run(main, StudyConfig, transient=lambda flags: publishing.only_renders(flags) or pieces.only_looks(flags))
