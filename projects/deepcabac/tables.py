"""The tables of the paper, measured here: LeNet-300-100 and LeNet5 (three seeds), Small-VGG16, EfficientNet-Lite0.

--scale=small trains a tiny LeNet on scikit-learn's digits, to see it all work in about a minute. --scale=full takes
trained networks from runs/, or trains what is missing (hours), and searches settings on images kept apart. Each network
is a piece that is kept: a killed run goes on with the next. --publish puts results into the project's `results/`.
"""

import dataclasses
import functools
import pathlib
import subprocess
import sys

import numpy as np

from common import app, config, files, publishing
from common import config as config_lib
from common.datasets import locate
from common.runs import provenance, run_directory
from common.training import checkpoint
from projects.deepcabac import baselines, compress, evaluation, plots, published, quantization, sensitivity
from projects.deepcabac.compress import CompressConfig
from projects.deepcabac.config import TrainConfig
from projects.deepcabac.page import page
from projects.deepcabac.search import Candidate, Search

TRAINED = pathlib.Path("runs") / "deepcabac.train"
FLAGS = pathlib.Path(__file__).parent / "flags"
# Name of a point -> (tolerance, caution): the first barely loses accuracy, the second is the paper's half a point.
POINTS = {"accuracy first": (0.001, 1.0), "half a point": (0.005, 1.0)}
# Name of a point -> share of float32: the most accurate file, on images kept apart, that fits into it.
BUDGETS = {"lenet_300_100": {"best in 1 %": 0.01}, "lenet5": {"best in 0.7 %": 0.007}}
LENET5_POINTS = {"accuracy first": (0.0025, 1.0), "half a point": (0.005, 1.0)}  # chosen on images kept apart
TINY = TrainConfig(
    dataset="digits", width=0.2, epochs=12, batch_size=32, learning_rate=3e-3, kl_weight=0.2, kl_start=2, kl_warmup=4
)
SENSITIVITY_IMAGES = 200
HALF_A_POINT = {"half a point": (0.005, 0.5)}  # a whole standard error on 500 photographs is more than that
PUBLISHED_EPSILON = 1e-3  # of EfficientNet-Lite0's batch normalisation


@dataclasses.dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Which tables, and how large."""

    table: tuple[str, ...] = config.field(
        ("lenet", "vgg", "efficientnet", "coders"), "which tables; coders shows the published ones beside other coders",
        choices=("lenet", "vgg", "efficientnet", "coders"),
    )  # fmt: skip
    scale: str = config.field(
        "small", "small: a minute, on digits; full: the networks themselves", choices=("small", "full")
    )
    seeds: tuple[int, ...] = config.field((0, 1, 2), "seeds of the LeNets", minimum=0)
    publish: bool = config.field(False, "put results and pictures into the project's results/ (with --scale=full)")
    render_readme: bool = config.field(False, "only write the published results into README.md")
    jobs: int | None = config.field(None, "threads of the coder (none: one a core)", minimum=1, identity=False)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One network of a table.

    Attributes:
      name: of the network, and of its result.
      trainings: seed -> its training; empty for a published network.
      searches: methods to try, each with flags of compress that differ from the default.
      points: name -> (tolerance, caution).
      budgets: further points, name -> share of the original size.
    """

    name: str
    trainings: dict[int, TrainConfig]
    searches: dict[str, dict]
    points: dict[str, tuple[float, float]]
    budgets: dict[str, float] = dataclasses.field(default_factory=dict)


