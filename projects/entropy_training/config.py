"""The flags of the verbs: floating-point training, entropy-constrained training from there, and its baselines."""

import dataclasses

from common import config
from common.training.config import ClassifierConfig, SupervisedConfig

MODELS = ("lenet_300_100", "lenet5", "small_vgg16")
PARAMETRISATIONS = ("proximity", "theta", "ste")
RATES = ("entropy", "conditional", "static")
BASELINES = ("uniform", "lloyd", "magnitude")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(ClassifierConfig):
    """One training in floating point."""

    model: str = config.field("lenet_300_100", "network", choices=MODELS)
    dataset: str | None = "mnist"
    epochs: int = 30
    warmup: float = 0.0
    decay_start: float = 0.5
    checkpoint_steps: int = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrainConfig(SupervisedConfig):
    """A training with Adam that starts from a trained network."""

    model: str = config.field("lenet_300_100", "network", choices=MODELS)
    dataset: str | None = "mnist"
    epochs: int = 30
    decay_start: float = config.field(
        0.5, "share of the epochs after which the learning rate falls linearly to 0", minimum=0.0, maximum=1.0
    )
    checkpoint_steps: int = 1000
    checkpoint: str | None = config.field(None, "network to start from: a run directory, .safetensors, .npz")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineConfig(RetrainConfig):
    """One baseline; flags of the training count for magnitude pruning alone."""

    checkpoint: str | None = config.field(config.REQUIRED, "the trained network: a run directory, .safetensors, .npz")
    method: str = config.field(
        "uniform", "how its weights are quantised (see the verb's description)", choices=BASELINES
    )
    density: float = config.field(
        0.05, "share of the weights that magnitude pruning leaves", exclusive_minimum=0.0, maximum=1.0
    )
    tolerance: float = config.field(0.005, "share of images kept apart that the file may lose", minimum=0.0)
    implementation: str | None = config.field(
        None, "of the rate-distortion decisions, to the same bytes: compiled, on CPU threads; xla, all rate weights in "
        "one program on JAX's device (none: compiled)", choices=("compiled", "xla"), identity=False,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(RetrainConfig):
    """One entropy-constrained training; without --checkpoint it pretrains first."""

    pretrain_epochs: int = config.field(30, "passes of that pretraining", minimum=1)
    pretrain_rate: float = config.field(1e-3, "its learning rate", exclusive_minimum=0.0)

    parametrisation: str = config.field(
        "proximity",
        "of soft labels: by distance from a latent weight, by free logits (theta; small networks), or none: hard "
        "weights with straight-through gradients (ste)",
        choices=PARAMETRISATIONS,
    )
    levels: int = config.field(
        33, "centroids of a layer, odd", minimum=3, check=lambda k: None if k % 2 else "an odd number: one is 0"
    )
    centroid_rate: float = config.field(0.1, "learning rate of centroids, in units of learning_rate", minimum=0.0)
    sharpness: tuple[float, float] = config.field(
        (2.0, 40.0),
        "beta d^2 / 2 at the start and at the end, d the gap of the grid; it rises geometrically",
        exclusive_minimum=0.0,
    )
    sharpening: tuple[float, float] = config.field(
        (0.5, 1.0), "shares of the epochs between which it rises", minimum=0.0, maximum=1.0
    )
    table_points: int = config.field(1024, "places of the table of soft labels", minimum=64)
    linear_noise: bool = config.field(True, "noise of soft labels on the outputs of dense layers")
    convolution_noise: str = config.field(
        "weights",
        "noise of soft labels in convolutions: on every output, one draw of weights a batch (cheaper), none",
        choices=("outputs", "weights", "none"),
    )

    alpha: float = config.field(
        0.1, "weight of the rate: 1 is the literal description length, in nats an example", minimum=0.0
    )
    alpha_warmup: int = config.field(5, "epochs over which it rises from 0", minimum=0)
    rate: str = config.field(
        "entropy",
        "bits in the loss: zero-order, knowing whether the weight before is 0, or the coder's contexts (static)",
        choices=RATES,
    )
    sparsity_prior: float = config.field(
        0.0,
        "zeros that are counted beside those of a layer, as a share of its weights: zeros become cheaper",
        minimum=0,
    )
    target_bytes: int | None = config.field(
        None,
        "largest file: alpha follows by dual ascent towards it, then the price of a bit at hardening rises to fit",
        minimum=1,
    )
    ascent_rate: float = config.field(2e-4, "step of that ascent a training step", exclusive_minimum=0.0)

    harden_weight: float = config.field(
        1.0, "price of a bit when labels become hard, in units of the most probable label's 2 ln 2 / beta", minimum=0.0
    )
    tune_epochs: int = config.field(3, "passes that tune biases, norms and centroids with frozen labels", minimum=0)
    tune_rate: float = config.field(1e-3, "learning rate at their start; it falls linearly to 0", exclusive_minimum=0.0)
    tune_labels: bool = config.field(
        False, "in these passes weights that are not 0 may take other labels, by straight-through gradients"
    )
    label_rate: float = config.field(
        0.015, "learning rate of these weights at the start, in gaps of their grid", exclusive_minimum=0.0
    )
    small_tolerance: float = config.field(
        0.0005, "share of images kept apart that coarser biases and norms may lose", minimum=0.0
    )

    def __post_init__(self):
        if self.sharpness[1] < self.sharpness[0]:
            raise ValueError(f"--sharpness={self.sharpness[0]},{self.sharpness[1]} falls: give the smaller first")
        if self.sharpening[1] <= self.sharpening[0]:
            raise ValueError(f"--sharpening={self.sharpening[0]},{self.sharpening[1]} is no interval: give it a length")
        if self.rate != "entropy" and self.parametrisation == "theta" and self.model == "small_vgg16":
            raise ValueError("--parametrisation=theta holds a number a weight and centroid: choose proximity")


def pretraining(settings: TrainConfig) -> PretrainConfig:
    """Returns the floating-point training that a training without a checkpoint starts with."""
    shared = {field.name: getattr(settings, field.name) for field in dataclasses.fields(SupervisedConfig)}
    return PretrainConfig(**shared | {"epochs": settings.pretrain_epochs, "learning_rate": settings.pretrain_rate})
