"""Trains a floating-point network: where entropy-constrained training starts, and what its accuracy is compared with.

AdamW, a learning rate that is constant and then falls linearly to 0. Leaves `model.safetensors`.
"""

import dataclasses
from typing import Any

from flax import nnx

from common import app, config, datasets
from common.models import zoo
from common.training import classifier
from common.training.config import ClassifierConfig

MODELS = ("lenet_300_100", "lenet5", "small_vgg16")
DATASETS = zoo.TRAINING_SETS


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(ClassifierConfig):
    """One training in floating point."""

    model: str = config.field("lenet_300_100", "network", choices=MODELS)
    dataset: str | None = "mnist"
    epochs: int = 30
    warmup: float = 0.0
    decay_start: float = 0.5
    checkpoint_steps: int = 1000


def main(settings: PretrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights, and returns what goes to `result.json`."""
    return classifier.train(settings, run)


def load_dataset(name: str) -> datasets.Dataset:
    """Returns a data set; scikit-learn's digits in the size of MNIST's."""
    return zoo.load_dataset(name)


def create_network(settings: Any, data: datasets.Dataset, **options: Any) -> nnx.Module:
    """Returns the untrained network that `settings.model`, `.width` and `.seed` name; `options` as models.create."""
    return zoo.create_network(settings.model, data, width=settings.width, seed=settings.seed, **options)


if __name__ == "__main__":
    app.run(main, PretrainConfig)
