"""The optimisers of our classifiers: AdamW or SGD with Nesterov momentum, and how their learning rate goes."""

from typing import Any

import jax
import optax

OPTIMIZERS = ("adamw", "sgd")


def make_optimizer(
    name: str,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    warmup: float = 0.1,
    decay_start: float = 0.0,
) -> optax.GradientTransformation:
    """Returns the optimiser with its schedule; weights decay on kernels only.

    Args:
      name: "adamw", or "sgd" (Nesterov momentum 0.9; the decay is then part of the gradient).
      steps, learning_rate, warmup, decay_start: see `schedule`.
      weight_decay: as the optimiser means it.

    Raises:
      ValueError: an unknown name.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}; choose one of {', '.join(OPTIMIZERS)}")
    rate = schedule(steps, learning_rate, warmup=warmup, decay_start=decay_start)
    if name == "adamw":
        return optax.adamw(rate, weight_decay=weight_decay, mask=kernels)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=kernels), optax.sgd(rate, momentum=0.9, nesterov=True)
    )


def schedule(steps: int, learning_rate: float, *, warmup: float = 0.0, decay_start: float = 0.0) -> optax.Schedule:
    """Returns a learning rate that rises linearly, stays, and falls linearly to 0 at the last step.

    Args:
      steps: of the whole training.
      learning_rate: the highest.
      warmup: share of the steps in which it rises; 0: it begins at the highest.
      decay_start: share of the steps after which it falls, not before it has risen.
    """
    rise = max(int(warmup * steps), 1) if warmup else 0
    hold = max(int(decay_start * steps), rise)
    fall = optax.linear_schedule(learning_rate, 0.0, max(steps - hold, 1), hold - rise)
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, rise), fall], [rise]) if rise else fall


def kernels(parameters: Any) -> Any:
    """Returns a tree of the same structure, True for kernels, False for biases and norms: what decays."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in jax.tree_util.keystr(path), parameters)
