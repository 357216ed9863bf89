"""How the learning rate goes, by hand, and what decays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.training import optimizers


def test_the_rate_rises_and_falls():
    optimizer = optimizers.make_optimizer("sgd", steps=10, learning_rate=0.5, warmup=0.2)
    parameters = {"kernel": jnp.zeros(1)}
    state, moved = optimizer.init(parameters), []
    for _ in range(10):
        updates, state = optimizer.update({"kernel": jnp.ones(1)}, state, parameters)
        moved.append(-float(updates["kernel"][0]))
    momentum = [sum(0.9**age for age in range(step + 1)) for step in range(10)]
    rates = [0.5 * min(step / 2, (10 - step) / 8) for step in range(10)]
    np.testing.assert_allclose(moved, [r * (1 + 0.9 * m) for r, m in zip(rates, momentum, strict=True)], rtol=1e-5)


@pytest.mark.parametrize(
    ("warmup", "decay_start", "rates"),
    [
        (0.0, 0.0, [8, 7, 6, 5, 4, 3, 2, 1]),
        (0.0, 0.5, [8, 8, 8, 8, 8, 6, 4, 2]),
        (0.25, 0.5, [0, 4, 8, 8, 8, 6, 4, 2]),
        (0.25, 0.125, [0, 4, 8, 20 / 3, 16 / 3, 4, 8 / 3, 4 / 3]),
        (0.01, 1.0, [0, 8, 8, 8, 8, 8, 8, 8]),
    ],
)
def test_schedules_by_hand(warmup, decay_start, rates):
    rate = optimizers.schedule(8, 8.0, warmup=warmup, decay_start=decay_start)
    np.testing.assert_allclose([float(rate(step)) for step in range(8)], rates, rtol=1e-6)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_kernels_decay_and_biases_do_not(name):
    optimizer = optimizers.make_optimizer(name, steps=10, learning_rate=0.5, weight_decay=0.1, warmup=0.0)
    parameters = {"fc": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, parameters), optimizer.init(parameters), parameters)
    assert np.all(updates["fc"]["kernel"] < 0) and np.all(updates["fc"]["bias"] == 0)


def test_unknown_optimizers_are_refused():
    with pytest.raises(ValueError, match="optimizer is 'lion'"):
        optimizers.make_optimizer("lion", steps=1, learning_rate=1.0)