def experiments(settings: TablesConfig) -> list[Experiment]:
    """Returns the networks that a config asks for."""
    both = {"dc_v1": {}, "dc_v2": {}}
    if settings.scale == "small":
        tiny = {settings.seeds[0]: dataclasses.replace(TINY, seed=settings.seeds[0])}
        return [Experiment("lenet_300_100", tiny, both, POINTS)] if "lenet" in settings.table else []
    found = []
    if "lenet" in settings.table:
        for name, points in (("lenet_300_100", POINTS), ("lenet5", LENET5_POINTS)):
            trainings = {seed: from_flagfile(name, seed) for seed in settings.seeds}
            found.append(Experiment(name, trainings, both, points, BUDGETS[name]))
    if "vgg" in settings.table:
        options = {"dc_v2": {"fold_batch_norm": 1e-5, "rate_weights": (0.03, 0.1)}}
        found.append(Experiment("small_vgg16", {0: from_flagfile("small_vgg16_quarter", 0)}, options, POINTS))
    if "efficientnet" in settings.table:
        options = {
            "fold_batch_norm": PUBLISHED_EPSILON, "importance_is": "layers", "rate_weights": (0.1,),
            "step_octaves": (-5.5, -4.5), "views": 2,
        }  # fmt: skip
        found.append(Experiment("efficientnet_lite0", {}, {"dc_v1": options}, HALF_A_POINT))
    return found


def from_flagfile(name: str, seed: int) -> TrainConfig:
    """Returns the training of `flags/NAME.flags` with another seed."""
    (training,) = config_lib.parse(["train", f"--flagfile={FLAGS / name}.flags", f"--seed={seed}"], TrainConfig)
    return training


