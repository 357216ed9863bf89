"""Trains a network with the bits of its weights in the loss, hardens and tunes it, and writes it as a file.

Pretraining in floating point (or --checkpoint), entropy-constrained training, hard labels, tuning of biases, norms
and centroids with the labels frozen, the file `model.dcb` through the arithmetic coder; the accuracies reported are
those of the decoded weights. Settings are chosen on training images kept apart; test images are looked at once, at the
end.
"""

import numpy as np
from flax import nnx

from common import app, files, weight_files
from common.models import zoo
from common.study import parts
from common.training import classifier, step
from kernels import soft_entropy
from projects.entropy_training import coding, description_length, hardening, pictures, pretrain, relaxation, tuning
from projects.entropy_training import config as config_lib
from projects.entropy_training.config import TrainConfig

EVERY = 10_000  # training images from which running statistics are measured anew
FEW = 2000  # of them after every epoch
ITERATIONS = 30  # of the last hardening


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes the file and pictures, and returns what goes to `result.json`."""
    network = zoo.untrained(settings)
    weights = starting_weights(settings, run)

    def accuracy(weights: dict) -> float:
        return network.accuracy(weights, network.validation)

    labelled, factor = harden(settings, constrain(settings, run, network, weights))
    for name in (name for name, labels in labelled.labels.items() if not np.ptp(labels)):
        run.log(f"warning: all weights of {name} have the same label; it is stored in 0 bits")
    hard = accuracy(labelled.tree())
    labelled = tuning.tune(labelled, settings, network, run)
    labelled = tuning.fresh_statistics(labelled, settings, network, network.train.images[:EVERY])
    data, decoded, small_step = coding.write(labelled, accuracy, settings.small_tolerance)
    sizes, rows = coding.measure(labelled, data), coding.layer_bits(labelled)
    before, after = network.correct(weights, network.test), network.correct(decoded, network.test)
    if run.is_main:
        files.write_atomically(run.path / "model.dcb", data)
        weight_files.save_tree(run.path / "model.safetensors", decoded)
        pictures.draw(run, labelled, rows)
    note = "The codeword of each layer in storage order, presets chosen; the file may store the last axis first."
    run.table(
        "bits", list(rows[0]), [list(row.values()) for row in rows], "Predicted and true bits of the labels", note
    )
    unmet = []
    if settings.target_bytes is not None and len(data) > settings.target_bytes:
        advice = "train for more epochs, or give a larger --ascent_rate, --alpha to start from, or --harden_weight"
        unmet = [f"--target_bytes={settings.target_bytes}: the file takes {len(data)} bytes; {advice}"]
    return ({"unmet": unmet} if unmet else {}) | {
        **classifier.describe(network, decoded),
        "alpha": settings.alpha,
        "bytes": len(data),
        "ratio": 32 * sizes["values"] / sizes["file"],
        "bits": sizes,
        "float_validation_accuracy": accuracy(weights),
        "hard_validation_accuracy": hard,
        "float_test_accuracy": float(before.mean()),
        "test_images_lost": int(np.sum(before & ~after)),
        "test_images_won": int(np.sum(after & ~before)),
        "nonzero_percent": 100 * labelled.nonzero_share,
        "centroids_used": {name: len(np.unique(labels)) for name, labels in labelled.labels.items()},
        "harden_weight": factor * settings.harden_weight,
        "small_step": small_step,
        "layers": rows,
    }


def starting_weights(settings: TrainConfig, run: app.Run) -> dict:
    """Returns the floating-point weights: of the checkpoint, or of a pretraining kept in `run.path`/pretrain."""
    if settings.checkpoint is not None:
        run.inputs(settings.checkpoint)
        return weight_files.load_tree(settings.checkpoint)
    stage = parts.stage(run, "pretrain")
    if not (stage.path / "model.safetensors").is_file():
        pretrain.main(config_lib.pretraining(settings), stage)
    return weight_files.load_tree(stage.path)


def constrain(settings: TrainConfig, run: app.Run, network: zoo.Network, weights: dict) -> nnx.Module:
    """Returns the network after entropy-constrained training; every epoch logs the hard network beside the soft one."""
    coded = relaxation.create_network(settings, network.data, weights)
    merge, advance, state = description_length.prepare(settings, network, coded)
    epoch = len(network.train.images) // settings.batch_size

    def evaluate(state: step.State) -> dict[str, float]:
        sharpness = description_length.sharpness_at(settings, int(state.done) / (settings.epochs * epoch))
        labelled = hardening.harden(merge(state.parameters, state.statistics), settings, float(sharpness))
        if labelled.nonzero_share == 0:
            raise ValueError("every weight became 0: give a smaller --alpha, or less --sharpness at the start")
        fresh = tuning.fresh_statistics(labelled, settings, network, network.train.images[:FEW])
        return {
            "hard_accuracy": network.accuracy(fresh.tree(), network.validation),
            "entropy_bits": sum(soft_entropy.empirical_bits(labels) for labels in labelled.labels.values()),
            "stream_bits": 8 * sum(coding.label_streams(labelled).values()),
            "nonzero": labelled.nonzero_share,
        }

    state = classifier.fit(
        settings,
        run,
        network,
        advance,
        state,
        evaluate=evaluate,
        log_every=epoch,
        description=f"{settings.model} {settings.parametrisation}",
    )
    return merge(state.parameters, state.statistics)


def harden(settings: TrainConfig, coded: nnx.Module) -> tuple[hardening.Labelled, float]:
    """Returns the network in hard labels, and the factor on the price of a bit: 1 but where a file must have a size."""

    def at(factor: float) -> hardening.Labelled:  # at a high price, iterations would end in a network of zeros
        iterations = ITERATIONS if factor == 1 else 0
        return hardening.harden(coded, settings, settings.sharpness[1], iterations, factor)

    def size(labelled: hardening.Labelled) -> int:  # with the finest biases: tuning changes less than they take
        return len(coding.encode(labelled, coding.SMALL_STEPS[-1])[0])

    return (at(1.0), 1.0) if settings.target_bytes is None else hardening.harden_to(settings.target_bytes, size, at)


if __name__ == "__main__":
    app.run(main, TrainConfig)
