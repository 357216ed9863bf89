"""Rounds against a plain NumPy loop, and the identities that hold between methods, paths, chunks and restarts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.federated import clients as federated_clients
from common.federated import methods, rounds, simulate
from tests.common.federated import digits

SETTINGS = simulate.Settings(per_round=5, batch_size=8, learning_rate=0.1, every=4)
KEY = jax.random.key(11)


def halves(values, key):
    """A compressor for tests: every second weight, chosen by the parity of the largest."""
    return jnp.where(jnp.arange(values.size) % 2 == jnp.argmax(jnp.abs(values)) % 2, values, 0)


HALVES = methods.Compressor(halves, lambda message: message, lambda message: 16 * message.size)
FEEDBACK = methods.Method("halves", HALVES, HALVES, up_feedback=True, down_feedback=True)


def run(method, rounds=8, settings=SETTINGS, key=KEY, population=None, **changes):
    settings = dataclasses.replace(settings, **changes)
    return simulate.simulate(digits.MODEL, population or digits.population(), method, rounds, key, settings)


def participants(number):
    return federated_clients.draw_participants(rounds.stream(KEY, rounds.PARTICIPANTS, number), 20, 5).tolist()


def weights(result):
    return np.asarray(result.state.weights)


@pytest.fixture(scope="module")
def plain():
    return run(methods.fed_sgd())


@pytest.fixture(scope="module")
def fed_back():
    return run(FEEDBACK, record=True)


def test_rounds_are_those_of_a_plain_loop(fed_back):
    """Residuals both ways in float64, with the same batches."""
    population, unravel = digits.population(), rounds.unravel(digits.MODEL)
    gradient = jax.jit(lambda flat, batch: jax.grad(lambda flat: digits.loss(unravel(flat), batch))(flat))
    draw = jax.jit(functools.partial(federated_clients.draw_batch, batch_size=8))
    first = rounds.initial_state(digits.MODEL, population, FEEDBACK, SETTINGS, KEY)
    server, residual = np.asarray(first.weights, np.float64), np.zeros(digits.SIZE)
    own = np.zeros((20, digits.SIZE))

    def compress(values):
        return np.where(np.arange(values.size) % 2 == np.argmax(np.abs(values)) % 2, values, 0)

    for number in range(8):
        batch_key = rounds.stream(KEY, rounds.BATCHES, number)
        total = np.zeros(digits.SIZE)
        for client in participants(number):
            batch = draw(jax.random.fold_in(batch_key, client), population, client)
            own[client] -= 0.1 * np.asarray(gradient(jnp.asarray(server, jnp.float32), batch), np.float64)
            sent = compress(own[client])
            own[client] -= sent
            total += sent
        residual += total / 5
        update = compress(residual)
        residual -= update
        server += update
        np.testing.assert_allclose(fed_back.updates[number], update, atol=1e-6)
    np.testing.assert_allclose(weights(fed_back), server, atol=1e-5)
    np.testing.assert_allclose(fed_back.state.residuals, own, atol=1e-5)


@pytest.mark.parametrize("per_round", [5, 20])
def test_changes_telescope(per_round, fed_back):
    """The mean of what clients wanted is what the server did, and what is still in the residuals."""
    result = fed_back if per_round == 5 else run(FEEDBACK, per_round=20, record=True)
    state = result.state
    start = np.asarray(rounds.initial_state(digits.MODEL, digits.population(), FEEDBACK, SETTINGS, KEY).weights)
    # What clients want depends on the weights: every round of the run is repeated without compression.
    total, current = np.zeros(digits.SIZE), start
    settings = dataclasses.replace(SETTINGS, per_round=per_round)
    for number, update in enumerate(result.updates):
        rows = [jnp.zeros(shape) for shape in ((0, digits.SIZE), (0, digits.SIZE), (0,))]
        here = rounds.State(jnp.array(current), *rows, jnp.int32(number))
        one, *_ = rounds.advance(digits.MODEL, methods.fed_sgd(), settings, 1, here, digits.population(), KEY)
        total += np.asarray(one.weights, np.float64) - current
        current = current + update
    left = np.asarray(state.server_residual) + np.asarray(state.residuals).sum(axis=0) / per_round
    assert np.abs(left).max() > 1e-3
    np.testing.assert_allclose(total, weights(result) - start + left, atol=1e-5)


def test_one_local_step_of_equal_clients_is_plain_descent(plain):
    assert np.array_equal(weights(run(methods.fed_avg(1))), weights(plain))


def test_sizes_weigh(plain):
    population = digits.population(gamma=0.9)
    assert len(set(population.sizes.tolist())) > 5
    weighed, equal = (
        run(method, rounds=1, population=population) for method in (methods.fed_avg(1), methods.fed_sgd())
    )
    assert np.abs(weights(weighed) - weights(equal)).max() > 1e-4


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_shared_weights_give_what_own_ones_give(plain, momentum):
    shared = plain if not momentum else run(methods.fed_sgd(), momentum=momentum)
    own = run(methods.fed_sgd(), weights="own", momentum=momentum)
    np.testing.assert_allclose(weights(own), weights(shared), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunks_give_what_all_at_once_gives(fed_back, chunk):
    result = run(FEEDBACK, chunk=chunk)
    np.testing.assert_allclose(weights(result), weights(fed_back), atol=1e-6)
    np.testing.assert_allclose(result.state.residuals, fed_back.state.residuals, atol=1e-6)
    assert result.curve == fed_back.curve


def test_local_steps_follow_each_other():
    """One client, all of its samples a batch: n local steps are n rounds of descent."""
    population = digits.population(count=1, classes_per_client=10)
    size = int(population.sizes[0])
    many = run(methods.fed_avg(3), 1, population=population, per_round=1, batch_size=size)
    each = run(methods.fed_sgd(), 3, population=population, per_round=1, batch_size=size)
    np.testing.assert_allclose(weights(many), weights(each), atol=1e-5)
    assert many.curve[-1].iterations == each.curve[-1].iterations == 3


def test_momentum_persists_or_not():
    population = digits.population(count=1, classes_per_client=10)
    shared = {"population": population, "per_round": 1, "batch_size": int(population.sizes[0]), "momentum": 0.5}
    reset, persist = (run(methods.fed_sgd(), 2, momentum_state=kind, **shared) for kind in ("reset", "persist"))
    plain = run(methods.fed_sgd(), 2, **shared | {"momentum": 0.0})
    assert np.array_equal(weights(reset), weights(plain)) and reset.state.momentum.shape == (0, digits.SIZE)
    one = run(methods.fed_sgd(), 1, **shared | {"momentum": 0.0})
    start = rounds.initial_state(digits.MODEL, population, methods.fed_sgd(), SETTINGS.__class__(), KEY).weights
    inertia = 0.5 * (weights(one) - np.asarray(start))
    np.testing.assert_allclose(weights(persist), weights(plain) + inertia, atol=1e-6)


def test_rows_of_clients_that_are_away_rest(fed_back):
    one = run(FEEDBACK, 1)
    took_part = np.asarray(one.ledger.last_sync) >= 0
    moved = np.abs(one.state.residuals).max(axis=1) > 0
    assert took_part.all() and moved.sum() == 5


def test_votes_of_the_majority():
    """Four clients can tie: zero then, or either sign."""
    result = run(methods.sign_sgd(0.01), 4, per_round=4, record=True)
    levels = {np.float32(-0.01), np.float32(0), np.float32(0.01)}
    assert set(np.unique(result.updates)) == levels
    votes = run(methods.sign_sgd(0.01, "random"), 4, per_round=4, record=True)
    assert set(np.unique(votes.updates)) == levels - {0}
    ties = result.updates[0] == 0
    assert np.array_equal(result.updates[0][~ties], votes.updates[0][~ties]) and len(set(votes.updates[0][ties])) == 2


def test_bits_are_counted():
    plain = run(methods.fed_sgd(), 8, per_round=20)
    full = 32 * digits.SIZE
    assert [(p.rounds, p.bits_up, p.bits_down) for p in plain.curve] == [
        (4, 80 * full, 60 * full),
        (8, 160 * full, 140 * full),
    ]
    votes = run(methods.sign_sgd(0.01, "random"), 8, per_round=20)
    assert (votes.curve[-1].bits_up, votes.curve[-1].bits_down) == (160 * digits.SIZE, 140 * digits.SIZE)
    assert all(isinstance(number, int) for number in plain.curve[-1][4:])


def test_clients_that_were_away_pay_for_what_they_missed():
    """By hand, from the rounds in which each takes part."""
    result = run(methods.sign_sgd(0.01, "random"), 8, every=8)
    seen, bits = dict.fromkeys(range(20), 0), 0
    for number in range(8):
        for client in participants(number):
            bits += min(number - seen[client], 32) * digits.SIZE
            seen[client] = number
    assert result.curve[-1].bits_down == bits and result.ledger.last_sync == list(seen.values())


def test_a_run_that_was_killed_gives_the_same_numbers(tmp_path, monkeypatch):
    test = digits.load()[1]
    settings = dataclasses.replace(SETTINGS, momentum=0.5)
    call = functools.partial(
        simulate.simulate, digits.MODEL, digits.population(), FEEDBACK, test=test, settings=settings
    )
    whole = call(12, KEY)
    stopped = rounds.advance

    def dies(*arguments):
        if int(arguments[4].done) == 8:
            raise KeyboardInterrupt
        return stopped(*arguments)

    monkeypatch.setattr(rounds, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        call(12, KEY, checkpoints=tmp_path)
    monkeypatch.setattr(rounds, "advance", stopped)
    resumed = call(12, KEY, checkpoints=tmp_path)
    assert resumed.curve == whole.curve and resumed.ledger.totals == whole.ledger.totals
    for own, other in zip(resumed.state, whole.state, strict=True):
        assert np.array_equal(own, other)
    with pytest.raises(ValueError, match=r"rounds=8: .* has a state after 12"):
        call(8, KEY, checkpoints=tmp_path)
    with pytest.raises(ValueError, match=r"key=.*but the simulation in .* expected the same"):
        call(12, jax.random.key(1), checkpoints=tmp_path)
    other = dataclasses.replace(settings, learning_rate=0.2)
    with pytest.raises(ValueError, match=r"learning_rate=0.2, but the simulation in .* has 0.1"):
        simulate.simulate(digits.MODEL, digits.population(), FEEDBACK, 12, KEY, other, test=test, checkpoints=tmp_path)


def test_it_learns():
    """20 clients of two digits each; the guide's order: descent reaches 0.9, three local steps stay near."""
    test = digits.load()[1]
    settings = dataclasses.replace(SETTINGS, every=100)
    call = functools.partial(simulate.simulate, digits.MODEL, digits.population(), key=KEY, test=test)
    assert call(methods.fed_sgd(), 300, settings=settings).curve[-1].accuracy > 0.85


