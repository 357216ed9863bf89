"""The flags of `train` and of `compress`, and those that the readers of compressed files share."""

import dataclasses
import math
import pathlib

from common import config
from common.datasets.views import VIEWS
from common.models import zoo
from common.training.config import SupervisedConfig
from kernels import entropy_coding
from kernels.entropy_coding import DEFAULT_MAX_OUTPUT_BYTES

FLAGS = pathlib.Path(__file__).parent / "flags"
MODELS = ("lenet_300_100", "lenet5", "small_vgg16")
METHODS = ("sparse_vd", "magnitude", "none")
QUALITIES = ("step", "qp", "target_bytes", "target_snr", "search")  # one of these flags of `compress` sets the quality
SMALL = ("small_step", "small_qp", "small_relative_step")
BALANCE = math.log(2) / 6  # -dD/dR of a uniform quantiser at high rate, in squared steps a bit


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(SupervisedConfig):
    """One training: which network on which images, how it is made sparse, how long it trains."""

    model: str = config.field("lenet_300_100", "network", choices=MODELS)
    dataset: str = config.field("mnist", "images", choices=zoo.TRAINING_SETS)
    method: str = config.field("sparse_vd", "how weights become zero", choices=METHODS)
    train_images: int | None = config.field(None, "use only so many training images (none: all)", minimum=1)

    epochs: int = config.field(40, "passes over the training images, fine-tuning included", minimum=1)
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

    def __post_init__(self):
        if self.fine_tune_epochs >= self.epochs:
            raise ValueError(
                f"--fine_tune_epochs={self.fine_tune_epochs} leaves nothing of --epochs={self.epochs}: give fewer"
            )
        if self.method == "magnitude" and self.pruning_end < self.pruning_start:
            raise ValueError(
                f"--pruning_end={self.pruning_end} lies before --pruning_start={self.pruning_start}: give a later one"
            )