def main(settings: TablesConfig, run: app.Run) -> dict:
    """Measures every network that is asked for, writes tables and pictures, and returns the means."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    measured = {}
    for experiment in experiments(settings):
        piece = run.path / "pieces" / f"{experiment.name}.json"
        if (result := files.read_json(piece)) is None:
            result = measure(experiment, settings, run)
            files.write_json(piece, result)
        measured[experiment.name] = result
        if settings.publish and settings.scale == "full":
            published.write(experiment.name, result, run.plots / f"{experiment.name}.png")
    shown = measured or published.load()
    columns, rows = published.summary_rows(shown)
    run.table("summary", columns, rows, "Compressed networks")
    print("\n".join(" | ".join(row) for row in [columns, *rows]))
    if "coders" in settings.table:
        run.table("coders", *published.coder_rows(shown), "The integers of the first point by other coders, in bytes")
    return {
        name: {
            "percent_of_original": first["mean_percent"],
            "test_accuracy": 100 * first["mean_accuracy"],
            "test_accuracy_before": 100 * first["mean_accuracy_before"],
        }
        for name, first in ((name, next(iter(result["points"].values()))) for name, result in measured.items())
    }


def measure(experiment: Experiment, settings: TablesConfig, run: app.Run) -> dict:
    """Compresses every trained network of an experiment and returns its published form."""
    rows: dict[str, list] = {point: [] for point in (*experiment.points, *experiment.budgets)}
    picture = coders = None
    sources = experiment.trainings or {0: None}
    for seed, training in sources.items():
        folder = trained(training, run) if training else published_weights(run)
        found = compress_all(experiment, folder, seed, settings, run)
        for point, row in found["rows"].items():
            rows[point].append(row)
        if picture is None:
            picture, coders, about = found["picture"], found["coders"], found["about"]
    title = f"{published.TITLES[experiment.name]} on {about['dataset']}" + (
        f", seed {min(sources)}" if len(sources) > 1 else ""
    )
    figure = picture(title)
    run.plot(experiment.name, figure, f"Rate and accuracy of {title}; the same integers by other coders.")
    plots.plt.close(figure)
    points = {
        point: {
            **asked_of(experiment, point),
            "mean_bytes": float(np.mean([row["bytes"] for row in seeds])),
            "mean_percent": float(np.mean([row["percent"] for row in seeds])),
            "mean_accuracy_before": float(np.mean([row["test_accuracy_before"] for row in seeds])),
            "mean_accuracy": float(np.mean([row["test_accuracy"] for row in seeds])),
            "seeds": seeds,
        }
        for point, seeds in rows.items()
    }
    return {"network": experiment.name, **about, "points": points, "coders": coders, "provenance": provenance.stamp()}


def compress_all(experiment: Experiment, folder: pathlib.Path, seed: int, settings: TablesConfig, run: app.Run) -> dict:
    """Returns rows by point for one set of weights, the first point's other coders, and how to draw it."""
    original = checkpoint.load_tree(folder)
    original_bytes = sum(array.nbytes for array in checkpoint.weight_files.flatten(original).values())
    searches, judge = {}, None
    for method, options in experiment.searches.items():
        if options.get("importance_is") == "layers":
            options = options | {"importance": str(measured_sensitivity(folder, options, run))}
        chosen = CompressConfig(
            checkpoint=str(folder), output="none", search=method, jobs=settings.jobs, **options, **names_of(experiment)
        )
        judge = judge or compress.make_evaluator(chosen)
        network = compress.make_network(chosen, original, compress.importance_path(chosen))
        cache = run.checkpoints / f"{experiment.name}_{seed}_{method}.jsonl"
        search = Search(
            network,
            functools.partial(judge.correct_many, split="validation"),
            cache,
            run,
            f"{experiment.name} seed {seed} {method}",
            judge.views,
        )
        searches[method] = (chosen, search)
    before, rows, stars, coders = judge.correct(original, "test"), {}, {}, None
    for point, (tolerance, caution) in experiment.points.items():
        best: tuple[str, Search, Candidate] | None = None
        for method, (chosen, search) in searches.items():
            chosen = dataclasses.replace(chosen, tolerance=tolerance, caution=caution)
            candidate = compress.smallest(chosen, search)
            if best is None or candidate.bytes < best[2].bytes:
                best = (method, search, candidate)
        method, search, candidate = best
        data = quantization.encode(search.network, candidate.rule)
        after = judge.correct(quantization.verify(search.network, candidate.rule, data), "test")
        rows[point] = row_of(seed, method, search, candidate, original_bytes, before, after)
        files.write_atomically(run.path / "files" / f"{experiment.name}_{seed}_{point.replace(' ', '_')}.dcb", data)
        if coders is None:
            coders, drawn = baselines.measure(data), search
        if search is drawn:
            stars[point] = candidate
    for point, share in experiment.budgets.items():
        method, search, candidate = most_accurate(searches, share * original_bytes)
        data = quantization.encode(search.network, candidate.rule)
        after = judge.correct(quantization.verify(search.network, candidate.rule, data), "test")
        rows[point] = row_of(seed, method, search, candidate, original_bytes, before, after)
        if search is drawn:
            stars[point] = candidate
    about = {
        "dataset": judge.data.name,
        "source": judge.data.description,
        "float32_bytes": coders.sizes[baselines.FLOAT32],
        "images": {
            "kept_apart": len(judge.validation.images) // judge.views,
            "views": judge.views,
            "test": len(judge.test.images),
        },
        "coder_versions": dict(coders.versions),
    }
    return {
        "rows": rows,
        "coders": dict(coders.sizes),
        "about": about,
        "picture": lambda title: plots.result_picture(drawn, stars, original_bytes, coders, title),
    }


def asked_of(experiment: Experiment, point: str) -> dict:
    """Returns what a result file says of how a point was chosen."""
    if point in experiment.budgets:
        return {"share_of_original": experiment.budgets[point]}
    return dict(zip(("tolerance", "caution"), experiment.points[point], strict=True))


def most_accurate(searches: dict, budget: float) -> tuple[str, Search, Candidate]:
    """Returns (method, search, candidate): the most accurate on images kept apart of at most `budget` bytes; of equals
    the largest, whose weights are closest to the original.

    Raises:
      ValueError: no candidate is that small.
    """
    fitting = [
        (search.accuracy(candidate), candidate.bytes, method)
        for method, (_, search) in searches.items()
        for candidate in search.evaluated()
        if candidate.bytes <= budget
    ]
    if not fitting:
        raise ValueError(f"no candidate of the search has at most {budget:.0f} bytes")
    _, size, method = max(fitting)
    search = searches[method][1]
    found = [c for c in search.evaluated() if c.bytes == size]
    return method, search, max(found, key=search.accuracy)


