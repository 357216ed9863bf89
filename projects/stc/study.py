"""The paper's comparisons: methods in environments of clients, each over seeds, with megabytes to a target accuracy.

--scale=small is a minute on scikit-learn's digits. --scale=full runs what is missing of the studies in runs/: an arm in
an environment is a piece with all its seeds, which can be killed and goes on. --pieces=take takes what is there.
--publish puts results into the project's `results/`.
"""

import dataclasses

from common import app, config, publishing
from common.study import pieces
from projects.stc import findings
from projects.stc.arms import SMALL, STUDIES, Study
from projects.stc.page import accuracy_table, ahead_table, claims_table, cost_table, page

PANELS = 3  # environments of a picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(publishing.StudyConfig):
    """Which studies, and what to do with their pieces."""

    seeds: tuple[int, ...] = config.field(
        (0, 1, 2, 3, 4), "of the simulations; a study takes its first ones", minimum=0
    )
    studies: tuple[str, ...] = config.field(("mnist",), "of --scale=full", choices=tuple(STUDIES))
    pieces: str = pieces.field()


def main(settings: StudyConfig, run: app.Run) -> dict:
    """Runs or takes the simulations, writes tables and pictures, and returns the claims with their verdicts."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    stamp = page.stamp() if settings.publish else None
    studies, runs = {name: STUDIES[name] for name in settings.studies}, settings.runs
    if settings.scale == "small":
        studies, runs = {"small": SMALL}, str(run.path / "runs")
    simulations = {name: study.pieces(settings.seeds, runs) for name, study in studies.items()}
    gathered = pieces.gather([piece for row in simulations.values() for piece in row.values()], run, settings)
    if gathered.is_partial:
        return gathered.summary()
    summary = {}
    for name, study in studies.items():
        result = findings.measure(study, simulations[name], gathered)
        if not result["environments"]:
            run.log(f"{name}: no simulation has finished")
            continue
        summary[name] = {"claims": result["claims"], "missing": result["missing"]}
        for claim in result["claims"]:
            print(f"{claim['verdict']}: {claim['claim']} ({claim['where']}): {claim['measured']}")
        tables(run, name, result)
        picture = draw(run, name, study, result, simulations[name], gathered)
        if settings.publish and run.is_main:
            stamped = result | {"provenance": gathered.provenance(stamp, *simulations[name].values())}
            page.write(name, stamped, picture)
    return summary | gathered.summary()


def tables(run: app.Run, name: str, result: dict) -> None:
    """Leaves the tables of a study in the run directory."""
    run.table(f"{name}_1_claims", *claims_table(result), f"{result['title']}: claims and bars")
    run.table(f"{name}_2_accuracy", *accuracy_table(result), "Test accuracy in %, with 95 % intervals over seeds")
    run.table(f"{name}_3_ahead", *ahead_table(result), "Points that STC is ahead")
    run.table(f"{name}_4_cost", *cost_table(result), "To the target accuracy, of an average client")


def draw(run: app.Run, name: str, study: Study, result: dict, simulations: dict, gathered: pieces.Gathered):
    """Leaves the picture of a study, its first environments; returns its path."""
    from projects.stc import plots  # matplotlib takes seconds to import

    panels, clients = [], {}
    for place in study.environments[:PANELS]:
        finished = {arm: simulations[place.name, arm] for arm in place.arms if simulations[place.name, arm] in gathered}
        results = [gathered[piece].result for piece in finished.values()]
        if results:
            panels.append((place.title, {
                one["method"]: [seed["curve"] for seed in one["seeds"].values()] for one in results
            }))  # fmt: skip
            clients[place.title] = results[0]["clients"]
    if not panels:
        return None
    figure = plots.draw_study(panels, clients)
    path = run.plot(name, figure, f"{result['title']}: means and 95 % intervals over seeds")
    plots.plt.close(figure)
    return path


if __name__ == "__main__":
    app.run(main, StudyConfig, transient=lambda flags: publishing.only_renders(flags) or pieces.only_looks(flags))
