"""The tables of the paper, measured here: LeNet-300-100 and LeNet5 (three seeds), Small-VGG16, EfficientNet-Lite0.

--scale=small trains a tiny LeNet on scikit-learn's digits, to see it all work in about a minute. --scale=full takes
trained networks from runs/, or trains what is missing (hours), and searches settings on images kept apart. Trainings
are pieces of their own, and each network measured is kept: a killed study goes on with the next.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from common import app, config, files, publishing, weight_files
from common.runs import provenance
from common.study import other_coders, parts, pieces, statistics
from common.study.pieces import Gathered, Piece
from projects.deepcabac import compress, plots, quantization, search
from projects.deepcabac.candidates import Candidate, Candidates
from projects.deepcabac.config import FLAGS, CompressConfig, TrainConfig, training_of
from projects.deepcabac.network import load_network
from projects.deepcabac.page import TITLES, coder_table, page, summary_table
from projects.deepcabac.sensitivity import SensitivityConfig

TABLES = ("lenet", "vgg", "efficientnet")
TINY = TrainConfig(
    dataset="digits", width=0.2, epochs=12, batch_size=32, learning_rate=3e-3, kl_weight=0.2, kl_start=2, kl_warmup=4
)
MEANS = ("bytes", "percent", "test_accuracy_before", "test_accuracy")  # over seeds, in the published form
SENSITIVITY_IMAGES = 200
PUBLISHED = "efficientnet_lite0"
PHOTOGRAPHS = {"model": PUBLISHED, "dataset": "imagenet_samples", "fold_batch_norm": 1e-3}  # its epsilon


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(publishing.StudyConfig):
    """Which tables, and how large."""

    table: tuple[str, ...] = config.field(TABLES, "which tables", choices=TABLES)
    pieces: str = pieces.field()
    jobs: int | None = config.field(None, "threads of the coder (none: one a core)", minimum=1, identity=False)


@dataclasses.dataclass(frozen=True)
class Point:
    """How one file of a network is chosen on images kept apart: the smallest within a tolerance of accuracy (see
    `search.smallest`), or the most accurate within a share of the original size."""

    tolerance: float | None = None
    caution: float | None = None
    share_of_original: float | None = None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One network of a table.

    Attributes:
      name: of the network, and of its result.
      trainings: pieces, one a seed; none for a published network.
      searches: methods to try, each with flags of compress that differ from the default.
      points: name -> point; other coders get the file of the first.
      needs: pieces beside the trainings.
    """

    name: str
    trainings: tuple[Piece, ...]
    searches: Mapping[str, Mapping]
    points: Mapping[str, Point]
    needs: tuple[Piece, ...] = ()

    @property
    def sources(self) -> dict[int, str]:
        """Seed -> where the weights are."""
        return {piece.settings.seed: str(piece.path) for piece in self.trainings} or {0: self.name}


# "accuracy first" barely loses accuracy, "half a point" is the paper's. LeNet5's were chosen on images kept apart.
HALF_A_POINT = Point(0.005, 1.0)
POINTS = {"accuracy first": Point(0.001, 1.0), "half a point": HALF_A_POINT}
LENET_POINTS = {
    "lenet_300_100": POINTS | {"best in 1 %": Point(share_of_original=0.01)},
    "lenet5": {
        "accuracy first": Point(0.0025, 1.0), "half a point": HALF_A_POINT,
        "best in 0.7 %": Point(share_of_original=0.007),
    },
}  # fmt: skip
BOTH = {"dc_v1": {}, "dc_v2": {}}


