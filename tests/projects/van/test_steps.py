"""A training step against exact gradients; schedules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import autoregressive, ising
from kernels.ising import energies
from projects.van import model, steps, systems
from projects.van.config import TrainConfig, network_of

TINY = TrainConfig(
    system="sk", rows=1, columns=5, network="made", depth=2, channels=2, batch_size=20_000, anneal=0.0,
    beta=0.8, clip=0.0,
)  # fmt: skip


def test_the_gradient_is_that_of_the_free_energy():
    """Of 20,000 samples: within 6 sigma (or 1 %) of the derivative of sum q (ln q + beta E) over 32 states."""
    settings = TINY
    network, system = network_of(settings), systems.create(settings)
    states = jnp.asarray(np.concatenate(list(ising.states(5)))).reshape(-1, 1, 5)

    def free_energy(parameters):
        log_q = autoregressive.log_prob(parameters, network, states)
        return jnp.sum(jnp.exp(log_q) * (log_q + settings.beta * system.energy(states)))

    parameters = model.tree(model.create(network, 3))
    wanted = jax.grad(free_energy)(parameters)
    total, repeats = None, 12
    step = jax.jit(steps.make_step(settings, system.energy))
    state = steps.initial_state(settings, parameters)
    found = []
    for k in range(repeats):
        # Adam's first moment after one step is a tenth of the gradient.
        after, _ = step(state._replace(key=jax.random.key(k)), {"beta": jnp.full(1, settings.beta)})
        found.append(jax.tree.map(lambda moment: 10 * moment, after.optimizer[1].mu))
    mean = jax.tree.map(lambda *each: np.mean(each, axis=0), *found)
    total = np.sqrt(sum(np.sum(np.square(a)) for a in jax.tree.leaves(wanted)))
    difference = np.sqrt(
        sum(np.sum(np.square(a - b)) for a, b in zip(*map(jax.tree.leaves, (mean, wanted)), strict=True))
    )
    spread = np.sqrt(
        sum(np.sum(np.var(np.stack(each), axis=0)) for each in zip(*map(jax.tree.leaves, found), strict=True))
    )
    assert total > 0.05 and difference < 6 * spread / np.sqrt(repeats) + 0.01 * total


def test_no_gradient_where_the_network_is_exact():
    """beta 0 and uniform conditionals: l is constant, and so the gradient vanishes without any average."""
    settings = TrainConfig(
        system="sk", rows=1, columns=5, network="made", depth=1, channels=1, bias=False, batch_size=8
    )
    parameters = jax.tree.map(jnp.zeros_like, model.tree(model.create(network_of(settings), 0)))
    step = jax.jit(steps.make_step(settings, systems.create(settings).energy))
    _, metrics = step(steps.initial_state(settings, parameters), {"beta": jnp.zeros(1)})
    assert float(metrics["gradient"]) == pytest.approx(0, abs=1e-6) and float(metrics["loss_deviation"]) < 1e-5
    assert float(metrics["loss"]) == pytest.approx(-np.log(2), rel=1e-6)


def test_annealing():
    settings = TrainConfig(anneal=0.9)
    found = [float(steps.beta_at(settings, jnp.float32(2.0), done)) for done in (0, 1, 200)]
    assert found == pytest.approx([2 * 0.1, 2 * 0.19, 2.0], rel=1e-5)
    assert float(steps.beta_at(TrainConfig(anneal=0.0), jnp.float32(2.0), 0)) == 2.0


def test_plateaus_lower_the_rate():
    """Patience 2: the third step without a better loss lowers it, and counting begins anew."""
    settings = TrainConfig(schedule="plateau", plateau=(0.5, 2, 0.01, 3e-4), learning_rate=1e-3)
    plateau = steps.initial_state(settings, {"layer_0": {"kernel": jnp.zeros(1)}}).plateau
    rates = []
    for loss in (-1.0, -1.005, -1.005, -1.005, -1.2, -1.2, -1.2, -1.2, -1.2, -1.2, -1.2):
        plateau = steps.next_plateau(settings, plateau, jnp.float32(loss))
        rates.append(float(plateau.rate))
    assert rates == pytest.approx([1e-3] * 3 + [5e-4] * 4 + [3e-4] * 4)


def test_warmup_and_cosine():
    settings = TrainConfig(schedule="cosine", warmup=10, steps=100, learning_rate=1.0)
    plateau = steps.Plateau(jnp.float32(1), jnp.float32(0), jnp.int32(0))
    assert float(steps.rate_at(settings, plateau, 0)) == pytest.approx(0.1)
    assert float(steps.rate_at(settings, plateau, 50)) == pytest.approx(0.5)
    assert float(steps.rate_at(settings, plateau, 100)) == pytest.approx(0, abs=1e-6)


def test_half_precision_gradients_leave_log_probabilities_alone():
    """The loss is to the bit that of float32; the gradient is near."""
    found = []
    for dtype in ("float32", "bfloat16"):
        settings = TrainConfig(rows=3, depth=2, channels=4, half_width=1, batch_size=50, gradient_dtype=dtype, clip=0.0)
        step = jax.jit(steps.make_step(settings, energies.square))
        parameters = model.tree(model.create(network_of(settings), 1))
        found.append(step(steps.initial_state(settings, parameters), {"beta": jnp.full(1, 0.4)})[1])
    assert float(found[0]["loss"]) == float(found[1]["loss"])
    assert float(found[0]["gradient"]) == pytest.approx(float(found[1]["gradient"]), rel=0.05)
    assert float(found[0]["gradient"]) != float(found[1]["gradient"])


def test_running_mean_of_weights():
    settings = TrainConfig(
        system="sk", rows=1, columns=4, network="made", depth=1, channels=1, bias=False, averaging=0.5, batch_size=50,
        learning_rate=0.1,
    )  # fmt: skip
    step = jax.jit(steps.make_step(settings, systems.create(settings).energy))
    state = steps.initial_state(settings, model.tree(model.create(network_of(settings), 0)))
    mean = np.asarray(state.parameters["layer_0"]["kernel"])
    for done in range(12):
        state, _ = step(state, {"beta": jnp.full(1, 1.0)})
        decay = min(0.5, (done + 1) / (done + 10))
        mean = decay * mean + (1 - decay) * np.asarray(state.parameters["layer_0"]["kernel"])
    np.testing.assert_allclose(steps.evaluated_parameters(settings, state)["layer_0"]["kernel"], mean, rtol=1e-5)