def row_of(seed, method, search: Search, candidate: Candidate, original_bytes: int, before, after) -> dict:
    """Returns what a result file says of one file."""
    low, high = evaluation.paired_interval(before, after)
    return {
        "seed": seed,
        "method": method,
        "rule": dataclasses.asdict(candidate.rule),
        "bytes": candidate.bytes,
        "percent": 100 * candidate.bytes / original_bytes,
        "validation_accuracy_before": search.reference_accuracy,
        "validation_accuracy": search.accuracy(candidate),
        "test_accuracy_before": float(before.mean()),
        "test_accuracy": float(after.mean()),
        "difference_95_percent": [low, high],
        "candidates_evaluated": len(search.evaluated()),
    }


def measured_sensitivity(folder: pathlib.Path, options: dict, run: app.Run) -> pathlib.Path:
    """Returns the file of Fisher informations of EfficientNet-Lite0 on photographs kept apart, measured once."""
    output = run.path / "sensitivity.safetensors"
    if not output.is_file():
        asked = sensitivity.SensitivityConfig(
            checkpoint=str(folder), output=str(output), model="efficientnet_lite0", dataset="imagenet_samples",
            images=SENSITIVITY_IMAGES, fold_batch_norm=options["fold_batch_norm"],
        )  # fmt: skip
        sensitivity.main(asked, dataclasses.replace(run, path=run.path / "sensitivity"))
    return output


def names_of(experiment: Experiment) -> dict:
    """Returns model and data set of a network that no training of ours describes."""
    return {} if experiment.trainings else {"model": "efficientnet_lite0", "dataset": "imagenet_samples"}


def trained(training: TrainConfig, run: app.Run) -> pathlib.Path:
    """Returns a finished run of a training: one that lies in runs/, or a fresh one.

    Raises:
      ValueError: the training failed.
    """
    wanted = config_lib.to_texts(training, identity_only=True)
    for path in sorted(TRAINED.glob("*/result.json")):
        text = (path.parent / "flags.txt").read_text()
        flags = dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("--"))
        if (path.parent / "model.safetensors").is_file() and wanted.items() <= flags.items():
            return path.parent
    folder = run_directory.default_path(training, "deepcabac.train")
    run.log(f"no finished training of this kind in {TRAINED}: training into {folder}")
    arguments = [f"--{name}={text}" for name, text in config_lib.to_texts(training).items()]
    command = [sys.executable, "-m", "projects.deepcabac.train", f"--run_dir={folder.absolute()}", *arguments]
    if (code := subprocess.run(command, cwd=provenance.ROOT, check=False).returncode) != 0:
        raise ValueError(f"the training ended with exit code {code}; its message stands above ({' '.join(command)})")
    return folder


def published_weights(run: app.Run) -> pathlib.Path:
    """Returns the weights of EfficientNet-Lite0 in our names, converted from the published file once.

    Raises:
      FileNotFoundError: the published file is not in $DATA_DIR.
    """
    root = locate.data_dir(None)
    source = root / "efficientnet_lite0" / "efficientnet_lite0.npz" if root else None
    if source is None or not source.is_file():
        raise FileNotFoundError(
            "the weights of EfficientNet-Lite0 are not there: set DATA_DIR to the folder that holds "
            "efficientnet_lite0/efficientnet_lite0.npz"
        )
    converted = run.path / "efficientnet_lite0.safetensors"
    if not converted.is_file():
        from common.models import efficientnet

        arrays = checkpoint.weight_files.flatten(checkpoint.load_tree(source))
        checkpoint.save_tree(converted, efficientnet.convert_published(arrays))
    return converted


if __name__ == "__main__":
    app.run(main, TablesConfig, transient=publishing.only_renders)
