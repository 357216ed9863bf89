"""Trains a small network on random numbers: a whole verb in thirty lines, for the tests of the house.

It is run as a program, `python toy_verb.py --run_dir=...`, by tests that kill it.
"""

import dataclasses

import numpy as np

from common import app, config
from common.training import supervised


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of the toy."""

    seed: int = config.field(0, "decides everything", minimum=0)
    epochs: int = config.field(4, "passes", minimum=1)
    checkpoint_steps: int = config.field(7, "steps between checkpoints", minimum=1, identity=False)


def main(config: Config, run: app.Run) -> dict:
    """Returns the final loss and a checksum of every weight."""
    import jax
    import jax.numpy as jnp
    import optax

    generator = np.random.default_rng(config.seed)
    images = generator.normal(size=(400, 12)).astype(np.float32)
    labels = (images[:, :3].sum(1) > 0).astype(np.int32)
    optimizer = optax.adam(1e-2)
    key = jax.random.key(config.seed)
    weights = {
        "first": jax.random.normal(jax.random.fold_in(key, 1), (12, 16)) * 0.3,
        "second": jax.random.normal(jax.random.fold_in(key, 2), (16, 2)) * 0.3,
    }

    def loss_of(weights, batch, key):
        hidden = jax.nn.relu(batch["images"] @ weights["first"])
        hidden *= jax.random.bernoulli(key, 0.8, hidden.shape)
        losses = optax.softmax_cross_entropy_with_integer_labels(hidden @ weights["second"], batch["labels"])
        return losses.mean()

    def step(state, batch):
        weights, optimizer_state, key = state
        key, dropout = jax.random.split(key)
        loss, gradient = jax.value_and_grad(loss_of)(weights, batch, dropout)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state)
        return (optax.apply_updates(weights, updates), optimizer_state, key), {"loss": loss}

    state = supervised.train(
        run,
        step,
        (weights, optimizer.init(weights), key),
        {"images": images, "labels": labels},
        supervised.Plan(
            epochs=config.epochs,
            batch_size=16,
            seed=config.seed,
            log_every=10,
            checkpoint_seconds=0.2,
            checkpoint_steps=config.checkpoint_steps,
        ),
        evaluate=lambda state: {"weight_sum": jnp.abs(state[0]["first"]).sum()},
    )
    bits = [np.asarray(leaf).view(np.uint32).astype(np.uint64).sum() for leaf in jax.tree.leaves(state[0])]
    return {"bits": [int(value) for value in bits]}


if __name__ == "__main__":
    app.run(main, Config)
