"""Rounds against plain float64 loops, and what holds between methods, paths, chunks and restarts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.federated import clients, methods, per_client, rounds, same_simulation, simulate
from common.federated.compressor import Bits, Compressor
from tests.common.federated import digits

SETTINGS, KEY = digits.SETTINGS, digits.KEY
WITH_MOMENTUM = dataclasses.replace(SETTINGS, momentum=0.5)
FULL = 32 * digits.SIZE + 64  # bits of the model, and of the frame around it


def halves(values, key):
    """A compressor for tests: every second weight, by the parity of the largest."""
    return jnp.where(jnp.arange(values.size) % 2 == jnp.argmax(jnp.abs(values)) % 2, values, 0)


def plain_halves(values):
    return np.where(np.arange(values.size) % 2 == np.argmax(np.abs(values)) % 2, values, 0)


HALVES = Compressor(halves, lambda message: message, lambda message: 16 * message.size)
FEEDBACK = methods.Method("halves", HALVES, HALVES, up_feedback=True, down_feedback=True)


def run(method, count=6, settings=SETTINGS, population=None, **more):
    return simulate.simulate(digits.MODEL, population or digits.population(), method, count, KEY, settings, **more)


def changed(**changes):
    return dataclasses.replace(SETTINGS, **changes)


def weights(result):
    return np.asarray(result.state.weights)


@pytest.fixture(scope="module")
def plain():
    return run(methods.fed_sgd())


@pytest.fixture(scope="module")
def fed_back():
    return run(FEEDBACK, settings=WITH_MOMENTUM, test=digits.load()[1])


def test_rounds_are_those_of_a_plain_loop(fed_back):
    """Residuals both ways and momentum, which rest while a client is away."""
    oracle = digits.plain_rounds(WITH_MOMENTUM, 6, plain_halves)
    np.testing.assert_allclose(fed_back.updates, oracle["updates"], atol=1e-6)
    np.testing.assert_allclose(weights(fed_back), oracle["weights"], atol=1e-6)
    np.testing.assert_allclose(fed_back.state.residuals, oracle["residuals"], atol=1e-6)
    np.testing.assert_allclose(fed_back.state.server_residual, oracle["server_residual"], atol=1e-6)
    assert np.abs(oracle["residuals"]).max() > 1e-3
    first = np.asarray(run(FEEDBACK, 1, WITH_MOMENTUM, test=digits.load()[1]).state.residuals)
    assert np.flatnonzero(first.any(axis=1)).tolist() == sorted(digits.participants(0))


def test_changes_telescope(fed_back):
    """The clients' mean changes are what the server did, and what is still in the residuals."""
    oracle = digits.plain_rounds(WITH_MOMENTUM, 6, plain_halves, updates=fed_back.updates)
    left = np.asarray(fed_back.state.server_residual) + np.asarray(fed_back.state.residuals).sum(axis=0) / 5
    np.testing.assert_allclose(weights(fed_back) - digits.start() + left, oracle["changes"], atol=1e-5)
    assert np.abs(left).max() > 1e-3


def test_local_steps_are_those_of_a_plain_loop():
    oracle = digits.plain_rounds(SETTINGS, 3, lambda values: values, local_steps=3)
    result = run(methods.fed_avg(3), 3)
    np.testing.assert_allclose(weights(result), oracle["weights"], atol=1e-5)
    assert [point.iterations for point in result.curve] == [3, 6, 9]


def test_one_local_step_of_equal_clients_is_plain_descent(plain):
    assert np.array_equal(weights(run(methods.fed_avg(1))), weights(plain))


def test_sizes_weigh(plain):
    """By hand, of one round in clients of 31 and 111 samples."""
    population = digits.unequal_population()
    result = run(methods.fed_avg(1), 1, population=population)
    start = digits.start().astype(np.float64)
    bits = jax.random.bits(jax.random.fold_in(rounds.stream(KEY, rounds.BATCHES, 0), 0), (5, 8))
    total, samples = np.zeros(digits.SIZE), 0
    for place, client in enumerate(digits.participants(0)):
        size = int(population.sizes[client])
        total -= size * 0.1 * digits.gradient(start, clients.batch_of(bits[place], population, client))
        samples += size
    np.testing.assert_allclose(result.updates[0], total / samples, atol=1e-6)
    assert np.abs(result.updates - run(methods.fed_sgd(), 1, population=population).updates).max() > 1e-4


