"""The tiny training that tests of this folder share: its programs are compiled once."""

from projects.deepcabac.config import TrainConfig

TINY = TrainConfig(
    dataset="digits",
    width=0.2,
    epochs=12,
    batch_size=32,
    learning_rate=3e-3,
    kl_weight=0.2,
    kl_start=2,
    kl_warmup=4,
    shift=1,
)
