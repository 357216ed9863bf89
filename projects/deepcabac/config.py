"""The flags of `train`: which network and data, how it is made sparse, how long it trains."""

import dataclasses

from common import config, datasets

MODELS = ("lenet_300_100", "lenet5", "small_vgg16")
METHODS = ("sparse_vd", "magnitude", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training. Epochs are passes over the training images without those kept apart for validation."""

    model: str = config.field("lenet_300_100", "network", choices=MODELS)
    width: float = config.field(1.0, "factor on the number of channels and hidden units", exclusive_minimum=0.0)
    dataset: str = config.field("mnist", "images", choices=("mnist", "fashion_mnist", "cifar10", "digits"))
    fallback: str = config.field(
        "none", "digits: take scikit-learn's digits where the data set cannot be had", choices=("none", "digits")
    )
    method: str = config.field("sparse_vd", "how weights become zero", choices=METHODS)
    seed: int = config.field(0, "of initial weights, noise, order and shifts of the images", minimum=0)
    validation_images: int | None = config.field(
        None, "last training images, kept apart to choose settings (none: 5,000, or a fifth of a small set)", minimum=1
    )
    train_images: int | None = config.field(None, "use only so many training images (none: all)", minimum=1)

    epochs: int = config.field(40, "passes over the training images, fine-tuning included", minimum=1)
    batch_size: int = config.field(128, "images a step", minimum=1)
    learning_rate: float = config.field(1e-3, "of Adam", exclusive_minimum=0.0)
    weight_decay: float = config.field(0.0, "of AdamW", minimum=0.0)
    decay_start: float = config.field(
        0.5,
        "share of the epochs before fine-tuning after which the learning rate falls linearly to 0",
        minimum=0.0,
        maximum=1.0,
    )
    fine_tune_epochs: int = config.field(
        0, "last epochs, in which pruned weights stay 0 and the others train on, without noise or KL term", minimum=0
    )
    fine_tune_rate: float = config.field(
        3e-4, "learning rate at the start of fine-tuning; it falls linearly to 0", exclusive_minimum=0.0
    )
    shift: int = config.field(0, "training images move by up to so many pixels each way", minimum=0)
    flip: bool = config.field(False, "half of the training images are mirrored left to right")

    kl_weight: float = config.field(1.0, "sparse_vd: factor on the KL term when warm", minimum=0.0)
    kl_start: int = config.field(0, "sparse_vd: epochs before the KL term comes in", minimum=0)
    kl_warmup: int = config.field(10, "sparse_vd: epochs over which its weight rises to kl_weight", minimum=1)
    initial_log_variance: float = config.field(-8.0, "sparse_vd: log sigma^2 of every weight at the start")
    variance_rate: float = config.field(
        1.0, "sparse_vd: learning rate of log sigma^2, in units of learning_rate", exclusive_minimum=0.0
    )
    log_alpha_threshold: float = config.field(3.0, "sparse_vd: weights with a larger log sigma^2/mu^2 become 0")

    density: float = config.field(0.05, "magnitude: share of weights that stay", exclusive_minimum=0.0, maximum=1.0)
    pruning_start: float = config.field(0.2, "magnitude: share of the training before it", minimum=0.0, maximum=1.0)
    pruning_end: float = config.field(0.7, "magnitude: share of the training at its end", minimum=0.0, maximum=1.0)
    pruning_interval: int = config.field(100, "magnitude: steps between two choices of weights", minimum=1)

    checkpoint_steps: int = config.field(500, "steps between two checkpoints", minimum=1, identity=False)

    def __post_init__(self):
        if self.fine_tune_epochs >= self.epochs:
            raise ValueError(
                f"--fine_tune_epochs={self.fine_tune_epochs} leaves nothing of --epochs={self.epochs}: give fewer"
            )
        if self.method == "magnitude" and self.pruning_end < self.pruning_start:
            raise ValueError(
                f"--pruning_end={self.pruning_end} lies before --pruning_start={self.pruning_start}: give a later one"
            )


def load_dataset(settings: TrainConfig) -> datasets.Dataset:
    """Returns the data set of a training, cut to `train_images` where that is given."""
    fallback = None if settings.fallback == "none" else settings.fallback
    options = {"size": 28} if settings.dataset == "digits" else {}
    data = datasets.load(settings.dataset, fallback=fallback, **options)
    if settings.train_images is not None:
        count = settings.train_images
        if count > len(data.train_images):
            raise ValueError(f"--train_images={count}, but {data.name} has {len(data.train_images)}: give at most that")
        data = dataclasses.replace(data, train_images=data.train_images[:count], train_labels=data.train_labels[:count])
    return data


def for_stand_in(settings: TrainConfig) -> TrainConfig:
    """Returns settings that suit the thousand digits of scikit-learn where they stand in for a large data set.

    They want more passes in smaller batches, and a KL term that does not outweigh so few images.
    """
    return dataclasses.replace(
        settings,
        epochs=60,
        fine_tune_epochs=0,
        batch_size=32,
        learning_rate=2e-3,
        decay_start=0.5,
        kl_weight=0.1,
        kl_start=5,
        kl_warmup=20,
    )
