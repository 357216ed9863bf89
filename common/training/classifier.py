"""A classifier in plain floating point: `train(settings, run)` is all that a project's `train` verb calls.

Cross entropy on augmented images; AdamW or SGD, a learning rate that rises, stays and falls. The last training images
are kept apart for `validation_accuracy`; the test images are looked at once, at the end.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optax

from common import models, weight_files
from common.datasets import records
from common.models import zoo
from common.runs.run_directory import Run
from common.training import augmentation, optimizers, step, streams, supervised
from common.training.checkpoint import Checkpointer
from common.training.config import ClassifierConfig, SupervisedConfig
from common.training.streams import Stream


def train(settings: ClassifierConfig, run: Run, **options: Any) -> dict:
    """Trains, leaves `model.safetensors` in the run directory, and returns what goes to `result.json`.

    Args:
      settings: the network, its images, and how it is trained.
      run: where weights, checkpoints and metrics go.
      options: of `models.create`.
    """
    network = zoo.untrained(settings, **options)
    data = training_data(settings, run, network)
    epoch_steps = data.epoch_steps if isinstance(data, Stream) else len(network.train.images) // settings.batch_size
    steps = settings.epochs * epoch_steps
    optimizer = make_optimizer(settings, steps)
    merge, state = step.initial_state(network.module, optimizer, settings.seed)

    def weights(state: step.State) -> dict:
        return models.to_tree(merge(state.parameters, state.statistics))

    inputs = augmentation.inputs_of(network.preprocess, settings.shift, settings.flip)
    advance = step.make_step(merge, optimizer, inputs, label_smoothing=settings.label_smoothing)
    state = fit(
        settings,
        run,
        network,
        advance,
        state,
        data=data,
        evaluate=lambda state: {"validation_accuracy": network.accuracy(weights(state), network.validation)},
        log_every=min(100, max(epoch_steps, 1)),
    )
    params = weights(state)
    if run.is_main:
        weight_files.save_tree(run.path / "model.safetensors", params)
    best = save_best(run, state, weights) if settings.keep_best else {}
    return {"model": settings.model} | describe(network, params) | {"steps": steps} | best


def save_best(run: Run, state: step.State, weights: Callable[[step.State], dict]) -> dict:
    """Writes `best.safetensors`, the weights of the state that did best, and returns its step and accuracy.

    Args:
      run: whose folder `best` has the states.
      state: any of the training, which gives shapes.
      weights: of a state.
    """
    with Checkpointer(run.path / supervised.BEST, best=True) as checkpointer:
        restored = checkpointer.restore_latest(state)
        scores = checkpointer.scores()
    if restored is None:
        return {"best": None}
    if run.is_main:
        weight_files.save_tree(run.path / "best.safetensors", weights(restored[1]))
    return {"best": {"step": restored[0], "validation_accuracy": scores[restored[0]]}}


def training_data(settings: ClassifierConfig, run: Run, network: zoo.Network) -> Any:
    """Returns the training images and labels of a network, or of the folder that the flags name, as a stream.

    Raises:
      ValueError: the folder's examples do not fit the network.
    """
    if settings.records is None:
        return {"images": network.train.images, "labels": network.train.labels}
    source = records.Records(settings.records)
    run.inputs(source.folder / records.SCHEMA)
    expected = {"images": (np.dtype(np.uint8), network.train.images.shape[1:])}
    fields = {name: source.fields.get(name) for name in expected}
    label = source.fields.get("labels")
    if fields != expected or label is None or label[0].kind not in "iu" or label[1] != ():
        raise ValueError(
            f"--records: {source}; expected images uint8 {list(network.train.images.shape[1:])} and labels, one integer"
        )
    run.log(f"training images: {source}")
    return streams.shuffled(_Labelled(source, len(network.data.classes)), settings.batch_size, settings.seed)


class _Labelled:
    """Examples whose labels are looked at: a loss of a class that is not there would be NaN, or that of another one."""

    def __init__(self, source: records.Records, classes: int):
        self.source, self.classes = source, classes

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: Sequence[int]) -> list[records.Example]:
        examples = self.source.__getitems__(indices)
        for index, example in zip(indices, examples, strict=True):
            if not 0 <= example["labels"] < self.classes:
                raise ValueError(
                    f"{self.source.folder}: example {int(index)} has the label {int(example['labels'])}: expected 0 to "
                    f"{self.classes - 1}, of a network of {self.classes} classes"
                )
        return examples


def make_optimizer(settings: ClassifierConfig, steps: int) -> optax.GradientTransformation:
    """Returns the optimiser of a training of so many steps."""
    return optimizers.make_optimizer(
        settings.optimizer,
        steps=steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        decay_start=settings.decay_start,
    )


def fit(
    settings: SupervisedConfig,
    run: Run,
    network: zoo.Network,
    advance: Callable[[step.State, Any], tuple[step.State, Mapping[str, Any]]],
    state: step.State,
    *,
    data: Any = None,
    evaluate: Callable[[step.State], Mapping[str, Any]] | None = None,
    **plan: Any,
) -> step.State:
    """Returns the state after the epochs of a config on training images; says what the user must be told.

    Args:
      settings: epochs, batch size, seed, steps between checkpoints.
      run: where checkpoints and metrics go.
      network: whose training images are passed over.
      advance: the step, see `step.make_step`.
      state: to begin with.
      data: what to train on, as `supervised.train` takes it; None: the network's training images.
      evaluate: state to scalars that get a row, after every epoch.
      plan: of `supervised.Plan`, instead of what the settings say.
    """
    if network.data.notice:
        run.log(network.data.notice)
    began = time.monotonic()
    state = supervised.train(
        run,
        advance,
        state,
        {"images": network.train.images, "labels": network.train.labels} if data is None else data,
        dataclasses.replace(
            supervised.Plan(
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                seed=settings.seed,
                checkpoint_steps=settings.checkpoint_steps,
                keep_best=settings.keep_best if evaluate else 0,
                description=settings.model,
            ),
            **plan,
        ),
        evaluate=evaluate,
    )
    run.log(f"trained in {time.monotonic() - began:.0f} s")
    return state


def describe(network: zoo.Network, params: dict) -> dict:
    """Returns what a result says of a network's images and of trained weights: accuracies, sizes, the stand-in."""
    data = network.data
    return {
        "dataset": data.name,
        **({"fallback_for": data.fallback_for} if data.fallback_for else {}),
        "validation_accuracy": network.accuracy(params, network.validation),
        "test_accuracy": network.accuracy(params, network.test),
        "test_images": len(network.test.images),
        "values": models.count(params),
    }