def experiments(settings: StudyConfig) -> list[Experiment]:
    """Returns the networks of the tables that a config names."""
    runs, seeds, networks = settings.runs, settings.seeds, []
    if settings.scale == "small":
        training = pieces.for_seeds(Piece("small", "deepcabac.train", TINY, runs=runs), seeds[:1])
        return [Experiment("lenet_300_100", training, BOTH, POINTS)] if "lenet" in settings.table else []
    if "lenet" in settings.table:
        for name, points in LENET_POINTS.items():
            networks.append(Experiment(name, _trainings(name, seeds, runs), BOTH, points))
    if "vgg" in settings.table:
        options = {"dc_v2": {"fold_batch_norm": 1e-5, "rate_weights": (0.03, 0.1)}}
        networks.append(Experiment("small_vgg16", _trainings("small_vgg16_quarter", (0,), runs), options, POINTS))
    if "efficientnet" in settings.table:
        importances = _sensitivity(runs)
        options = PHOTOGRAPHS | {
            "importance": importances.settings.output, "importance_is": "layers", "rate_weights": (0.1,),
            "step_octaves": (-5.5, -4.5), "views": 2,
        }  # fmt: skip
        # A whole standard error on 500 photographs is more than half a point.
        points = {"half a point": Point(0.005, 0.5)}
        networks.append(Experiment(PUBLISHED, (), {"dc_v1": options}, points, (importances,)))
    return networks


def _trainings(name: str, seeds: tuple[int, ...], runs: str) -> tuple[Piece, ...]:
    training = training_of(FLAGS / f"{name}.flags", seeds[0])
    return pieces.for_seeds(Piece(name, "deepcabac.train", training, runs=runs), seeds)


def _sensitivity(runs: str) -> Piece:
    verb = "deepcabac.sensitivity"
    output = f"{runs}/{verb}/{PUBLISHED}/sensitivity.safetensors"
    settings = SensitivityConfig(checkpoint=PUBLISHED, output=output, images=SENSITIVITY_IMAGES, **PHOTOGRAPHS)
    return Piece(PUBLISHED, verb, settings, runs=runs)


