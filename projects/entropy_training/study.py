"""Entropy-constrained training beside its baselines: LeNets on MNIST and Fashion-MNIST, Small-VGG16 on CIFAR-10.

--scale=small trains a tiny LeNet on scikit-learn's digits, to see it all work in about a minute. --scale=full runs
what is missing in runs/ (hours). Every network, seed, method and alpha is a piece, a run of `pretrain`, `train` or
`baseline`. --publish puts results into the project's `results/`.
"""

import dataclasses
import functools
import pathlib
from typing import Any

from common import app, config, publishing, step_search
from common.publishing import curves
from common.runs import provenance
from common.study import pieces
from common.study.pieces import Gathered, Piece
from projects.entropy_training import page as page_lib
from projects.entropy_training import pictures
from projects.entropy_training.config import BaselineConfig, PretrainConfig, RetrainConfig, TrainConfig
from projects.entropy_training.page import METHODS, PICTURES, TITLES, page

FLAGS = pathlib.Path(__file__).parent / "flags"
TOLERANCE = 0.005  # of images kept apart: the paper's half a point
ENTRIES = ("bytes", "ratio", "validation_accuracy", "test_accuracy", "nonzero_percent", "hard_validation_accuracy")
TINY_PRETRAIN = PretrainConfig(dataset="digits", width=0.3, epochs=15, batch_size=32, learning_rate=2e-3)
TINY = TrainConfig(
    dataset="digits", width=0.3, batch_size=32, levels=9, epochs=12, alpha=0.05, alpha_warmup=3, sharpness=(2.5, 40.0),
    tune_epochs=2,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(publishing.PageConfig):
    """Which networks, and how large."""

    networks: tuple[str, ...] = config.field(("lenet_300_100",), "which ones, at full scale", choices=tuple(TITLES))
    pieces: str = pieces.field()


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One network of the tables.

    Attributes:
      training: its entropy-constrained training; seed, alpha and checkpoint are replaced.
      pretraining: where it starts; None where the training names a checkpoint.
      alphas: seed -> weights of the rate that are tried.
      straight: weights of the rate for the straight-through baseline of the first seed.
      densities: shares of weights for its magnitude pruning.
      dense: a network in floating point to stand beside one that starts from a pruned network.
    """

    training: TrainConfig
    pretraining: PretrainConfig | None
    alphas: dict[int, tuple[float, ...]]
    straight: tuple[float, ...] = ()
    densities: tuple[float, ...] = ()
    dense: PretrainConfig | None = None


def experiments(settings: StudyConfig) -> dict[str, Experiment]:
    """Returns name -> experiment of the networks that a config asks for."""
    if settings.scale == "small":
        return {
            "lenet_300_100": Experiment(TINY, TINY_PRETRAIN, {0: (0.02, 0.1)}, (0.05,), (0.2,), TINY_PRETRAIN),
        }
    experiments = {
        "lenet_300_100": Experiment(
            from_flagfile("lenet_300_100", TrainConfig),
            from_flagfile("pretrain_lenet_300_100", PretrainConfig),
            {0: (0.25, 0.3, 0.2, 0.1, 0.4, 0.0), 1: (0.25, 0.3, 0.2), 2: (0.25, 0.3, 0.2)},
            straight=(0.1,),
            densities=(0.03, 0.06),
        ),
        "lenet5": Experiment(
            from_flagfile("lenet5", TrainConfig),
            from_flagfile("pretrain_lenet5", PretrainConfig),
            {0: (0.5, 0.3), 1: (0.5,), 2: (0.5,)},
            straight=(0.1,),
            densities=(0.02, 0.05),
        ),
        "small_vgg16": Experiment(
            from_flagfile("small_vgg16_quarter", TrainConfig),
            None,
            {0: (0.1,)},
            dense=from_flagfile("pretrain_small_vgg16_quarter", PretrainConfig),
        ),
    }
    for name, seeds in (("lenet_300_100", (0, 1, 2)), ("lenet5", (0,))):
        experiments[f"{name}_fashion"] = on_fashion(experiments[name], seeds)
    return {name: experiments[name] for name in settings.networks}


def on_fashion(experiment: Experiment, seeds: tuple[int, ...]) -> Experiment:
    """Returns a LeNet's experiment on Fashion-MNIST, nothing chosen anew: does the alpha found on MNIST serve there?"""
    training, pretraining = (
        dataclasses.replace(settings, dataset="fashion_mnist")
        for settings in (experiment.training, experiment.pretraining)
    )
    return Experiment(training, pretraining, {seed: experiment.alphas[0][:1] for seed in seeds})


def from_flagfile(name: str, kind: type) -> Any:
    """Returns the config of `flags/NAME.flags`."""
    return config.parse(["train", f"--flagfile={FLAGS / name}.flags"], kind)[0]


def pieces_of(name: str, experiment: Experiment, runs: str | pathlib.Path = "runs") -> list[tuple[str, Piece]]:
    """Returns (method, piece) for every seed and setting of an experiment, in the folder `runs`."""
    make = functools.partial(Piece, runs=runs)
    rows = []
    for seed, alphas in experiment.alphas.items():
        training, needs = dataclasses.replace(experiment.training, seed=seed), ()
        if experiment.pretraining is not None:
            start = make(f"{name}_seed{seed}", "entropy_training.pretrain", experiment.pretraining, seed=seed)
            training, needs = dataclasses.replace(training, checkpoint=str(start.path)), (start,)
        configs = [(f"ect_{alpha:g}", dataclasses.replace(training, alpha=alpha)) for alpha in alphas]
        configs += [(method, baseline_of(training, method)) for method in ("uniform", "lloyd")]
        if seed == min(experiment.alphas):
            configs += [(f"ste_{alpha:g}", straight_through(training, alpha)) for alpha in experiment.straight]
            configs += [
                (f"magnitude_{density:g}", baseline_of(training, "magnitude", density=density))
                for density in experiment.densities
            ]
        for label, settings in configs:
            verb = "baseline" if isinstance(settings, BaselineConfig) else "train"
            piece = make(f"{name}_seed{seed}_{label}", f"entropy_training.{verb}", settings, needs)
            rows.append((label.partition("_")[0], piece))
    if (dense := experiment.dense) is not None:
        rows.append(("dense", make(f"{name}_dense_seed{dense.seed}", "entropy_training.pretrain", dense)))
    return rows


def straight_through(training: TrainConfig, alpha: float) -> TrainConfig:
    """Returns the baseline `ste`: hard weights in the loss, the gradient of the bits at a fixed, soft beta."""
    return dataclasses.replace(training, alpha=alpha, parametrisation="ste", levels=33, sharpness=(1.0, 1.0))


def baseline_of(training: TrainConfig, method: str, **changes: Any) -> BaselineConfig:
    """Returns the settings of a baseline on the network that a training starts from."""
    shared = {field.name: getattr(training, field.name) for field in dataclasses.fields(RetrainConfig)}
    return BaselineConfig(**shared, method=method, tolerance=TOLERANCE, **changes)


def main(settings: StudyConfig, run: app.Run) -> dict:
    """Runs or takes every piece, writes tables and pictures, and returns the means."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    stamp = page.stamp() if settings.publish else provenance.stamp()
    runs = "runs" if settings.scale == "full" else run.path / "runs"
    rows = {name: pieces_of(name, experiment, runs) for name, experiment in experiments(settings).items()}
    gathered = pieces.gather([piece for row in rows.values() for _, piece in row], run, settings)
    if gathered.is_partial:
        return gathered.summary()
    if settings.publish and gathered.missing:
        raise ValueError(f"--publish without {', '.join(piece.key for piece in gathered.missing)}: run them first")
    networks = {}
    for name, row in rows.items():
        if not any(method == "ect" and piece in gathered for method, piece in row):
            continue  # the summary says what is missing
        networks[name] = result = result_of(name, row, gathered) | {
            "provenance": gathered.provenance(stamp, *(piece for _, piece in row))
        }
        folder = pathlib.Path(result["methods"]["ect"]["seeds"][0]["folder"]) / "plots"
        parts = {suffix: folder / f"{suffix[1:]}.png" for suffix in PICTURES if suffix}
        caption = "Size and accuracy on images kept apart, over alpha, and the baselines."
        with curves.picture(run, name, caption, figsize=(6.4, 4)) as axis:
            pictures.draw_trade_off(axis, result, page_lib.network_of(result, name))
        parts[""] = run.plots / f"{name}.png"
        if settings.publish and run.is_main:
            page.write(name, result, parts)
    run.table("methods", *page_lib.methods_table(networks), "Smallest files within the tolerance")
    run.table("curve", *page_lib.curve_table(networks), "Over alpha")
    run.table("sizes", *page_lib.sizes_table(networks), "The first seed's file by every way to count, in bytes")
    return {name: means_of(result["methods"]["ect"]["seeds"]) for name, result in networks.items()} | gathered.summary()


def result_of(name: str, row: list[tuple[str, Piece]], gathered: Gathered) -> dict:
    """Returns the published form of one network: its files by method, the best ones, and counts of the first one."""
    done = [(method, piece) for method, piece in row if piece in gathered]
    curve = [entry for method, piece in done for entry in rows_of(method, piece, gathered[piece].result)]
    methods = {method: {"seeds": rows} for method in METHODS if (rows := best_rows(curve, method))}
    folder = methods["ect"]["seeds"][0]["folder"]
    first = next(piece for _, piece in done if str(piece.path) == folder)
    entries = {entry: gathered[first].result[entry] for entry in ("dataset", "bits", "layers")}
    names = {"network": name, "title": TITLES[name], "width": first.settings.width, "tolerance": TOLERANCE}
    return names | entries | {"methods": methods, "curve": curve, "pieces": gathered.summary()}


def rows_of(method: str, piece: Piece, result: dict) -> list[dict]:
    """Returns a row of a training; of a baseline its best file and all candidates, without test accuracy."""
    settings = piece.settings
    alpha = settings.alpha if isinstance(settings, TrainConfig) else None
    names = {"method": method, "seed": settings.seed, "alpha": alpha, "folder": str(piece.path)}
    if method == "dense":  # as a file that loses nothing
        before = {f"float_{split}_accuracy": result[f"{split}_accuracy"] for split in ("validation", "test")}
        result = result | before | {"bytes": 4 * result["values"], "ratio": 1.0}
    names |= {entry: result[entry] for entry in ("float_validation_accuracy", "float_test_accuracy")}
    others = [names | candidate | {"test_accuracy": None} for candidate in result.get("candidates", ())]
    return [names | {entry: result[entry] for entry in ENTRIES if entry in result}, *others]


def best_rows(curve: list[dict], method: str) -> list[dict]:
    """Returns a row a seed: the smallest file within the tolerance, or the most accurate one where none is."""
    best = []
    for seed in sorted({row["seed"] for row in curve}):
        rows = [row for row in curve if row["method"] == method and row["seed"] == seed]
        rows = [row for row in rows if row["test_accuracy"] is not None]
        if rows:
            row = step_search.smallest(
                rows, is_within_tolerance, lambda row: row["bytes"], lambda row: row["validation_accuracy"]
            )
            best.append(row | {"within_tolerance": is_within_tolerance(row)})
    return best


def is_within_tolerance(row: dict) -> bool:
    """Whether a file loses no more on images kept apart than TOLERANCE."""
    return step_search.is_enough(row["validation_accuracy"], row["float_validation_accuracy"] - TOLERANCE)


def means_of(rows: list[dict]) -> dict[str, float]:
    """Returns mean ratio and accuracies in % of entropy-constrained training over seeds."""
    accuracies = {entry: 100 * page_lib.mean(rows, entry) for entry in ("test_accuracy", "float_test_accuracy")}
    return {"ratio": page_lib.mean(rows, "ratio"), **accuracies}


if __name__ == "__main__":
    app.run(main, StudyConfig, transient=lambda settings: settings.render_readme or pieces.only_looks(settings))
