"""Trains a network with the bits of its weights in the loss, hardens and tunes it, and writes it as a file.

Pretraining in floating point (or --checkpoint), entropy-constrained training, hard labels, tuning of biases, norms
and centroids with the labels frozen, the file `model.dcb` through the arithmetic coder; the accuracies reported are
those of the decoded weights. Settings are chosen on training images kept apart; test images are looked at once, at the
end.
"""

import dataclasses
import pathlib
import time

import numpy as np
from flax import nnx

from common import app, datasets, files, models
from common.runs import metrics
from common.training import checkpoint, supervised
from kernels import entropy, entropy_coding
from projects.entropy_training import config as config_lib
from projects.entropy_training import hardening, model, plots, pretrain, sizes, steps
from projects.entropy_training.config import TrainConfig

EVERY = 10_000  # training images from which running statistics are measured anew


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the file and pictures, and returns what goes to `result.json`."""
    data = pretrain.load_dataset(settings.dataset)
    train, validation = datasets.split_validation(data, settings.validation_images)
    test = datasets.Split(data.test_images, data.test_labels)
    weights = starting_weights(settings, run)
    correct = hardening.make_judge(settings, data)

    def accuracy(weights: dict) -> float:
        return float(correct(weights, validation).mean())

    began = time.monotonic()
    network = constrain(settings, run, data, train, weights, accuracy)
    labelled = hardening.harden(network, settings, settings.sharpness[1], run, iterations=30)
    hard = accuracy(labelled.tree())
    labelled = hardening.tune(labelled, settings, data, train, run)
    labelled = hardening.fresh_statistics(labelled, settings, data, train.images[:EVERY])
    written, decoded, small_step = sizes.write(labelled, accuracy, settings.small_tolerance)
    run.log(f"trained and written in {time.monotonic() - began:.0f} s")
    counted = sizes.measure(labelled, written)
    before, after = correct(weights, test), correct(decoded, test)
    if run.is_main:
        files.write_atomically(run.path / "model.dcb", written)
        checkpoint.save_tree(run.path / "model.safetensors", decoded)
    rows = predicted_bits(labelled)
    run.table("bits", *bits_table(rows))
    plots.draw(run, labelled, rows, counted)
    unmet = []
    if settings.target_bytes is not None and len(written) > settings.target_bytes:
        advice = "train for more epochs, or give a larger --ascent_rate, --alpha to start from, or --harden_weight"
        unmet = [f"--target_bytes={settings.target_bytes}: the file takes {len(written)} bytes; {advice}"]
    return ({"unmet": unmet} if unmet else {}) | {
        "dataset": data.name,
        "alpha": settings.alpha,
        "bytes": len(written),
        "ratio": counted.ratios()["file"],
        "bits": dataclasses.asdict(counted),
        "ratios": counted.ratios(),
        "float_validation_accuracy": accuracy(weights),
        "hard_validation_accuracy": hard,
        "validation_accuracy": accuracy(decoded),
        "float_test_accuracy": float(before.mean()),
        "test_accuracy": float(after.mean()),
        "test_images_lost": int(np.sum(before & ~after)),
        "test_images_won": int(np.sum(after & ~before)),
        "nonzero_percent": 100 * nonzero_share(labelled),
        "centroids_used": {name: len(np.unique(labels)) for name, labels in labelled.labels.items()},
        "small_step": small_step,
        "layers": rows,
    }


def starting_weights(settings: TrainConfig, run: app.Run) -> dict:
    """Returns the floating-point weights: of the checkpoint, or of a pretraining kept in `run.path`/pretrain."""
    if settings.checkpoint is not None:
        run.inputs(settings.checkpoint)
        return checkpoint.load_tree(settings.checkpoint)
    folder = run.path / "pretrain"
    if not (folder / "model.safetensors").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        inner = dataclasses.replace(run, path=folder, metrics=metrics.Metrics(folder / "metrics.csv"))
        pretrain.main(config_lib.pretraining(settings), inner)
    return checkpoint.load_tree(folder)


def constrain(settings: TrainConfig, run: app.Run, data, train, weights: dict, accuracy) -> nnx.Module:
    """Returns the network after entropy-constrained training; every epoch logs the hard network beside the soft one."""
    has_logits = settings.parametrisation == "theta"
    options = model.coded_options(settings.model, settings.levels, has_logits=has_logits)
    network = model.start_from(pretrain.create_network(settings, data, **options), weights, settings.sharpness[0])
    plan = steps.make_plan(settings, len(train.images))
    graph, state = steps.initial_state(settings, network, plan)

    def hardened(state: steps.State) -> hardening.Labelled:
        network = nnx.merge(graph, state.parameters, state.statistics)
        return hardening.harden(network, settings, float(steps.sharpness_at(settings, plan, int(state.done))), run)

    def evaluate(state: steps.State) -> dict[str, float]:
        labelled = hardened(state)
        share = nonzero_share(labelled)
        if share == 0:
            raise ValueError("every weight became 0: give a smaller --alpha, or less --sharpness at the start")
        return {
            "hard_accuracy": accuracy(hardening.fresh_statistics(labelled, settings, data, train.images[:2000]).tree()),
            "entropy_bits": sum(entropy.empirical_bits(labels) for labels in labelled.labels.values()),
            "stream_bits": 8 * sum(sizes.label_streams(labelled).values()),
            "nonzero": share,
        }

    state = supervised.train(
        run,
        steps.make_step(settings, graph, plan, models.standardise(data.mean, data.std)),
        state,
        {"images": train.images, "labels": train.labels},
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        evaluate=evaluate,
        log_every=plan.epoch,
        checkpoint_steps=settings.checkpoint_steps,
        description=f"{settings.model} {settings.parametrisation}",
    )
    return nnx.merge(graph, state.parameters, state.statistics)


def nonzero_share(labelled: hardening.Labelled) -> float:
    """Returns the share of weights whose label is not the zero."""
    found = sum(np.count_nonzero(labels != len(labelled.centroids[n]) // 2) for n, labels in labelled.labels.items())
    return float(found / sum(labels.size for labels in labelled.labels.values()))


def predicted_bits(labelled: hardening.Labelled) -> list[dict]:
    """Returns a row a layer: its bits by the entropy, by the rate estimates of the coder, and in its true codeword."""
    rows = []
    for name, labels in labelled.labels.items():
        levels, values = entropy.labels_to_levels(labels, labelled.centroids[name])
        rows.append(
            {
                "layer": name,
                "weights": int(labels.size),
                "nonzero": int(np.count_nonzero(levels)),
                "centroids": len(values),
                "entropy": entropy.empirical_bits(labels),
                "static": float(entropy_coding.rate_static(levels)),
                "exact": float(entropy_coding.rate_exact(levels, presets=True)),
                "codeword": 8 * entropy_coding.stream_length(levels),
            }
        )
    return rows


def bits_table(rows: list[dict]) -> tuple[list[str], list[list], str, str]:
    """Returns (columns, rows, title, note) for `run.table`."""
    columns = list(rows[0])
    note = "The codeword of each layer in storage order, presets chosen; the file may store the last axis first."
    return columns, [[row[column] for column in columns] for row in rows], "Predicted and true bits of the labels", note


def path_of_file(folder: pathlib.Path) -> pathlib.Path:
    """Returns the coded network in a run directory of `train`."""
    return folder / "model.dcb"


if __name__ == "__main__":
    app.run(main, TrainConfig)
