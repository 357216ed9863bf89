"""The results of entropy-constrained training beside its baselines: LeNets on MNIST and Fashion-MNIST, Small-VGG16.

--scale=small trains a tiny LeNet on scikit-learn's digits, to see it all work in about a minute. --scale=full trains
what is missing in runs/ (hours). Every network, seed, method and alpha is a piece that is kept: a killed run goes on
with the next. --publish puts results into the project's `results/`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from common import app, config, datasets, files, models, publishing
from common import config as config_lib
from common.runs import provenance, run_directory
from common.training import checkpoint
from projects.entropy_training import baselines, hardening, plots, pretrain, published, train
from projects.entropy_training.config import TrainConfig
from projects.entropy_training.page import page
from projects.entropy_training.pretrain import PretrainConfig

FLAGS = pathlib.Path(__file__).parent / "flags"
TOLERANCE = 0.005  # of images kept apart: the paper's half a point
TINY_PRETRAIN = PretrainConfig(dataset="digits", width=0.3, epochs=15, batch_size=32, learning_rate=2e-3)
TINY = TrainConfig(
    dataset="digits", width=0.3, batch_size=32, levels=9, epochs=12, alpha=0.05, alpha_warmup=3, sharpness=(2.5, 40.0),
    tune_epochs=2,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Which tables, and how large."""

    table: tuple[str, ...] = config.field(("lenet_300_100",), "which networks", choices=tuple(published.TITLES))
    scale: str = config.field(
        "small", "small: a minute, on digits; full: the networks themselves", choices=("small", "full")
    )
    publish: bool = config.field(False, "put results and pictures into the project's results/ (with --scale=full)")
    render_readme: bool = config.field(False, "only write the published results into README.md")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One network of the tables.

    Attributes:
      name: of the network, and of its result.
      training: its entropy-constrained training; seed, alpha and checkpoint are replaced.
      pretraining: where it starts; None where the training names a checkpoint.
      alphas: seed -> weights of the rate that are tried.
      straight: seed -> weights of the rate for the straight-through baseline.
      densities: seed -> shares of weights for magnitude pruning.
      dense: a network in floating point to stand beside one that starts from a pruned network.
    """

    name: str
    training: TrainConfig
    pretraining: PretrainConfig | None
    alphas: dict[int, tuple[float, ...]]
    straight: dict[int, tuple[float, ...]]
    densities: dict[int, tuple[float, ...]]
    dense: PretrainConfig | None = None


def experiments(settings: TablesConfig) -> list[Experiment]:
    """Returns the networks that a config asks for."""
    if settings.scale == "small":
        return [
            Experiment("lenet_300_100", TINY, TINY_PRETRAIN, {0: (0.02, 0.1)}, {0: (0.05,)}, {0: (0.2,)}, TINY_PRETRAIN)
        ]
    every = {
        "lenet_300_100": Experiment(
            "lenet_300_100",
            from_flagfile("lenet_300_100", TrainConfig),
            from_flagfile("pretrain_lenet_300_100", PretrainConfig),
            {0: (0.25, 0.3, 0.2, 0.1, 0.4, 0.0), 1: (0.25, 0.3, 0.2), 2: (0.25, 0.3, 0.2)},
            {0: (0.1,)},
            {0: (0.03, 0.06)},
        ),
        "lenet5": Experiment(
            "lenet5",
            from_flagfile("lenet5", TrainConfig),
            from_flagfile("pretrain_lenet5", PretrainConfig),
            {0: (0.5, 0.3), 1: (0.5,), 2: (0.5,)},
            {0: (0.1,)},
            {0: (0.02, 0.05)},
        ),
        "small_vgg16": Experiment(
            "small_vgg16",
            from_flagfile("small_vgg16_quarter", TrainConfig),
            None,
            {0: (0.1,)},
            {},
            {},
            from_flagfile("pretrain_small_vgg16_quarter", PretrainConfig),
        ),
    }
    for name in ("lenet_300_100", "lenet5"):
        every[f"{name}_fashion"] = on_fashion(every[name])
    return [every[name] for name in settings.table]


def on_fashion(experiment: Experiment) -> Experiment:
    """Returns a LeNet's experiment on Fashion-MNIST, nothing chosen anew: does the alpha found on MNIST serve there?"""
    training, pretraining = (
        dataclasses.replace(asked, dataset="fashion_mnist") for asked in (experiment.training, experiment.pretraining)
    )
    seeds = (0, 1, 2) if experiment.name == "lenet_300_100" else (0,)
    alphas = {seed: (experiment.alphas[1][0],) for seed in seeds}
    return Experiment(f"{experiment.name}_fashion", training, pretraining, alphas, {}, {})


