"""Settings of the verb `attack`, and the names of what it attacks."""

import dataclasses

from common import config
from kernels.boundary_attack import NOISES, RADIUS_CAP, AttackConfig

TITLES = {
    "mlp": "MLP 784-128-10",
    "mnist_cnn": "MNIST CNN",
    "cifar_cnn": "CNN, CIFAR-10 (JPEG)",
    "resnet20": "ResNet-20, CIFAR-10 (JPEG)",
    "small_vgg16": "Small-VGG16, CIFAR-10 (JPEG)",
    "efficientnet_lite0": "EfficientNet-Lite0",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerbConfig:
    """One attack of many images of one victim."""

    victim: str = config.field("mlp", "network", choices=tuple(TITLES))
    checkpoint: str | None = config.field(
        None, "run directory of its training, or a weight file (none: the published weights of efficientnet_lite0)"
    )
    dataset: str | None = config.field(
        None, "images it was trained on (none: its own)", choices=("mnist", "fashion_mnist", "cifar10", "digits")
    )
    width: float = config.field(1.0, "factor of its channels", exclusive_minimum=0.0)
    images: int = config.field(200, "first test images that the victim gets right", minimum=1)
    per_class: int | None = config.field(20, "at most so many of a class (none: any number)", minimum=1)
    seed: int = config.field(0, "of all random numbers", minimum=0)
    alpha: float = config.field(1.0, "of the noise; 2 is Gaussian", exclusive_minimum=0.0, maximum=2.0)
    noise: str = config.field("coordinatewise", "law of the noise", choices=NOISES)
    cap: float = config.field(
        RADIUS_CAP, "longest step of the noise laws length and radius, over the median one", exclusive_minimum=0.0
    )
    rescale_after_clip: bool = config.field(False, "lengthen steps that the box cut short")
    budget: int = config.field(5000, "queries an image", minimum=1)
    delta: float = config.field(0.01, "first step along the boundary, over the distance", exclusive_minimum=0.0)
    eps: float = config.field(0.01, "first step towards the image, over the distance", exclusive_minimum=0.0)
    goal: float = config.field(0.0, "L2 distance at which an image is done", minimum=0.0)
    quantize: int | None = config.field(
        None, "round candidates to so many levels, such as 256", minimum=2, formerly="quantise"
    )
    targeted: bool = config.field(
        False, "towards the next class, from a test image of it, instead of away from the own class"
    )
    batch_size: int = config.field(100, "images at a time", minimum=1)
    gallery: int = config.field(5, "images in the gallery", minimum=0, identity=False)
    chunk: int = config.field(100, "queries an image between two looks of the host", minimum=1, identity=False)
    checkpoint_seconds: float = config.field(60.0, "between two checkpoints", minimum=0.0, identity=False)

    def attack(self) -> AttackConfig:
        """Returns the settings of the walk: those that it has in common with this."""
        names = {item.name for item in dataclasses.fields(AttackConfig)}
        return AttackConfig(**{name: value for name, value in vars(self).items() if name in names})
