"""Networks that several projects use, as Flax NNX modules, and their weights as plain trees.

network = models.create("lenet5", rngs=nnx.Rngs(0))
logits = network(images)                       # [batch, 28, 28, 1] -> [batch, 10]
tree = models.to_tree(network)                 # {"conv1": {"kernel": array, "bias": array}, ...}
network = models.from_tree(network, tree)
"""

from __future__ import annotations

from typing import Any

from flax import nnx

from common.models.efficientnet import EfficientNetLite0
from common.models.evaluation import Evaluation, evaluate, evaluate_many, standardise
from common.models.lenet import LeNet5, LeNet300100
from common.models.recurrent import RowLSTM
from common.models.resnet import ResNet20
from common.models.small_cnn import MLP, CifarCNN, SmallCNN
from common.models.transformer import CharacterTransformer, VisionTransformer
from common.models.trees import apply_function, count, from_tree, to_tree, weight_layers
from common.models.vgg import SmallVGG16

# name -> (class, classes by default, image [height, width, channels] by default)
_NETWORKS = {
    "lenet_300_100": (LeNet300100, 10, (28, 28, 1)),
    "lenet5": (LeNet5, 10, (28, 28, 1)),
    "mlp": (MLP, 10, (28, 28, 1)),
    "mnist_cnn": (SmallCNN, 10, (28, 28, 1)),
    "cifar_cnn": (CifarCNN, 10, (32, 32, 3)),
    "resnet20": (ResNet20, 10, (32, 32, 3)),
    "small_vgg16": (SmallVGG16, 10, (32, 32, 3)),
    "vit": (VisionTransformer, 10, (32, 32, 3)),
    "lstm": (RowLSTM, 10, (32, 32, 1)),
    "efficientnet_lite0": (EfficientNetLite0, 1000, (224, 224, 3)),
}
NAMES = tuple(_NETWORKS)

__all__ = [
    "NAMES",
    "CharacterTransformer",
    "Evaluation",
    "apply_function",
    "count",
    "create",
    "evaluate",
    "evaluate_many",
    "from_tree",
    "input_shape",
    "standardise",
    "to_tree",
    "weight_layers",
]


def create(
    name: str,
    *,
    rngs: nnx.Rngs,
    num_classes: int | None = None,
    width: float = 1.0,
    input_shape: tuple[int, int, int] | None = None,
    **options: Any,
) -> nnx.Module:
    """Returns an untrained network, in training mode; it maps images `[batch, *input_shape]` to logits.

    Args:
      name: one of NAMES.
      rngs: for the initial weights.
      num_classes: number of outputs; 10, or 1,000 for efficientnet_lite0, when None.
      width: factor of the channels of every layer between input and output.
      input_shape: [height, width, channels] of one image; the data set's own when None: 28x28x1 for the LeNets,
        32x32x3 for small_vgg16 and vit, 32x32x1 for lstm, 224x224x3 for efficientnet_lite0. Weights of dense layers
        after maps depend on it.
      **options: further arguments of the class, such as `linear` and `conv` (see `lenet.LeNet5`).

    Raises:
      ValueError: for an unknown name or an impossible value.
    """
    kind, classes, shape = _entry(name)
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected a positive number.")
    return kind(
        rngs=rngs,
        num_classes=classes if num_classes is None else num_classes,
        width=width,
        input_shape=tuple(shape if input_shape is None else input_shape),
        **options,
    )


def input_shape(name: str) -> tuple[int, int, int]:
    """Returns the [height, width, channels] that `create(name)` builds for when told nothing else."""
    return _entry(name)[2]


def _entry(name: str):
    if name not in _NETWORKS:
        raise ValueError(f"unknown network {name!r}; choose one of {', '.join(NAMES)}.")
    return _NETWORKS[name]