BAD = {"x": np.full((3, 64), np.nan, np.float32), "y": np.zeros(3, np.int32)}
HALF = digits.MODEL._replace(init=lambda key: {"bias": jnp.zeros(10, jnp.bfloat16)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(methods.fed_sgd(), per_round=21), r"per_round=21: expected an integer from 1 to 20"),
        (lambda: run(methods.fed_sgd(), rounds=0), r"rounds=0"),
        (lambda: run(methods.fed_sgd(), batch_size=0), r"batch_size=0"),
        (lambda: run(methods.fed_sgd(), learning_rate=-1.0), r"learning_rate=-1.0"),
        (lambda: run(methods.fed_sgd(), momentum=1.0), r"momentum=1.0"),
        (
            lambda: run(methods.fed_sgd(), momentum_state="forget"),
            r"momentum_state='forget': expected 'persist' or 'reset'",
        ),
        (lambda: run(methods.fed_sgd(), weights="none"), r"weights='none'"),
        (lambda: run(methods.fed_sgd(), cache=-1), r"cache=-1"),
        (lambda: run(methods.fed_avg(2), weights="shared"), r"weights='shared' with 2 local steps"),
        (lambda: methods.fed_avg(0), r"local_steps=0"),
        (lambda: methods.sign_sgd(0.0), r"step=0.0"),
        (lambda: methods.sign_sgd(0.1, "one"), r"zeros='one'"),
        (lambda: methods.on_grid(methods.fed_sgd(), 0.3), r"step=0.3: expected a power of two"),
        (lambda: rounds.unravel(HALF), r"params\['bias'\] is bfloat16: expected float32"),
        (
            lambda: run(methods.fed_sgd(), 8, population=federated_clients.from_parts([BAD] * 20)),
            r"the change of client \d+ in round 0 is not finite",
        ),
        (lambda: run(methods.on_grid(methods.fed_sgd(), 2.0**-30)), r"a weight has reached .* in round 4: .*grid"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
