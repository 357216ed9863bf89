"""The flags of `train` and `evaluate`: data sets, predictors, targets, and the link whose latency is measured."""

import dataclasses

from common import config
from projects.eharq.blocks import FEATURES

KINDS = ("threshold", "logistic_regression", "random_forest", "isolation_forest", "autoencoder")
VNR = tuple(f"vnr_{i}" for i in range(6))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """How predictors are fitted. Inputs are reliabilities as logarithms, shares as they are, both standardised."""

    inputs: tuple[str, ...] = config.field(VNR, "features that a predictor sees", choices=FEATURES)
    stratum_weights: bool = config.field(True, "training blocks count as their strata are probable, not as drawn")
    threshold_fnr: float = config.field(
        1e-3, "of threshold: its feature has the lowest FPR at this FNR on the training blocks",
        exclusive_minimum=0.0, exclusive_maximum=1.0,
    )  # fmt: skip
    inverse_penalty: float = config.field(1.0, "of logistic_regression: scikit-learn's C", exclusive_minimum=0.0)
    trees: int = config.field(50, "of the forests", minimum=1, maximum=1000)
    depth: int = config.field(8, "of random_forest, most levels of a tree", minimum=1, maximum=14)
    least_in_leaf: int = config.field(5, "of random_forest, training blocks in a leaf", minimum=1)
    forest_rows: int = config.field(
        100_000, "training blocks of random_forest, drawn from both classes, lost ones at most half; of "
        "isolation_forest, delivered ones",
        minimum=256,
    )  # fmt: skip
    isolation_rows: int = config.field(256, "of isolation_forest: blocks a tree isolates", minimum=2, maximum=4096)
    hidden: int = config.field(16, "of autoencoder: units of a hidden layer", minimum=1)
    code: int = config.field(3, "of autoencoder: units of the code", minimum=1)
    classifier_weight: float = config.field(
        1.0, "of autoencoder: lambda, cross-entropy beside the squared error", minimum=0.0
    )
    learning_rate: float = config.field(1e-3, "of autoencoder: Adam's, falling to 0 as a cosine", exclusive_minimum=0.0)
    batch_size: int = config.field(1024, "of autoencoder: blocks a step", minimum=1)
    steps: int = config.field(10_000, "of autoencoder", minimum=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(PredictorConfig):
    """Predictors of one data set, each for every subcode."""

    data: str = config.field(help="run directory of eharq.generate with the training blocks")
    kinds: tuple[str, ...] = config.field(KINDS, "predictors", choices=KINDS)
    seed: int = config.field(0, "of forests, first weights and batches", minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueueConfig:
    """The link of the latency measurement; times in slots unless they say otherwise.

    A transmission that starts at slot s ends at s + 1 and is decoded at s + 1 + processing. Its regular feedback is
    with the sender at s + 1 + processing + feedback; early feedback at s + share + early_processing + feedback, where
    share is the subcode's part of the slot. Slots begin at whole numbers.
    """

    slot_ms: float = config.field(
        0.125, "length of a slot in milliseconds (120 kHz subcarriers)", exclusive_minimum=0.0
    )
    deadline_ms: float = config.field(1.0, "from arrival to delivery, in milliseconds", exclusive_minimum=0.0)
    processing: float = config.field(1.5, "slots to decode a whole block (TS 38.214 N1: 20 symbols)", minimum=0.0)
    early_processing: float = config.field(0.5, "slots to decode a subcode and predict", minimum=0.0)
    feedback: float = config.field(1.5, "slots from a decision to the sender that may act on it", minimum=0.0)
    capacity: int = config.field(1, "blocks that a slot carries", minimum=1)
    priority: bool = config.field(True, "retransmissions go before new blocks")
    late_feedback: bool = config.field(
        False, "a lost block that was predicted to be delivered is sent again after regular feedback"
    )
    loads: tuple[float, ...] = config.field(
        (0.1, 0.3, 0.5, 0.7, 0.8), "new blocks a slot over its capacity", exclusive_minimum=0.0, exclusive_maximum=1.0
    )
    queue_blocks: int = config.field(200_000, "blocks through the link at each load", minimum=100)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(QueueConfig):
    """Thresholds from one set of blocks, rates from another."""

    predictors: str = config.field(help="run directory of eharq.train")
    calibrate: str = config.field(help="run directory of eharq.generate with the blocks that thresholds come from")
    test: str = config.field(help="run directory of eharq.generate with the blocks that rates come from")
    fnr: tuple[float, ...] = config.field(
        (1e-1, 1e-2, 1e-3, 1e-4), "false negative rates at which predictors are shown",
        exclusive_minimum=0.0, exclusive_maximum=1.0,
    )  # fmt: skip
    compare_fnr: float = config.field(
        1e-3, "false negative rate at which they are compared", exclusive_minimum=0.0, exclusive_maximum=1.0
    )
    cut: float = config.field(
        0.2, "part of the best threshold's FPR that a learned predictor is to save", minimum=0.0, exclusive_maximum=1.0
    )
    target: float = config.field(
        1e-5, "effective block error rate of the operating point", exclusive_minimum=0.0, exclusive_maximum=1.0
    )
    delta: float = config.field(
        0.05, "risk that a guaranteed threshold breaks its FNR", exclusive_minimum=0.0, exclusive_maximum=1.0
    )
    resamples: int = config.field(1000, "of the bootstrap of paired comparisons", minimum=100)
    latency: bool = config.field(True, "send blocks through the link")
    seed: int = config.field(0, "of resamples and of the link", minimum=0)