def from_flagfile(name: str, kind: type) -> Any:
    """Returns the config of `flags/NAME.flags`."""
    return config_lib.parse(["train", f"--flagfile={FLAGS / name}.flags"], kind)[0]


def main(settings: TablesConfig, run: app.Run) -> dict:
    """Measures every network that is asked for, writes tables and pictures, and returns the means."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    measured = {}
    for experiment in experiments(settings):
        result, pictures = measure(experiment, settings, run)
        measured[experiment.name] = result
        if settings.publish and settings.scale == "full":
            published.write(experiment.name, result, pictures)
    for name, rows in (("methods", published.method_rows), ("curve", published.curve_rows)):
        columns, cells = rows(measured)
        run.table(name, columns, cells, {"methods": "Smallest files within the tolerance", "curve": "Over alpha"}[name])
        print("\n".join(" | ".join(row) for row in [columns, *cells]))
    run.table("sizes", *published.size_rows(measured), "The first seed's file by every way to count, in bytes")
    return {
        name: {
            "ratio": result["methods"]["ect"]["mean_ratio"],
            "test_accuracy": 100 * result["methods"]["ect"]["mean_accuracy"],
            "float_test_accuracy": 100 * result["methods"]["ect"]["mean_accuracy_before"],
        }
        for name, result in measured.items()
    }


def measure(experiment: Experiment, settings: TablesConfig, run: app.Run) -> tuple[dict, dict[str, pathlib.Path]]:
    """Trains or finds every piece of an experiment; returns its published form and pictures."""
    base = pathlib.Path("runs") if settings.scale == "full" else run.path / "runs"
    curve: list[dict] = []
    starts = {seed: starting_point(experiment, seed, base, run) for seed in experiment.alphas}
    trainings = {
        seed: dataclasses.replace(experiment.training, seed=seed, checkpoint=str(start))
        for seed, start in starts.items()
    }
    for seed, alphas in experiment.alphas.items():
        training = trainings[seed]
        trained = [("ect", alpha, dataclasses.replace(training, alpha=alpha)) for alpha in alphas]
        trained += [
            ("ste", alpha, straight_through(dataclasses.replace(training, alpha=alpha)))
            for alpha in experiment.straight.get(seed, ())
        ]
        for method, alpha, asked in trained:
            name = f"{experiment.name}_seed{seed}_{method}_{alpha:g}"
            folder, result = finished("train", train.main, asked, base, name, run)
            curve.append(row_of(result, method, seed, alpha, folder))
    for seed, training in trainings.items():
        name = f"{experiment.name}_seed{seed}"
        curve += piece(run, name, functools.partial(baseline_rows, training, None, run))
        for density in experiment.densities.get(seed, ()):
            curve += piece(run, f"{name}_{density:g}", functools.partial(baseline_rows, training, density, run))
    chosen = {method: choose(curve, method) for method in published.METHODS}
    means = {method: mean_of(rows) for method, rows in chosen.items() if rows}
    if experiment.dense is not None:
        means["dense"] = mean_of([dense_row(experiment, base, run)])
    first = chosen["ect"][0]
    best = files.read_json(pathlib.Path(first["folder"]) / "result.json")
    figure = plots.trade_off(
        curve,
        chosen,
        published.network_of({"title": published.TITLES[experiment.name], "dataset": best["dataset"]}, ""),
    )
    picture = run.plot(
        experiment.name, figure, "Size and accuracy on images kept apart, over alpha, and the baselines."
    )
    plots.plt.close(figure)
    folder = pathlib.Path(first["folder"]) / "plots"
    pictures = {"": picture} | {f"_{name}": folder / f"{name}.png" for name in ("training", "centroids", "bits")}
    ect = means["ect"]
    smaller = 100 * (1 - ect["mean_bytes"] / means["uniform"]["mean_bytes"]) if "uniform" in means else None
    result = {
        "network": experiment.name,
        "title": published.TITLES[experiment.name],
        "dataset": best["dataset"],
        "width": experiment.training.width,
        "tolerance": TOLERANCE,
        "points": {"half a point": {key: ect[key] for key in ect if key != "seeds"} | {"seeds": ect["seeds"]}},
        "methods": means,
        "percent_smaller_than_uniform": smaller,
        "curve": curve,
        "bits": best["bits"],
        "layers": best["layers"],
        "provenance": provenance.stamp(),
    }
    return result, pictures


def starting_point(experiment: Experiment, seed: int, base: pathlib.Path, run: app.Run) -> pathlib.Path:
    """Returns the run directory of the floating-point network.

    Raises:
      ValueError: the flag file names a checkpoint that is not there.
    """
    if experiment.pretraining is None:
        path = pathlib.Path(experiment.training.checkpoint)
        if not path.exists():
            raise ValueError(f"{path} is missing: train it with the command that README.md names for it")
        return path
    asked = dataclasses.replace(experiment.pretraining, seed=seed)
    return finished("pretrain", pretrain.main, asked, base, f"{experiment.name}_seed{seed}", run)[0]


def dense_row(experiment: Experiment, base: pathlib.Path, run: app.Run) -> dict:
    """Returns the row of the dense network in floating point, as one that loses nothing."""
    name = f"{experiment.name}_dense_seed{experiment.dense.seed}"
    folder, result = finished("pretrain", pretrain.main, experiment.dense, base, name, run)
    return {
        "method": "dense", "seed": experiment.dense.seed, "alpha": None, "folder": str(folder),
        "bytes": 4 * result["values"], "ratio": 1.0, "percent": 100.0, "within_tolerance": True,
        "validation_accuracy": result["validation_accuracy"], "test_accuracy": result["test_accuracy"],
        "float_validation_accuracy": result["validation_accuracy"], "float_test_accuracy": result["test_accuracy"],
    }  # fmt: skip


def straight_through(training: TrainConfig) -> TrainConfig:
    """Returns the baseline `ste`: hard weights in the loss, the gradient of the bits at a fixed, soft beta."""
    return dataclasses.replace(training, parametrisation="ste", levels=33, sharpness=(1.0, 1.0))


def finished(
    verb: str, main: Callable[[Any, app.Run], dict], asked: Any, base: pathlib.Path, name: str, run: app.Run
) -> tuple[pathlib.Path, dict]:
    """Returns (run directory, result) of a verb, running it or the rest of it where it has not finished."""
    path = base / f"entropy_training.{verb}" / name
    opened = run_directory.open_run(path, asked, verb=f"entropy_training.{verb}", argv=["tables", name])
    try:
        if opened.result is not None:
            return path, opened.result
        run.log(f"{verb} {name}")
        return path, opened.finish(main(asked, opened))
    except app.Preempted:
        opened.stop("interrupted")
        raise
    finally:
        opened.close()


def piece(run: app.Run, name: str, make: Callable[[], list[dict]]) -> list[dict]:
    """Returns rows kept in `run.path`/pieces, made when missing."""
    path = run.path / "pieces" / f"{name}.json"
    kept = files.read_json(path)
    if kept is None:
        kept = {"rows": files.clean(make())}
        files.write_json(path, kept)
    return kept["rows"]


def row_of(result: dict, method: str, seed: int, alpha: float, folder: pathlib.Path) -> dict:
    """Returns what a result file says of one training."""
    names = (
        "bytes", "ratio", "validation_accuracy", "test_accuracy", "float_validation_accuracy", "float_test_accuracy",
        "nonzero_percent", "hard_validation_accuracy",
    )  # fmt: skip
    return {"method": method, "seed": seed, "alpha": alpha, "folder": str(folder)} | {
        name: result[name] for name in names
    }


def baseline_rows(training: TrainConfig, density: float | None, run: app.Run) -> list[dict]:
    """Returns a row for every candidate on the network that a training starts from, the best with its test accuracy.

    Without a density: uniform steps and weighted Lloyd. With one: uniform steps after pruning to this share of weights.
    """
    data = pretrain.load_dataset(training.dataset)
    split, validation = datasets.split_validation(data, training.validation_images)
    test = datasets.Split(data.test_images, data.test_labels)
    correct = hardening.make_judge(training, data)
    weights = checkpoint.load_tree(training.checkpoint)

    def accuracy(weights: dict, part: datasets.Split = validation) -> float:
        return float(correct(weights, part).mean())

    before = {"float_validation_accuracy": accuracy(weights), "float_test_accuracy": accuracy(weights, test)}
    wanted = before["float_validation_accuracy"] - TOLERANCE
    values, rows = models.count(weights), []

    def add(method: str, candidates: list[baselines.Candidate]) -> None:
        best = baselines.smallest(candidates, wanted)
        for tried in candidates:
            rows.append({
                "method": method, "seed": training.seed, "alpha": None, "bytes": tried.bytes,
                "ratio": 4 * values / tried.bytes, "validation_accuracy": tried.accuracy, **tried.rule, **before,
                "test_accuracy": accuracy(tried.decoded, test) if tried is best else None,
            })  # fmt: skip

    if density is None:
        add("uniform", baselines.uniform(weights, accuracy, wanted))
        add("lloyd", baselines.lloyd(weights, accuracy, wanted))
    else:
        name = f"prune_{training.model}_seed{training.seed}_{density:g}"
        add(
            "magnitude",
            baselines.uniform(baselines.prune(weights, training, density, data, split, run, name), accuracy, wanted),
        )
    return rows


def choose(curve: list[dict], method: str) -> list[dict]:
    """Returns a row a seed: the smallest file within the tolerance, or the most accurate one where none is."""
    chosen = []
    for seed in sorted({row["seed"] for row in curve}):
        rows = [row for row in curve if row["method"] == method and row["seed"] == seed]
        rows = [row for row in rows if row["test_accuracy"] is not None]
        fitting = [row for row in rows if is_within(row)]
        if rows:
            best = min(fitting, key=lambda r: r["bytes"]) if fitting else max(
                rows, key=lambda r: r["validation_accuracy"]
            )  # fmt: skip
            chosen.append(best | {"within_tolerance": bool(fitting), "percent": 100 / best["ratio"]})
    return chosen


def is_within(row: dict) -> bool:
    """Returns whether a file loses no more than the tolerance on images kept apart."""
    return row["float_validation_accuracy"] - row["validation_accuracy"] <= TOLERANCE + 1e-9


def mean_of(rows: list[dict]) -> dict:
    """Returns means over seeds in the form of published results; of one seed there is no deviation, None."""
    of = functools.partial(_values, rows)
    several = len(rows) > 1
    return {
        "mean_bytes": float(np.mean(of("bytes"))),
        "mean_percent": float(np.mean(of("percent"))),
        "mean_ratio": float(np.mean(of("ratio"))),
        "deviation_ratio": float(np.std(of("ratio"))) if several else None,
        "mean_accuracy_before": float(np.mean(of("float_test_accuracy"))),
        "mean_accuracy": float(np.mean(of("test_accuracy"))),
        "deviation_accuracy": float(np.std(of("test_accuracy"))) if several else None,
        "seeds": rows,
    }


def _values(rows: list[dict], name: str) -> list[float]:
    return [row[name] for row in rows]


if __name__ == "__main__":
    app.run(main, TablesConfig, transient=publishing.only_renders)
