"""Trains a network until most of its weights are zero, and leaves them as `model.safetensors`.

--method=sparse_vd learns a Gaussian posterior over every weight (arXiv:1701.05369); weights that are mostly noise
become zero, and all standard deviations go to `sigma.safetensors`, where DC-v1 takes its importances from.
--method=magnitude removes the smallest weights step by step and trains on with what stays; none trains all of them.
Settings are chosen on training images kept apart (`validation_accuracy`); the test images are looked at once, at the
end.
"""

import dataclasses

import numpy as np

from common import app, datasets, weight_files
from common.models import zoo
from common.runs import metrics
from common.training import classifier, pruning
from projects.deepcabac import sparsification, variational_dropout
from projects.deepcabac.config import TrainConfig


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Trains, writes weights and pictures, and returns what goes to `result.json`."""
    data = load_dataset(settings)
    if data.fallback_for:
        settings = for_stand_in(settings)
    network = zoo.untrained(settings, data)
    plan = sparsification.make_plan(settings, len(network.train.images))
    module = variational_dropout.create_network(settings, data)
    merge, state = sparsification.initial_state(settings, module, plan)

    def trees(state) -> tuple[dict, dict]:
        return variational_dropout.stored_trees(sparsification.sparse_network(settings, merge, state, plan))

    def evaluate(state) -> dict[str, float]:
        weights, _ = trees(state)
        kernels = kernels_of(weights)
        shares = {f"nonzero/{name}": pruning.nonzero_share(kernel) for name, kernel in kernels.items()}
        accuracy = network.accuracy(weights, network.validation)
        return {"validation_accuracy": accuracy, "nonzero": pruning.nonzero_share(kernels)} | shares

    step = sparsification.make_step(settings, merge, plan, network.preprocess)
    options = {"evaluate": evaluate, "log_every": plan.epoch, "description": f"{settings.model} {settings.method}"}
    weights, sigma = trees(classifier.fit(settings, run, network, step, state, **options))
    kernels = kernels_of(weights)
    if run.is_main:
        weight_files.save_tree(run.path / "model.safetensors", weights)
        if sigma:
            weight_files.save_tree(run.path / "sigma.safetensors", sigma)
        from projects.deepcabac import plots  # matplotlib takes seconds to import

        plots.draw_training(run, metrics.read(run.metrics.path)[1], list(kernels))
    result = classifier.describe(network, weights)
    return result | {
        "validation_images": len(network.validation.images),
        "float32_bytes": 4 * result["values"],
        "nonzero_percent": 100 * pruning.nonzero_share(kernels),
        "nonzero_percent_by_layer": {name: 100 * pruning.nonzero_share(kernel) for name, kernel in kernels.items()},
        "steps": plan.total,
    }


def load_dataset(settings: TrainConfig) -> datasets.Dataset:
    """Returns the data set of a training, cut to `train_images` where there is such a limit."""
    data = zoo.load_dataset(settings.dataset, fallback=None if settings.fallback == "none" else settings.fallback)
    count = settings.train_images
    if count is None:
        return data
    if count > len(data.train_images):
        raise ValueError(f"--train_images={count}, but {data.name} has {len(data.train_images)}: give at most that")
    return dataclasses.replace(data, train_images=data.train_images[:count], train_labels=data.train_labels[:count])


def for_stand_in(settings: TrainConfig) -> TrainConfig:
    """Returns settings that suit the thousand digits of scikit-learn where they stand in for a large data set.

    They want more passes in smaller batches, and a KL term that does not outweigh so few images.
    """
    schedule = {"epochs": 60, "fine_tune_epochs": 0, "batch_size": 32, "learning_rate": 2e-3, "decay_start": 0.5}
    return dataclasses.replace(settings, kl_weight=0.1, kl_start=5, kl_warmup=20, **schedule)


def kernels_of(weights: dict) -> dict[str, np.ndarray]:
    """Returns layer name -> kernel of a tree of weights."""
    flat = weight_files.flatten(weights)
    return {path.removesuffix("/kernel"): value for path, value in flat.items() if path.endswith("/kernel")}


if __name__ == "__main__":
    app.run(main, TrainConfig)
