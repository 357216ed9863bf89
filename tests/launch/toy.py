"""A verb for the tests of launching: trains a small network, slowly if asked, fails if asked, and says who it is.

Run as a module, `python -m tests.launch.toy --run_dir=...`; it draws no random numbers but the data's.
"""

import dataclasses
import os
import pathlib
import signal
import time

import numpy as np

from common import app, config, files
from common.training import supervised

EXAMPLES, FEATURES, BATCH = 40, 6, 8  # five steps an epoch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The flags of the toy."""

    seed: int = config.field(0, "decides everything", minimum=0)
    rate: float = config.field(0.05, "learning rate", exclusive_minimum=0.0)
    epochs: int = config.field(4, "passes of five steps", minimum=1)
    x64: bool = config.field(False, "computes in float64")
    pause: float = config.field(0.0, "seconds to wait after each epoch", minimum=0.0, identity=False)
    text: str = config.field("", "any text, to see that it arrives")
    source: str | None = config.field(None, "a file that must exist")
    output: str | None = config.field(None, "a file to write the text to")
    kill_rank: int | None = config.field(
        None, "this process kills itself, once, after the second epoch", identity=False
    )
    kill_always: bool = config.field(False, "it does so whenever it gets there", identity=False)


def main(config: Config, run: app.Run) -> dict:
    """Returns the final loss and how many processes shared the work."""
    import jax
    import jax.numpy as jnp

    if config.x64:
        jax.config.update("jax_enable_x64", True)
    if config.source:
        run.inputs(config.source)
    real = np.float64 if config.x64 else np.float32
    generator = np.random.default_rng(config.seed)
    images = generator.normal(size=(EXAMPLES, FEATURES)).astype(real)
    targets = np.tanh(images @ generator.normal(size=(FEATURES, 3))).astype(real)
    weights = {
        "first": jnp.asarray(generator.normal(size=(FEATURES, 16)) * 0.4, real),
        "second": jnp.asarray(generator.normal(size=(16, 3)) * 0.4, real),
    }

    def loss_of(weights, batch):
        return ((jnp.tanh(batch["images"] @ weights["first"]) @ weights["second"] - batch["targets"]) ** 2).mean()

    def step(state, batch):
        loss, gradient = jax.value_and_grad(loss_of)(state, batch)
        return jax.tree.map(lambda w, g: w - config.rate * g, state, gradient), {"loss": loss}

    epochs = [0]

    def evaluate(state):
        epochs[0] += 1
        time.sleep(config.pause)
        _maybe_die(config, run, epochs[0])
        return {"whole_loss": loss_of(state, {"images": images, "targets": targets})}

    plan = supervised.Plan(
        config.epochs, BATCH, config.seed, log_every=1, checkpoint_seconds=1e9, checkpoint_steps=5
    )  # fmt: skip
    state = supervised.train(run, step, weights, {"images": images, "targets": targets}, plan, evaluate=evaluate)
    if config.output and run.is_main:
        files.write_atomically(config.output, config.text)
        run.outputs(config.output)
    loss = loss_of(state, {"images": images, "targets": targets})
    counts = {"processes": jax.process_count(), "devices": jax.device_count()}
    return {"loss": float(loss), "text": config.text, "output": config.output} | counts


def _maybe_die(config: Config, run: app.Run, epoch: int) -> None:
    import jax

    mark = pathlib.Path(run.path) / "launch" / "killed"
    if config.kill_rank == jax.process_index() and epoch >= 2 and (config.kill_always or not mark.exists()):
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    app.run(main, Config)