def training_of(flagfile: str | pathlib.Path, seed: int) -> TrainConfig:
    """Returns the training of a flagfile, with another seed."""
    (training,) = config.parse(["train", f"--flagfile={flagfile}", f"--seed={seed}"], TrainConfig)
    return training


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """One compression. Steps are in the unit of the weights."""

    checkpoint: str = config.field(
        help="weights: a run directory of train, an Orbax directory, a .safetensors or .npz file, or the name of a "
        f"published network ({', '.join(zoo.PUBLISHED)})"
    )
    output: str = config.field(help="the file to write, such as model.dcb")

    step: float | None = config.field(None, "quantisation step of tensors with two or more axes", exclusive_minimum=0.0)
    qp: int | None = config.field(None, "the same as an NNC quantisation parameter: -32 is 2^-8, four more double it")
    target_bytes: int | None = config.field(None, "best quality that fits into so many bytes", minimum=1)
    target_snr: float | None = config.field(None, "smallest file with this signal-to-noise ratio of the weights, dB")
    search: str | None = config.field(
        None,
        "smallest file within --tolerance and --caution: dc_v1 takes steps and importances from posterior deviations, "
        "dc_v2 one step",
        choices=("dc_v1", "dc_v2"),
    )

    small_step: float | None = config.field(
        None,
        "step of floats with fewer than two axes (biases, scales, statistics); none: lossless",
        exclusive_minimum=0.0,
    )
    small_qp: int | None = config.field(None, "the same as an NNC quantisation parameter")
    small_relative_step: float | None = config.field(
        None, "the same as a share of each tensor's root mean square; 1/64 with a target, searched for with --search",
        exclusive_minimum=0.0,
    )  # fmt: skip
    rate_weight: float | None = config.field(
        None, "price of a bit in squared steps: 0 rounds to nearest; --search chooses it (none: 0, but with "
        "--quantizer=rdo 0.1155, the balance of a uniform quantiser; 0.32 is that of the trellis)", minimum=0.0,
    )  # fmt: skip
    quantizer: str | None = config.field(
        None, "uniform: nearest level; rdo: greedy rate-distortion decision; trellis: dependent quantisation on a grid "
        "of --step, half the distance of levels (none: uniform, or rdo where --rate_weight is above 0)",
        choices=("uniform", "rdo", "trellis"),
    )  # fmt: skip
    importance: str | None = config.field(
        None,
        "weights of the squared errors, by tensor: a file as for --checkpoint (dc_v1: the run's sigma.safetensors)",
    )
    importance_is: str = config.field(
        "sigma", "sigma: posterior deviations, 1/sigma^2 weighs; weights: the weights themselves; layers: only means "
        "over tensors count, and give each its own step (for the output of sensitivity)",
        choices=("sigma", "weights", "layers"),
    )  # fmt: skip
    fold_batch_norm: float | None = config.field(
        None, "fold running statistics into scale and bias; the value is the network's epsilon (evaluation only)",
        exclusive_minimum=0.0,
    )  # fmt: skip
    training_state: str = config.field(
        "leave_out", "states of an optimiser beside the weights of a checkpoint: left out, or stored exactly",
        choices=("leave_out", "exact"),
    )  # fmt: skip
    scan: int = config.field(0, "order of coding: 0 rows, 1 to 4 blocks of 8, 16, 32, 64", choices=(0, 1, 2, 3, 4))
    jobs: int | None = config.field(None, "threads (none: one a core)", minimum=1, identity=False)
    implementation: str | None = config.field(
        None, "rate-distortion decisions, to the same bytes: compiled, on CPU threads; xla, those of all candidates "
        "that are tried together (see --candidates_at_once) in one program on JAX's device (none: compiled)",
        choices=("compiled", "xla"), identity=False,
    )  # fmt: skip

    model: str | None = config.field(
        None,
        "network, to measure accuracy (none: the run directory's)",
        choices=(*MODELS, *zoo.PUBLISHED),
    )
    dataset: str | None = config.field(
        None, "images to measure accuracy on (none: the run directory's)", choices=zoo.DATASETS
    )
    width: float | None = config.field(
        None, "factor on channels (none: the run directory's, or 1)", exclusive_minimum=0.0
    )
    tolerance: float = config.field(
        0.005, "with --search: accuracy that may be lost on the images kept apart, as a share", minimum=0.0, maximum=1.0
    )
    caution: float = config.field(
        0.0,
        "with --search: standard errors of the loss (paired by image) that are added to it; above 0, the luck of the "
        "best among many candidates is discounted too",
        minimum=0.0,
    )
    views: int = config.field(
        1, "with --search on imagenet_samples: judge on so many views, moved and mirrored, of each photograph",
        minimum=1, maximum=len(VIEWS),
    )  # fmt: skip
    candidates_at_once: int = config.field(
        1, "with --search: candidates evaluated in one call, over the devices that there are", minimum=1
    )
    step_octaves: tuple[float, float] | None = config.field(
        None, "with --search: log2 of the finest and coarsest step of the first grid, over the root mean square of the "
        "nonzero weights (dc_v2: -4,1) or over the layer's Delta at S = 0 (dc_v1: -1,4)",
    )  # fmt: skip
    rate_weights: tuple[float, ...] = config.field(
        (0.0, 0.01, 0.03, 0.1, 0.3), "with --search: rate weights of the first grid", minimum=0.0
    )

    def __post_init__(self):
        qualities = [name for name in QUALITIES if getattr(self, name) is not None]
        if len(qualities) != 1:
            flags = ", ".join(f"--{name}" for name in QUALITIES)
            raise ValueError(f"give one of {flags}" + (f", not {' and '.join(qualities)}" if qualities else ""))
        small = [name for name in SMALL if getattr(self, name) is not None]
        if self.search and small:
            raise ValueError(f"--search chooses small steps itself: leave out --{small[0]}")
        if len(small) > 1:
            raise ValueError(f"give one of {', '.join(small)}")
        if self.search and self.rate_weight:
            raise ValueError("--search chooses the rate weight itself: give --rate_weights for its grid")
        if self.step_octaves and self.step_octaves[0] > self.step_octaves[1]:
            octaves = ",".join(map(str, self.step_octaves))
            raise ValueError(f"--step_octaves={octaves}: the finest step comes first")
        if self.quantizer == "uniform" and self.rate_weight:
            raise ValueError(f"--quantizer=uniform knows no price of a bit, --rate_weight={self.rate_weight}: take rdo")
        if self.search and self.quantizer == "uniform" and any(self.rate_weights):
            raise ValueError("--quantizer=uniform knows no price of a bit: give --rate_weights=0 for the search")
        if not self.search and self.importance and not self.price and self.importance_is != "layers":
            raise ValueError("--importance weighs errors against bits: it needs a --rate_weight above 0")

    @property
    def price(self) -> float:
        """The rate weight, by default that of the quantizer."""
        default = BALANCE if self.quantizer == "rdo" else 0.0
        return default if self.rate_weight is None else self.rate_weight

    @property
    def weight_step(self) -> float | None:
        """The step of `step` or `qp`; None where it follows from a target or a search."""
        return self.step if self.qp is None else entropy_coding.qp_to_step(self.qp)

    @property
    def vector_step(self) -> float | None:
        """The step of `small_step` or `small_qp`."""
        return self.small_step if self.small_qp is None else entropy_coding.qp_to_step(self.small_qp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileConfig:
    """A compressed file, and how much of it is decoded."""

    input: str = config.field(help="a file that compress wrote")
    max_output_bytes: int = config.field(
        DEFAULT_MAX_OUTPUT_BYTES, "refuse a file that declares more bytes of weights than this", minimum=0
    )
    jobs: int | None = config.field(None, "threads (none: one a core)", minimum=1, identity=False)