def main(settings: StudyConfig, run: app.Run) -> dict:
    """Measures every network of the tables, leaves tables and pictures, and returns the means."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    stamp = page.stamp() if settings.publish else provenance.stamp()  # first: publishing itself changes the tree
    networks = experiments(settings)
    gathered = pieces.gather([piece for item in networks for piece in (*item.trainings, *item.needs)], run, settings)
    if gathered.is_partial:
        return gathered.summary()
    results = {}
    for item in networks:
        if is_ready(item, gathered, run):
            make = functools.partial(
                measure, item, settings, run, gathered.provenance(stamp, *item.trainings, *item.needs)
            )
            results[item.name] = parts.part(run, item.name, make)
            if settings.publish and run.is_main:
                page.write(item.name, results[item.name], run.plots / f"{item.name}.png")
    columns, rows = summary_table(results)
    print("\n".join(" | ".join(row) for row in [columns, *rows]))
    run.table("summary", columns, rows, "Compressed networks")
    run.table("coders", *coder_table(results), "The integers of the first point by other coders, in bytes")
    first_points = {name: next(iter(result["points"].values())) for name, result in results.items()}
    return gathered.summary() | {
        name: {
            "percent_of_original": point["mean_percent"],
            "test_accuracy": 100 * point["mean_accuracy"],
            "test_accuracy_before": 100 * point["mean_accuracy_before"],
        }
        for name, point in first_points.items()
    }


def is_ready(experiment: Experiment, gathered: Gathered, run: app.Run) -> bool:
    """Returns whether all pieces of an experiment are there; says so where it is left out."""
    absent = [piece.key for piece in (*experiment.trainings, *experiment.needs) if piece not in gathered]
    if absent:
        run.log(f"{experiment.name} is left out: {', '.join(absent)} is missing")
    return not absent


def measure(experiment: Experiment, settings: StudyConfig, run: app.Run, stamp: dict) -> dict:
    """Compresses every network of an experiment, draws the first seed, and returns the published form."""
    measurements = {
        seed: measure_network(experiment, seed, source, settings, run) for seed, source in experiment.sources.items()
    }
    seed, first = next(iter(measurements.items()))
    title = f"{TITLES[experiment.name]} on {first.about['dataset']}"
    title += f", seed {seed}" if len(measurements) > 1 else ""
    plots.draw_result(run, experiment.name, title, first.drawing)
    points = {}
    for label, point in experiment.points.items():
        rows = [item.rows[label] for item in measurements.values()]
        mean = {f"mean_{key.removeprefix('test_')}": float(np.mean([row[key] for row in rows])) for key in MEANS}
        demand = {name: value for name, value in dataclasses.asdict(point).items() if value is not None}
        points[label] = demand | mean | {"seeds": rows}
    coders = first.drawing.coders
    about = first.about | {"float32_bytes": coders.bytes[other_coders.FLOAT32], "coder_versions": dict(coders.versions)}
    sizes = dict(coders.bytes)
    return {"network": experiment.name, **about, "points": points, "coders": sizes, "provenance": stamp}


class Measurement(NamedTuple):
    """One set of weights. Attributes: rows, by point; about, its images; drawing, what the picture shows."""

    rows: dict[str, dict]
    about: dict
    drawing: plots.Drawing


def measure_network(experiment: Experiment, seed: int, source: str, settings: StudyConfig, run: app.Run) -> Measurement:
    """Compresses one set of weights to every point, and measures the files on the test images."""
    searches = {
        method: CompressConfig(checkpoint=source, output="none", search=method, jobs=settings.jobs, **options)
        for method, options in experiment.searches.items()
    }
    judge = compress.judge_of(next(iter(searches.values())))
    candidates = {}
    for method, search_settings in searches.items():
        original, network = load_network(search_settings, run)
        cache = run.checkpoints / f"{experiment.name}_{seed}_{method}.jsonl"
        candidates[method] = compress.open_candidates(search_settings, network, judge, cache)
    original_bytes = sum(array.nbytes for array in weight_files.flatten(original).values())
    before, rows, stars, coders, drawn_method = judge.correct(original, judge.test), {}, {}, None, ""
    for label, point in experiment.points.items():
        method, best = choose(point, searches, candidates, original_bytes, run)
        own = candidates[method]
        data = quantization.encode(own.network, best.rule)
        after = judge.correct(quantization.verify(own.network, best.rule, data), judge.test)
        percent = 100 * best.bytes / original_bytes
        rows[label] = {"seed": seed, "method": method, "percent": percent} | row_of(own, best, before, after)
        files.write_atomically(run.path / "files" / f"{experiment.name}_{seed}_{label.replace(' ', '_')}.dcb", data)
        if coders is None:
            coders, drawn_method = other_coders.measure(data), method
        if method == drawn_method:
            stars[label] = best
    views = next(iter(searches.values())).views
    images = {"kept_apart": len(judge.validation.images) // views, "views": views, "test": len(judge.test.images)}
    about = {"dataset": judge.data.name, "source": judge.data.description, "images": images}
    return Measurement(rows, about, plots.Drawing(candidates[drawn_method], stars, original_bytes, coders))


def choose(
    point: Point,
    searches: Mapping[str, CompressConfig],
    candidates: Mapping[str, Candidates],
    original_bytes: int,
    run: app.Run,
) -> tuple[str, Candidate]:
    """Returns the method and the candidate of a point: of several methods, the smaller or more accurate file."""
    if point.share_of_original is not None:
        return search.most_accurate(candidates, point.share_of_original * original_bytes)
    best = {}
    for method, settings in searches.items():
        demand = dataclasses.replace(settings, tolerance=point.tolerance, caution=point.caution)
        best[method] = search.smallest(candidates[method], demand, run)
    return min(best.items(), key=lambda item: item[1].bytes)


def row_of(candidates: Candidates, best: Candidate, before: np.ndarray, after: np.ndarray) -> dict:
    """Returns what a result file says of one file.

    Args:
      candidates: of the search.
      best: the file's candidate.
      before, after: bool [images], which test images are classified rightly.
    """
    return {
        "rule": dataclasses.asdict(best.rule),
        "bytes": best.bytes,
        "validation_accuracy_before": candidates.reference_accuracy,
        "validation_accuracy": candidates.accuracy(best),
        "test_accuracy_before": float(before.mean()),
        "test_accuracy": float(after.mean()),
        "difference_95_percent": list(statistics.accuracy_difference(before, after)),
        "candidates_evaluated": len(candidates.evaluated()),
    }


def only_looks(settings: StudyConfig) -> bool:
    """Returns whether a call renders or lists only, and may answer otherwise tomorrow."""
    return publishing.only_renders(settings) or pieces.only_looks(settings)


if __name__ == "__main__":
    app.run(main, StudyConfig, transient=only_looks)
