"""Runs small verbs on all devices of this process: `python every_device.py FOLDER`, compared by `test_every_device.py`.

Leaves FOLDER/numbers.npz, in FOLDER/devices.json how many devices hold a part of each verb's batch, and in
FOLDER/seconds.json, verb by verb, how long each took, its compilation included.
"""

import contextlib
import json
import pathlib
import sys
import time

import jax
import numpy as np

from common import mesh, models, weight_files
from common.federated import rounds
from common.models import evaluation
from common.runs import run_directory
from common.training import classifier
from common.training.config import ClassifierConfig
from projects.attribution import explain
from projects.eharq import bler, blocks, generate
from projects.eharq.config import BlerConfig, GenerateConfig
from projects.levy_attack import attack
from projects.levy_attack.config import VerbConfig
from projects.stc import simulate
from projects.stc.config import SimulateConfig
from projects.van import train as van_train
from projects.van.config import TrainConfig

HOLDERS: dict[str, int] = {}
SECONDS: dict[str, float] = {}
VERB = ""


def note(sharding) -> None:
    HOLDERS[VERB] = max(HOLDERS.get(VERB, 0), len(sharding.device_set) if not sharding.is_fully_replicated else 1)


@contextlib.contextmanager
def verb(name: str, folder: pathlib.Path):
    """What runs inside is this verb's."""
    global VERB
    VERB, start = name, time.monotonic()
    yield
    SECONDS[name] = round(time.monotonic() - start, 1)
    (folder / "seconds.json").write_text(json.dumps(SECONDS))


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


def train(folder: pathlib.Path, numbers: dict) -> dict:
    """Returns the settings that name the network it has trained."""
    run = run_directory.open_for_test(folder / "train")
    settings = ClassifierConfig(model="mnist_cnn", dataset="digits", width=0.1, epochs=1, batch_size=250, seed=1)
    result = classifier.train(settings, run)
    checkpoint = run.path / "model.safetensors"
    numbers |= named("train", weight_files.load_tree(checkpoint))
    numbers["train_accuracy"] = np.float64(result["test_accuracy"])
    return {"checkpoint": str(checkpoint), "dataset": "digits", "width": 0.1}


def named(prefix: str, tree) -> dict:
    return {prefix + jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def evaluate(folder: pathlib.Path, numbers: dict) -> None:
    """Weights of one network and of several; fewer than devices, too."""
    data = np.random.default_rng(0)
    images, labels = data.integers(0, 256, (23, 4, 4, 1), np.uint8), np.arange(23) % 5
    trees = [{"kernel": data.normal(size=(16, 5)).astype(np.float32)} for _ in range(6)]

    def linear(tree, inputs):
        return inputs.reshape(inputs.shape[0], -1) @ tree["kernel"]

    with verb("evaluate", folder):
        numbers["evaluate"] = models.evaluate(linear, trees[0], images, labels, batch_size=10).correct
    with verb("search", folder):
        numbers["search"] = evaluation.evaluate_many(linear, trees, images, labels, batch_size=10)
        numbers["search_few"] = evaluation.evaluate_many(linear, trees[:2], images, labels, batch_size=10)


def explanations(folder: pathlib.Path, numbers: dict, network: dict) -> None:
    run = run_directory.open_for_test(folder / "explain")
    settings = explain.ExplainConfig(**network, model="mnist_cnn", count=5, batch_size=5, formats=("npy",))
    explain.main(settings, run)
    with np.load(next(run.checkpoints.glob("piece_*.npz"))) as file:
        numbers |= {"explain": file["relevance"], "prediction": file["prediction"]}


def spins(folder: pathlib.Path, numbers: dict) -> None:
    run = run_directory.open_for_test(folder / "van")
    shape = {"rows": 3, "channels": 3, "half_width": 1, "depth": 2}
    settings = TrainConfig(  # without z2 the mirror image of the last samples is looked at, too
        **shape, z2=False, steps=4, batch_size=30, evaluate_every=2, evaluation_samples=10, final_samples=200
    )
    van_train.main(settings, run)
    numbers |= named("van", weight_files.load_tree(next(run.path.glob("*.safetensors"))))


def attacks(folder: pathlib.Path, numbers: dict, network: dict) -> None:
    run = run_directory.open_for_test(folder / "attack")
    settings = VerbConfig(**network, victim="mnist_cnn", images=6, per_class=None, budget=60, gallery=0)
    attack.main(settings, run)
    with np.load(run.path / "attack.npz") as file:
        numbers |= {"attack_queries": file["queries"], "attack_distance": file["distance"]}


def simulation(folder: pathlib.Path, numbers: dict) -> None:
    """Its clients are split by `client_rows`, which notes nothing: what devices hold is taken from the state."""
    run = run_directory.open_for_test(folder / "simulate")
    settings = SimulateConfig(
        task="small",
        p=0.1,
        clients=10,
        per_round=5,
        classes_per_client=2,
        batch_size=8,
        iterations=4,
        every=2,
        target=0.5,
    )
    placed = rounds.placed

    def placed_and_noted(state, sharding):
        state = placed(state, sharding)
        note(state.residuals.sharding)
        return state

    rounds.placed = placed_and_noted
    result = simulate.main(settings, run)
    numbers |= named("simulate", weight_files.load_tree(run.path / "seed0" / "model.safetensors"))
    numbers["simulate_clients"] = np.array(result["seeds"]["0"]["per_client"]["accuracy"])
    numbers["simulate_bits"] = np.array([result["seeds"]["0"]["bits"][way]["total"] for way in ("up", "down")])


def transmissions(folder: pathlib.Path, numbers: dict) -> None:
    """Blocks in strata and a point of a curve. Rounding grows over iterations, so that features are those of the first
    ones; labels and counts are equal."""
    link = {"lifting": 6, "sent": 300, "subcarriers": 30, "spacing": 36e3, "iterations": 10}
    run = run_directory.open_for_test(folder / "generate")
    flags = {"subcodes": (150, 250), "strata": (0.1, 0.3), "retransmission": "independent"}
    generate.main(GenerateConfig(**link, **flags, blocks=100, batch=64, batches=1, es_n0_db=3.0), run)
    rows = blocks.load(run.path)
    rows = rows._replace(features=rows.features[:, :, :3])
    numbers |= {f"blocks_{name}": column for name, column in rows._asdict().items()}
    run = run_directory.open_for_test(folder / "bler")
    (point,) = bler.main(BlerConfig(**link, snr_db=(-2.5,), errors=10, batch=128), run)["points"]
    numbers["bler"] = np.array([point[name] for name in ("errors", "blocks", "ber", "mean_iterations")])


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mesh.constrain, mesh.split_rows = watched(mesh.constrain), watched_rows(mesh.split_rows)
    numbers: dict = {}
    with verb("train", folder):
        network = train(folder, numbers)
    evaluate(folder, numbers)
    with verb("explain", folder):
        explanations(folder, numbers, network)
    with verb("sample and train", folder):
        spins(folder, numbers)
    with verb("attack", folder):
        attacks(folder, numbers, network)
    with verb("simulate", folder):
        simulation(folder, numbers)
    with verb("transmit", folder):
        transmissions(folder, numbers)
    HOLDERS.pop("attack", None)  # the attack places its parts by itself, see tests/kernels/boundary_attack
    np.savez(folder / "numbers.npz", **numbers)
    (folder / "devices.json").write_text(json.dumps(HOLDERS))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
