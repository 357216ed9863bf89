"""Draws an analysis as one page: of each class the clusters with their mean maps, medoids and images, and the ranking.

`--ranking` adds tau beside its null. Statistics of each cluster stand in a table: image brightness and contrast tell
clusters that mirror an exposure from those of a strategy, wrong predictions those of label errors.
"""

import dataclasses
import pathlib

import numpy as np

from common import app, config, explorer_files, files
from projects.spray import analyze, maps_files, pictures, rank, strategies


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """One analysis."""

    analysis: str = config.field(help="run directory of spray.analyze")
    ranking: str | None = config.field(None, "run directory of spray.rank on it")
    shown_clusters: int | None = config.field(
        None, "number of clusters to show (none: of the most separable)", minimum=2
    )
    planted: str | None = config.field(None, "planted.npy of spray.explain: ringed in the pictures")


def main(settings: ReportConfig, run: app.Run) -> dict:
    """Draws every class; returns what the tables hold."""
    classes = rank.classes_of(settings.analysis)
    flags = config.read_flagfile(pathlib.Path(settings.analysis) / "flags.txt", analyze.AnalyzeConfig)
    how = analyze.AnalyzeConfig(**flags)
    maps = maps_files.read(how.attribution, how.labels, run)
    source = analyze.images_of(how)
    samples = explorer_files.read_dataset(source) if source else None
    planted = planted_of(settings, len(maps.labels), run)
    rows, result = [], {}
    with run.progress(len(classes), "classes") as progress:
        for number, path in classes.items():
            one = analyze.load(path)
            k = shown_clusters(settings, one.strategies)
            images = None if samples is None else np.asarray(samples.images)[one.index]
            marked = None if planted is None else planted[one.rows]
            pictures.draw_class(run, number, one.strategies, k, marked)
            pictures.draw_clusters(run, number, one.strategies, k, maps.relevance[one.rows], images)
            statistics = statistics_of(one, k, maps, images, number)
            result[str(number)] = statistics
            rows += [[number, cluster, *row.values()] for cluster, row in enumerate(statistics)]
            progress.update(1)
    ranking = ranking_of(settings, run)  # first: where to look
    columns = ["class", "cluster", *next(iter(result.values()))[0]]
    note = "tau: separability; relevance: mean sum of a map; brightness, contrast: of pixels from 0 to 1"
    run.table("clusters", columns, rows, "Clusters and what their images have in common", note)
    return {"classes": result, **({"ranking": ranking} if ranking else {})}


def shown_clusters(settings: ReportConfig, one: strategies.Strategies) -> int:
    """Returns how many clusters of a class are shown: that of the most separable one, whose tau ranks the class."""
    return settings.shown_clusters or strategies.highest(one)[1] or one.k


def planted_of(settings: ReportConfig, count: int, run: app.Run) -> np.ndarray | None:
    """Returns which maps are of images with a planted artifact, bool `[n]`, None where nobody says."""
    if settings.planted is None:
        return None
    planted = maps_files.array(pathlib.Path(settings.planted))
    if planted.dtype != bool or planted.shape != (count,):
        raise ValueError(
            f"--planted={settings.planted}: {planted.dtype} {planted.shape}; expected bool, {count} of them"
        )
    run.inputs(settings.planted)
    return planted


def statistics_of(one: analyze.ClassFile, k: int, maps, images: np.ndarray | None, number: int) -> list[dict]:
    """Returns for each cluster its size, share, separability, and means over its samples."""
    labels = one.strategies.labels.get(k, np.zeros(len(one.index), np.int64))
    separability = one.strategies.separability.get(k, np.full(labels.max() + 1, np.nan))
    rows = []
    for cluster in range(labels.max() + 1):
        members = labels == cluster
        row = {
            "maps": int(members.sum()), "share": float(members.mean()), "tau": float(separability[cluster]),
            "relevance": float(maps.relevance[one.rows[members]].sum(axis=(1, 2, 3)).mean()),
        }  # fmt: skip
        if maps.predictions is not None:
            predicted = maps.predictions[one.rows[members]]
            others = np.delete(predicted, number, axis=1) if number < predicted.shape[1] else predicted
            row["predicted otherwise"] = float((predicted.argmax(1) != number).mean())
            margin = predicted[:, number] - others.max(1) if number < predicted.shape[1] else np.full(1, np.nan)
            row["margin"] = float(margin.mean())
        if images is not None:
            pixels = images[members].reshape(members.sum(), -1) / 255
            row |= {"brightness": float(pixels.mean()), "contrast": float(pixels.std(1).mean())}
        rows.append(row)
    return rows


def ranking_of(settings: ReportConfig, run: app.Run) -> dict:
    """Draws and returns the ranking, {} without one."""
    if settings.ranking is None:
        return {}
    result = files.read_json(pathlib.Path(settings.ranking) / "result.json") or {}
    if "ranking" not in result:
        raise ValueError(f"--ranking={settings.ranking}: expected the run directory of a finished spray.rank")
    run.inputs(pathlib.Path(settings.ranking) / "result.json")
    rows = {int(number): row for number, row in result["ranking"].items()}
    run.table("classes", *rank.table(rows), rank.TITLE, rank.NOTE)  # before the table of clusters, by its name
    pictures.draw_ranking(run, rows)
    return {number: {name: value for name, value in row.items() if name != "draws"} for number, row in rows.items()}


if __name__ == "__main__":
    app.run(main, ReportConfig)
