"""Trains a network until most of its weights are zero, and leaves them as `model.safetensors`.

--method=sparse_vd learns a Gaussian posterior over every weight (arXiv:1701.05369); weights that are mostly noise
become zero, and all standard deviations go to `sigma.safetensors`, where DC-v1 takes its importances from.
--method=magnitude removes the smallest weights step by step and trains on with what stays; none trains all of them.
Settings are chosen on training images kept apart (`validation_accuracy`); the test images are looked at once, at the
end.
"""

import time

import numpy as np
from flax import nnx

from common import app, datasets, models, weight_files
from common.training import checkpoint, supervised
from projects.deepcabac import config as config_lib
from projects.deepcabac import model, sparsify, steps
from projects.deepcabac.config import TrainConfig


def main(config: TrainConfig, run: app.Run) -> dict:
    """Trains, writes weights and pictures, and returns what goes to `result.json`."""
    data = config_lib.load_dataset(config)
    if data.notice:
        run.log(data.notice)
    if data.fallback_for:
        config = config_lib.for_stand_in(config)
    train, validation = datasets.split_validation(data, config.validation_images)
    plan = steps.make_plan(config, len(train.images))
    graph, state = steps.initial_state(config, create_network(config, data), plan)
    accuracy = make_accuracy(config, data)

    def evaluate(state: steps.State) -> dict[str, float]:
        weights, _ = model.stored_trees(steps.sparse_network(config, graph, state, plan))
        shares = {f"nonzero/{name}": share for name, share in layer_shares(weights).items()}
        return {"validation_accuracy": accuracy(weights, validation), "nonzero": overall_share(weights)} | shares

    began = time.monotonic()
    state = supervised.train(
        run,
        steps.make_step(config, graph, plan, models.standardise(data.mean, data.std)),
        state,
        {"images": train.images, "labels": train.labels},
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
        evaluate=evaluate,
        log_every=plan.epoch,
        checkpoint_steps=config.checkpoint_steps,
        description=f"{config.model} {config.method}",
    )
    run.log(f"trained in {time.monotonic() - began:.0f} s")

    weights, sigma = model.stored_trees(steps.sparse_network(config, graph, state, plan))
    if run.is_main:
        checkpoint.save_tree(run.path / "model.safetensors", weights)
        if sigma:
            checkpoint.save_tree(run.path / "sigma.safetensors", sigma)
        from projects.deepcabac import training_plots  # matplotlib takes seconds to import

        training_plots.draw(run, weights)
    test = datasets.Split(data.test_images, data.test_labels)
    return {
        "dataset": data.name,
        "fallback_for": data.fallback_for,
        "validation_accuracy": accuracy(weights, validation),
        "test_accuracy": accuracy(weights, test),
        "validation_images": len(validation.images),
        "test_images": len(test.images),
        "values": models.count(weights),
        "float32_bytes": 4 * models.count(weights),
        "nonzero_percent": 100 * overall_share(weights),
        "nonzero_percent_by_layer": {name: 100 * share for name, share in layer_shares(weights).items()},
        "steps": plan.total,
    }


def create_network(config: TrainConfig, data: datasets.Dataset, *, plain: bool = False) -> nnx.Module:
    """Returns the untrained network of a config; with `plain` the one of common.models, without posteriors."""
    has_posterior = config.method == "sparse_vd" and not plain
    return model.create(
        config.model,
        rngs=nnx.Rngs(config.seed),
        width=config.width,
        num_classes=len(data.classes),
        input_shape=data.train_images.shape[1:],
        initial_log_variance=config.initial_log_variance if has_posterior else None,
    )


def make_accuracy(config: TrainConfig, data: datasets.Dataset):
    """Returns `(weights, split) -> share of images that the plain network with these stored weights gets right`."""
    apply = models.apply_function(create_network(config, data, plain=True))
    preprocess = models.standardise(data.mean, data.std)

    def accuracy(weights: dict, split: datasets.Split) -> float:
        return models.evaluate(apply, weights, *split, preprocess=preprocess).accuracy

    return accuracy


def kernels(weights: dict) -> dict[str, np.ndarray]:
    """Returns layer name -> kernel of a stored tree."""
    flat = weight_files.flatten(weights)
    return {path.removesuffix("/kernel"): value for path, value in flat.items() if path.endswith("/kernel")}


def layer_shares(weights: dict) -> dict[str, float]:
    """Returns layer name -> share of its kernel that is not zero."""
    return {name: sparsify.nonzero_share(kernel) for name, kernel in kernels(weights).items()}


def overall_share(weights: dict) -> float:
    """Returns the share of nonzero weights over all kernels."""
    return sparsify.nonzero_share(kernels(weights))


if __name__ == "__main__":
    app.run(main, TrainConfig)
