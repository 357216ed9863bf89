"""A training step against exact gradients; schedules by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import autoregressive, ising
from kernels.ising import energies
from projects.van import systems, training_step, weights
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

    parameters = weights.fresh(network, 3)
    expected = jax.grad(free_energy)(parameters)
    total, repeats = None, 12
    step = jax.jit(training_step.make_step(settings, system.energy))
    state = training_step.initial_state(settings, parameters)
    outcomes = []
    for k in range(repeats):
        # Adam's first moment after one step is a tenth of the gradient.
        after, _ = step(state._replace(key=jax.random.key(k)), {"beta": jnp.full(1, settings.beta)})
        outcomes.append(jax.tree.map(lambda moment: 10 * moment, after.optimizer[1].mu))
    mean = jax.tree.map(lambda *each: np.mean(each, axis=0), *outcomes)
    total = np.sqrt(sum(np.sum(np.square(a)) for a in jax.tree.leaves(expected)))
    difference = np.sqrt(
        sum(np.sum(np.square(a - b)) for a, b in zip(*map(jax.tree.leaves, (mean, expected)), strict=True))
    )
    spread = np.sqrt(
        sum(np.sum(np.var(np.stack(each), axis=0)) for each in zip(*map(jax.tree.leaves, outcomes), strict=True))
    )
    assert total > 0.05 and difference < 6 * spread / np.sqrt(repeats) + 0.01 * total


def test_no_gradient_where_the_network_is_exact():
    """beta 0 and uniform conditionals: l is constant, and so the gradient vanishes without any average."""
    settings = TrainConfig(
        system="sk", rows=1, columns=5, network="made", depth=1, channels=1, bias=False, batch_size=8
    )
    parameters = jax.tree.map(jnp.zeros_like, weights.fresh(network_of(settings), 0))
    step = jax.jit(training_step.make_step(settings, systems.create(settings).energy))
    _, metrics = step(training_step.initial_state(settings, parameters), {"beta": jnp.zeros(1)})
    assert float(metrics["gradient"]) == pytest.approx(0, abs=1e-6) and float(metrics["loss_deviation"]) < 1e-5
    assert float(metrics["loss"]) == pytest.approx(-np.log(2), rel=1e-6)


def test_annealing():
    """The papers' beta (1 - anneal^t) where it is asked for; by default the final beta is reached half-way."""
    settings = TrainConfig(anneal=0.9)
    betas = [float(training_step.beta_at(settings, jnp.float32(2.0), done)) for done in (0, 1, 200)]
    assert betas == pytest.approx([2 * 0.1, 2 * 0.19, 2.0], rel=1e-5)
    assert float(training_step.beta_at(TrainConfig(anneal=0.0), jnp.float32(2.0), 0)) == 2.0
    for steps_in_all in (10, 300, 10_000):
        settings = TrainConfig(steps=steps_in_all, beta=0.5)
        half = [training_step.beta_at(settings, 0.5, done) for done in (0, steps_in_all // 2 - 1, steps_in_all - 1)]
        assert [float(beta) for beta in half] == pytest.approx([0.5 / (steps_in_all / 2), 0.5, 0.5])
    assert float(training_step.beta_at(TrainConfig(steps=100, anneal_share=1.0), 1.0, 49)) == pytest.approx(0.5)
    assert float(training_step.beta_at(TrainConfig(steps=100, anneal_share=0.0), 1.0, 0)) == 1.0


def test_the_final_beta():
    """300 steps of the papers' schedule end at 0.45 of beta, which nothing said; whole periods of evaluation count."""
    papers = TrainConfig(steps=300, anneal=0.998, beta=0.44, evaluate_every=100)
    assert training_step.final_beta(papers) / 0.44 == pytest.approx(0.4515, abs=1e-4)
    assert (
        training_step.steps_in_all(papers) == 300
        and training_step.steps_in_all(dataclasses.replace(papers, steps=301)) == 400
    )
    assert training_step.final_beta(TrainConfig(steps=300, beta=0.44)) == 0.44, "not 0.4399999976"
    assert training_step.final_beta(TrainConfig(anneal=0.0, beta=0.44)) == 0.44


def test_forbidden_states_leave_gradients_finite():
    """Three up spins of five at most: energies of +inf among the samples. Loss and gradient are finite, and training
    drives the network away from them: their share falls below a tenth of what it was."""

    def energy(spins):
        up = (spins > 0).sum((1, 2))
        return jnp.where(up > 3, jnp.inf, -1.0 * up)

    settings = dataclasses.replace(TINY, batch_size=500, learning_rate=3e-2, z2=False, steps=150)
    step = jax.jit(training_step.make_step(settings, energy))
    state = training_step.initial_state(settings, weights.fresh(network_of(settings), 0))
    shares = []
    for _ in range(150):
        state, metrics = step(state, {"beta": jnp.full(1, settings.beta)})
        assert all(np.isfinite(value) for value in metrics.values())
        shares.append(float(metrics["forbidden"]))
    assert shares[0] > 0.1 and np.mean(shares[-20:]) < shares[0] / 10
    loss = training_step.finite_loss(jnp.array([1.0, 3.0, 7.0]), jnp.array([False, False, True]))
    np.testing.assert_allclose(loss, [1, 3, 3 + training_step.FORBIDDEN])
    assert not np.any(training_step.finite_loss(jnp.ones(3), jnp.ones(3, bool))), (
        "nothing to learn from, and nothing nan"
    )
    assert np.isnan(training_step.finite_loss(jnp.array([jnp.nan, 1.0]), jnp.array([False, True]))).all(), (
        "nan is not hidden"
    )


@pytest.mark.parametrize("schedule", ["constant", "plateau", "cosine"])
def test_a_state_keeps_its_types_in_64_bit_mode(schedule):
    """The plateau's best loss became float64, and training refused its own state."""
    with jax.enable_x64(True):
        settings = dataclasses.replace(
            TINY, batch_size=10, schedule=schedule, warmup=2, averaging=0.9, anneal=None, steps=4, defended=True
        )
        step = jax.jit(training_step.make_step(settings, systems.create(settings).energy))
        state = training_step.initial_state(settings, weights.fresh(network_of(settings), 0))
        for _ in range(2):
            after, _ = step(state, {"beta": np.full(1, 0.5, np.float32)})
            assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(lambda leaf: leaf.dtype, state)
            state = after


def test_a_defended_training_keeps_its_networks_on_the_way():
    """Of 1/4, 1/2 and 3/4 of beta: the first steps at or beyond them, of the running mean where there is one."""
    settings = TrainConfig(
        system="sk", rows=1, columns=4, network="made", depth=1, channels=1, bias=False, batch_size=20, steps=8,
        anneal_share=1.0, defended=True,
    )  # fmt: skip
    step = jax.jit(training_step.make_step(settings, systems.create(settings).energy))
    state = training_step.initial_state(settings, weights.fresh(network_of(settings), 0))
    after = {}
    for done in range(1, 9):
        state, _ = step(state, {"beta": jnp.full(1, 1.0)})
        after[done] = np.asarray(state.parameters["layer_0"]["kernel"])
    for wider, done in zip(state.wider, (2, 4, 6), strict=True):
        np.testing.assert_array_equal(wider["layer_0"]["kernel"], after[done])


def test_warmup_and_cosine():
    settings = TrainConfig(schedule="cosine", warmup=10, steps=100, learning_rate=1.0)
    assert float(training_step.rate_at(settings, jnp.float32(1), 0)) == pytest.approx(0.1)
    assert float(training_step.rate_at(settings, jnp.float32(1), 50)) == pytest.approx(0.5)
    assert float(training_step.rate_at(settings, jnp.float32(1), 100)) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_half_precision_gradients_leave_log_probabilities_alone():
    """The loss is to the bit that of float32; the gradient is near."""
    outcomes = []
    for dtype in ("float32", "bfloat16"):
        settings = TrainConfig(rows=3, depth=2, channels=4, half_width=1, batch_size=50, gradient_dtype=dtype, clip=0.0)
        step = jax.jit(training_step.make_step(settings, energies.square))
        parameters = weights.fresh(network_of(settings), 1)
        outcomes.append(step(training_step.initial_state(settings, parameters), {"beta": jnp.full(1, 0.4)})[1])
    assert float(outcomes[0]["loss"]) == float(outcomes[1]["loss"])
    assert float(outcomes[0]["gradient"]) == pytest.approx(float(outcomes[1]["gradient"]), rel=0.05)
    assert float(outcomes[0]["gradient"]) != float(outcomes[1]["gradient"])


def test_running_mean_of_weights():
    settings = TrainConfig(
        system="sk", rows=1, columns=4, network="made", depth=1, channels=1, bias=False, averaging=0.5, batch_size=50,
        learning_rate=0.1,
    )  # fmt: skip
    step = jax.jit(training_step.make_step(settings, systems.create(settings).energy))
    state = training_step.initial_state(settings, weights.fresh(network_of(settings), 0))
    mean = np.asarray(state.parameters["layer_0"]["kernel"])
    for done in range(12):
        state, _ = step(state, {"beta": jnp.full(1, 1.0)})
        decay = min(0.5, (done + 1) / (done + 10))
        mean = decay * mean + (1 - decay) * np.asarray(state.parameters["layer_0"]["kernel"])
    np.testing.assert_allclose(
        training_step.evaluated_parameters(settings, state)["layer_0"]["kernel"], mean, rtol=1e-5
    )
