"""Runs small verbs on all devices of this process: `python every_device.py FOLDER`, compared by `test_every_device.py`.

Leaves FOLDER/numbers.npz, and in FOLDER/devices.json how many devices hold a part of each verb's batch.
"""

import json
import pathlib
import sys

import jax
import numpy as np

from common import mesh, models, weight_files
from common.models import evaluation
from common.runs import run_directory
from common.training import classifier
from common.training.config import ClassifierConfig
from projects.attribution import explain
from projects.levy_attack import attack
from projects.levy_attack.config import VerbConfig
from projects.van import train as van_train
from projects.van.config import TrainConfig

HOLDERS: dict[str, int] = {}
VERB = ""


def note(sharding) -> None:
    HOLDERS[VERB] = max(HOLDERS.get(VERB, 0), len(sharding.device_set) if not sharding.is_fully_replicated else 1)


def watched(constrain):
    """Notes how the arrays of a batch lie inside a compiled step."""

    def constrain_and_note(batch, sharding):
        batch = constrain(batch, sharding)
        jax.debug.inspect_array_sharding(jax.tree.leaves(batch)[0], callback=note)
        return batch

    return constrain_and_note


def watched_rows(split_rows):
    def split_and_note(batch, sharding):
        batch = split_rows(batch, sharding)
        note(jax.tree.leaves(batch)[0].sharding)
        return batch

    return split_and_note


def main(folder: pathlib.Path) -> None:
    global VERB
    mesh.constrain, mesh.split_rows = watched(mesh.constrain), watched_rows(mesh.split_rows)
    numbers = {}

    VERB = "train"
    run = run_directory.open_for_test(folder / "train")
    settings = ClassifierConfig(model="mnist_cnn", dataset="digits", width=0.1, epochs=1, batch_size=250, seed=1)
    result = classifier.train(settings, run)
    checkpoint = str(run.path / "model.safetensors")
    tree = weight_files.load_tree(checkpoint)
    numbers |= {f"train{jax.tree_util.keystr(path)}": leaf for path, leaf in jax.tree.leaves_with_path(tree)}
    numbers["train_accuracy"] = np.float64(result["test_accuracy"])

    VERB = "evaluate"
    data = np.random.default_rng(0)
    images, labels = data.integers(0, 256, (23, 4, 4, 1), np.uint8), np.arange(23) % 5
    trees = [{"kernel": data.normal(size=(16, 5)).astype(np.float32)} for _ in range(6)]

    def linear(tree, inputs):
        return inputs.reshape(inputs.shape[0], -1) @ tree["kernel"]

    numbers["evaluate"] = models.evaluate(linear, trees[0], images, labels, batch_size=10).correct
    VERB = "search"
    numbers["search"] = evaluation.evaluate_many(linear, trees, images, labels, batch_size=10)
    numbers["search_few"] = evaluation.evaluate_many(linear, trees[:2], images, labels, batch_size=10)

    VERB = "explain"
    run = run_directory.open_for_test(folder / "explain")
    options = {
        "model": "mnist_cnn",
        "dataset": "digits",
        "width": 0.1,
        "count": 5,
        "batch_size": 5,
        "formats": ("npy",),
    }
    explain.main(explain.ExplainConfig(checkpoint=checkpoint, **options), run)
    with np.load(next(run.checkpoints.glob("piece_*.npz"))) as file:
        numbers |= {"explain": file["relevance"], "prediction": file["prediction"]}

    VERB = "sample and train"
    run = run_directory.open_for_test(folder / "van")
    shape = {"rows": 3, "channels": 3, "half_width": 1, "depth": 2}
    van = TrainConfig(**shape, steps=4, batch_size=30, evaluate_every=2, evaluation_samples=10, final_samples=200)
    van_train.main(van, run)
    weights = weight_files.load_tree(next(run.path.glob("*.safetensors")))
    numbers |= {f"van{jax.tree_util.keystr(path)}": leaf for path, leaf in jax.tree.leaves_with_path(weights)}

    VERB = "attack"
    run = run_directory.open_for_test(folder / "attack")
    victim = VerbConfig(
        victim="mnist_cnn",
        checkpoint=checkpoint,
        dataset="digits",
        width=0.1,
        images=6,
        per_class=None,
        budget=60,
        gallery=0,
    )
    attack.main(victim, run)
    with np.load(run.path / "attack.npz") as file:
        numbers |= {"attack_queries": file["queries"], "attack_distance": file["distance"]}
    HOLDERS.pop("attack", None)  # the attack places its parts by itself, see tests/kernels/boundary_attack

    np.savez(folder / "numbers.npz", **numbers)
    (folder / "devices.json").write_text(json.dumps(HOLDERS))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