def test_own_weights_give_what_shared_ones_give(plain):
    np.testing.assert_allclose(
        weights(run(methods.fed_sgd(), settings=changed(weights="own"))), weights(plain), atol=1e-5
    )


def test_chunks_and_many_rounds_a_call_give_the_same(plain):
    """Two, two and one of five clients; six rounds in one call."""
    result = run(methods.fed_sgd(), settings=changed(chunk=2, every=6))
    np.testing.assert_allclose(result.updates, plain.updates, atol=1e-6)
    assert result.curve == plain.curve[-1:] and result.ledger == plain.ledger


@pytest.mark.slow
def test_rounds_in_one_call_give_what_calls_of_one_give(plain):
    result = run(methods.fed_sgd(), settings=changed(every=6))
    assert np.array_equal(result.updates, plain.updates)


@pytest.mark.slow
def test_momentum_may_be_reset(plain):
    result = run(methods.fed_sgd(), settings=changed(momentum=0.5, momentum_state="reset"))
    assert result.state.momentum.shape == (0, digits.SIZE)
    np.testing.assert_allclose(weights(result), weights(plain), atol=1e-6)


def noisy(key, batch):
    return batch | {"noise": jax.random.uniform(key)}


# One weight, whose gradient is the noise: updates show the keys.
NOISE = simulate.Model(lambda key: jnp.zeros(1), lambda params, batch: params[0] * batch["noise"], None, noisy)


@pytest.mark.parametrize(("method", "steps"), [(methods.fed_sgd(), 1), (methods.fed_avg(2), 2)])
def test_augmentation_has_a_key_for_every_round_step_and_client(method, steps):
    """Whatever the chunks."""
    population = digits.population()
    result = simulate.simulate(NOISE, population, method, 2, KEY, changed(chunk=2))
    draws = np.zeros((2, 5, steps))
    for number, place, step in np.ndindex(draws.shape):
        key = jax.random.fold_in(rounds.stream(KEY, rounds.BATCHES, number), rounds.AUGMENTATION)
        key = jax.random.fold_in(jax.random.fold_in(key, step), digits.participants(number)[place])
        draws[number, place, step] = jax.random.uniform(key)
    assert len(np.unique(draws)) == draws.size
    np.testing.assert_allclose(result.updates[:, 0], -0.1 * draws.mean(axis=1).sum(axis=1), atol=1e-6)


