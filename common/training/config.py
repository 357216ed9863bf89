"""The flags of a training of a classifier, for a project to give other defaults and add its own.

@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(ClassifierConfig):
    epochs: int = 5
"""

import dataclasses

from common import config
from common.models import zoo
from common.training.optimizers import OPTIMIZERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedConfig(zoo.NetworkConfig):
    """A network that is trained on images. Epochs are passes over the training images without those kept apart."""

    model: str = config.field("lenet5", "network", choices=zoo.TRAINED, formerly="victim")
    dataset: str | None = config.field(
        None, "images (none: the network's own, such as MNIST)", choices=zoo.TRAINING_SETS
    )
    epochs: int = config.field(10, "passes over the training images", minimum=1)
    batch_size: int = config.field(128, "images a step", minimum=1)
    learning_rate: float = config.field(1e-3, "the highest", exclusive_minimum=0.0)
    shift: int = config.field(0, "training images move by up to so many pixels each way", minimum=0)
    flip: bool = config.field(False, "half of the training images are mirrored left to right")
    checkpoint_steps: int = config.field(500, "steps between two checkpoints", minimum=1, identity=False)
    keep_best: int = config.field(
        0,
        "states of the highest validation accuracy to keep in best/; gives best.safetensors",
        minimum=0,
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig(SupervisedConfig):
    """A training of all weights, in floating point."""

    optimizer: str = config.field("adamw", "how weights move", choices=OPTIMIZERS)
    warmup: float = config.field(
        0.1, "share of the steps in which the learning rate rises from 0", minimum=0.0, maximum=1.0
    )
    decay_start: float = config.field(
        0.0, "share of the steps after which it falls linearly to 0, not before it has risen", minimum=0.0, maximum=1.0
    )
    weight_decay: float = config.field(0.0, "on kernels", minimum=0.0)
    records: str | None = config.field(
        None, "folder of array-record files with other training images, see common/datasets/README.md"
    )
    label_smoothing: float = config.field(0.0, "share of a target spread over all classes", minimum=0.0, maximum=1.0)
