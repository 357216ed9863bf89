"""Trains a floating-point network: where entropy-constrained training starts, and what its accuracy is compared with.

AdamW, a learning rate that is constant and then falls linearly to 0. Leaves `model.safetensors`.
"""

from common import app
from common.training import classifier
from projects.entropy_training.config import PretrainConfig


def main(settings: PretrainConfig, run: app.Run) -> dict:
    """Trains, writes the weights, and returns what goes to `result.json`."""
    return classifier.train(settings, run)


if __name__ == "__main__":
    app.run(main, PretrainConfig)