def test_votes_of_the_majority():
    """Four clients can tie: zero then."""
    result = run(methods.sign_sgd(0.01), 1, changed(per_round=4))
    assert set(np.unique(result.updates)) == {np.float32(-0.01), np.float32(0), np.float32(0.01)}
    # Signs without zeros go up, a bit each, 6 fill the last byte; ties come down, five signs a byte.
    assert result.curve[0].up == Bits(4 * digits.SIZE, 0, 4 * (64 + 6), 4 * digits.SIZE)
    assert result.ledger.totals[1] == Bits(8 * digits.SIZE // 5, 0, 64, 8 * digits.SIZE // 5)


def test_bits_by_hand(plain):
    """Who comes in takes the model, as one missed update has as many bits; who has missed none takes nothing."""
    seen, down = dict.fromkeys(range(digits.CLIENTS), 0), 0
    for number in range(6):
        for client in digits.participants(number):
            down += min(number - seen[client], 1) * FULL
            seen[client] = number
        point = plain.curve[number]
        assert (point.rounds, point.bits_up, point.bits_down) == (number + 1, (number + 1) * 5 * FULL, down)
        assert type(point.bits_up) is type(point.bits_down) is int
    assert plain.ledger.last_sync == list(seen.values())


def test_a_run_that_was_killed_gives_the_same_numbers(fed_back, tmp_path, monkeypatch):
    call = functools.partial(run, FEEDBACK, settings=WITH_MOMENTUM, test=digits.load()[1], checkpoints=tmp_path)
    advance = rounds.advance

    def dies(*arguments):
        if int(arguments[4].done) == 3:
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(rounds, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        call(6)
    monkeypatch.setattr(rounds, "advance", advance)
    resumed = call(6)
    assert len(resumed.updates) == 3 and resumed.curve == fed_back.curve and resumed.ledger == fed_back.ledger
    for own, other in zip(resumed.state, fed_back.state, strict=True):
        assert np.array_equal(own, other)
    with pytest.raises(ValueError, match=r"rounds=4: .* has a state after 6"):
        call(4)
    with pytest.raises(ValueError, match=r"learning_rate=0.2, but the simulation in .* has 0.1"):
        call(6, settings=dataclasses.replace(WITH_MOMENTUM, learning_rate=0.2))
    other = digits.population().samples | {"y": 9 - digits.population().samples["y"]}
    with pytest.raises(ValueError, match=r"the simulation in .* has other clients or samples"):
        call(6, population=digits.population()._replace(samples=other))
    with pytest.raises(ValueError, match=r"the simulation in .* has another test batch"):
        call(6, test=None)
    log = []
    call(6, settings=dataclasses.replace(WITH_MOMENTUM, chunk=2, save_every=3), log=log.append)
    assert log[0].startswith("resumed after round 6 of 6; chunk=2, where it was None: sums over clients are rounded")


def decayed(params, batch):
    return digits.loss(params, batch) + 1e-4 / 2 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def half_right(params, batch):
    return 0.5 * digits.accuracy(params, batch)


def mirrored(key, batch):
    return batch | {"x": batch["x"][:, ::-1]}


@pytest.mark.parametrize(
    "change",
    [{"loss": decayed}, {"accuracy": half_right}, {"augment": mirrored}],
    ids=lambda change: next(iter(change)),
)
def test_another_function_of_the_model_is_another_simulation(change):
    """A weight decay of 1e-4, too, though the first weights are nearly 0."""
    state, population = (
        rounds.initial_state(digits.MODEL, digits.population(), FEEDBACK, SETTINGS, KEY),
        digits.population(),
    )

    def identity(model):
        return same_simulation.identity_of(model, FEEDBACK, SETTINGS, state, population, KEY, None)

    rewritten = digits.MODEL._replace(loss=lambda params, batch: 1 * digits.loss(params, batch))
    before = identity(digits.MODEL)
    assert same_simulation.check_same(identity(rewritten), before, "there") == ""
    with pytest.raises(ValueError, match="the simulation in there has another loss, accuracy or augmentation"):
        same_simulation.check_same(identity(digits.MODEL._replace(**change)), before, "there")
    older = {name: value for name, value in before.items() if name not in ("values", "chunk")}
    older["settings"] = before["settings"] | {"chunk": None}
    assert same_simulation.check_same(before, older, "there") == "", "what an older version had not noted"


def test_values_that_are_not_finite_are_compared_too():
    assert same_simulation._are_near([None, 1.0], [None, 1.0005])
    assert not same_simulation._are_near([None, 1.0], [2.0, 1.0]) and not same_simulation._are_near([1.0], [1.0, 1.0])


@pytest.mark.parametrize("population", [digits.population, digits.unequal_population])
def test_what_each_client_has_of_it(population, monkeypatch):
    """By hand, client by client; 1,420 samples in chunks of 300, of which the last is short."""
    monkeypatch.setattr(per_client, "AT_ONCE", 300)
    result = run(methods.fed_sgd(), 2, population=population(), per_client=True)
    samples = jax.tree.map(np.asarray, population().samples)
    for client in range(digits.CLIENTS):
        first, size = int(population().offsets[client]), int(population().sizes[client])
        batch = {name: array[first : first + size] for name, array in samples.items()}
        np.testing.assert_allclose(result.per_client.loss[client], digits.loss(result.params, batch), rtol=1e-5)
        np.testing.assert_allclose(result.per_client.accuracy[client], digits.accuracy(result.params, batch), rtol=1e-6)
    assert result.per_client.accuracy.dtype == np.float32 and np.ptp(result.per_client.accuracy) > 0.2
    assert run(methods.fed_sgd(), 2, population=population()).per_client is None


def test_it_learns():
    """The same program, 200 rounds: from a tenth to nearly all of ten digits, though clients see two each."""
    curve = run(FEEDBACK, 200, WITH_MOMENTUM, test=digits.load()[1]).curve
    assert curve[0].accuracy < 0.6 and curve[-1].accuracy > 0.85 and curve[-1].loss < curve[0].loss


def test_changes_that_are_not_finite_stop_it():
    broken = digits.population().samples | {"x": jnp.full_like(digits.population().samples["x"], jnp.nan)}
    first = digits.participants(0)[0]
    with pytest.raises(ValueError, match=f"the change of client {first} in round 0 is not finite"):
        run(methods.fed_sgd(), population=digits.population()._replace(samples=broken))


def test_decoders_that_give_nan_are_told_from_clients():
    broken = Compressor(
        lambda values, key: values, lambda message: message * jnp.nan, lambda message: Bits(message.size)
    )
    with pytest.raises(ValueError, match="what the method's compressors decode in round 0 is not finite"):
        run(methods.Method("broken", broken, broken), 1)


def test_bits_without_a_reference_count_as_their_payload():
    assert HALVES.bits(np.zeros(5)) == Bits(80, 0, 0, 80)
    assert Compressor(halves, None, lambda message: Bits(8, 9)).bits(None) == Bits(8, 9, 0, 8)


HALF = digits.MODEL._replace(init=lambda key: {"bias": jnp.zeros(10, jnp.bfloat16)})
NONE = digits.MODEL._replace(init=lambda key: {})
LARGE = digits.MODEL._replace(init=lambda key: jnp.zeros(2**27))


def start(model):
    return rounds.initial_state(model, digits.population(), methods.fed_sgd(), SETTINGS, KEY)


def test_what_is_no_method_or_key_is_refused():
    with pytest.raises(TypeError, match=r"method='stc': expected a Method"):
        run("stc")
    with pytest.raises(TypeError, match=r"key=0: expected one of jax.random.key"):
        simulate.simulate(digits.MODEL, digits.population(), methods.fed_sgd(), 1, 0, SETTINGS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(methods.fed_sgd(), settings=changed(per_round=21)), r"per_round=21: expected .* from 1 to 20"),
        (lambda: run(methods.fed_sgd(), 0), r"rounds=0"),
        (lambda: changed(batch_size=0), r"batch_size=0"),
        (lambda: changed(learning_rate=-1.0), r"learning_rate=-1.0"),
        (lambda: changed(momentum=1.0), r"momentum=1.0"),
        (lambda: changed(momentum_state="forget"), r"momentum_state='forget': expected 'persist' or 'reset'"),
        (lambda: changed(weights="none"), r"weights='none'"),
        (lambda: changed(cache=-1), r"cache=-1"),
        (lambda: changed(chunk=0), r"chunk=0"),
        (lambda: run(methods.fed_avg(2), settings=changed(weights="shared")), r"weights='shared' with 2 local steps"),
        (lambda: run(methods.fed_sgd(), test={"x": np.zeros((0, 64)), "y": np.zeros(0, int)}), r"test has arrays of"),
        (lambda: run(methods.fed_sgd(), test={"x": np.zeros((3, 64)), "y": np.zeros(2, int)}), r"test has arrays of"),
        (lambda: methods.fed_avg(0), r"local_steps=0"),
        (lambda: methods.sign_sgd(0.0), r"step=0.0"),
        (lambda: methods.sign_sgd(0.1, "one"), r"zeros='one'"),
        (lambda: methods.on_grid(methods.fed_sgd(), 0.3), r"step=0.3: expected a power of two"),
        (lambda: start(HALF), r"params\['bias'\] is bfloat16: expected float32"),
        (lambda: start(NONE), r"the model has 0 parameters"),
        (lambda: start(LARGE), r"the model has 134217728 parameters: expected 1 to"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
