"""What is counted is what is written, to the bit; sparse methods with everything sent are plain descent."""

import fractions

import jax
import numpy as np
import pytest

from common.federated import methods, simulate, sparse
from kernels import golomb
from tests.common.federated import digits

SETTINGS, KEY = digits.SETTINGS, digits.KEY
STC = methods.stc(1 / 10)


def run(method, count=6, **more):
    return simulate.simulate(digits.MODEL, digits.population(), method, count, KEY, SETTINGS, **more)


def encoded(compressor, values):
    """Returns the messages of rows, and their bits."""

    def encode(row):
        message = compressor.encode(row, KEY)
        return message, compressor.bits(message)

    return jax.device_get(jax.jit(jax.vmap(encode))(values))


@pytest.fixture(scope="module")
def ternary():
    return run(STC, test=digits.load()[1])


@pytest.fixture(scope="module")
def messages():
    """Vectors with 0, 1, 2, ... of 1000 weights that are not zero, compressed to 50 at most."""
    generator = np.random.default_rng(0)
    values = np.zeros((70, 1000), np.float32)
    for number, row in enumerate(values):
        row[generator.choice(1000, number, replace=False)] = generator.normal(size=number)
    return encoded(sparse.ternary(0.05), values)


def test_bits_are_those_of_the_bytes(messages):
    (mask, mu, signs), bits = messages
    assert mask.sum(axis=1).tolist() == [min(number, 50) for number in range(70)]
    for row in range(70):
        data = sparse.ternary(0.05).write((mask[row], mu[row], signs[row]))
        account = golomb.account(data, 1000)
        assert [part[row] for part in bits[:2]] == [account.payload_bits, account.side_bits], row
        assert np.broadcast_to(bits.framing, 70)[row] == account.framing_bits, row
        assert bits.reference[row] == account.payload_bits + mask[row].sum(), row  # a bit more for each position
        assert np.array_equal(golomb.decode(data, 1000), mu[row, 0] * signs[row])


def test_the_parameter_steps_where_the_coder_does():
    least, steps = sparse._parameter_steps(865_482, 34_620)
    assert least == golomb.golomb_parameter(34_620 / 865_482) == 4
    for number, step in enumerate(steps):
        parameters = [golomb.golomb_parameter(k / 865_482) for k in (step, step + 1)]
        assert parameters == [least + number + 1, least + number]


def test_bits_of_floats_by_hand():
    """Weights 100 to 199: parameter 0, a bit each, and the gap of 100. 1 to 10: parameter 4, no gap of 16 or above."""
    weights = np.arange(200, dtype=np.float32)
    _, bits = encoded(sparse.top_k(0.5), np.stack([weights, weights * (weights < 11)]))
    assert bits.total.tolist() == [8 * (8 + 1 + 1 + (100 * (1 + 32) + 100) // 8), 8 * (8 + 1 + 1 + 47)]  # 47: 370 bits


def test_sending_everything_is_plain_descent():
    everything, plain = run(methods.top_k(1)), run(methods.fed_sgd())
    assert np.array_equal(everything.updates, plain.updates)
    assert np.array_equal(everything.state.weights, plain.state.weights)
    # Dense: the positions of all would take a bit each.
    assert [point.up for point in everything.curve] == [point.up for point in plain.curve]
    assert not everything.state.residuals.any() and not everything.state.server_residual.any()


def test_sparse_ternary_rounds_are_those_of_a_plain_loop(ternary):
    def compress(values):
        largest = np.argsort(-np.abs(values), kind="stable")[:65]
        sent = np.zeros_like(values)
        sent[largest] = np.abs(values[largest]).mean() * np.sign(values[largest])
        return sent

    oracle = digits.plain_rounds(SETTINGS, 6, compress)
    np.testing.assert_allclose(ternary.updates, oracle["updates"], atol=1e-6)
    np.testing.assert_allclose(ternary.state.residuals, oracle["residuals"], atol=1e-5)
    left = oracle["server_residual"] + oracle["residuals"].sum(axis=0) / 5
    np.testing.assert_allclose(np.asarray(ternary.state.weights) - digits.start() + left, oracle["changes"], atol=1e-5)


def test_the_download_is_that_of_the_bytes_handed_over(ternary):
    """The server's updates as messages; clients that replay these have the server's weights, bit for bit."""
    weights = digits.start()
    copies, data, handed_over = [weights] * digits.CLIENTS, [], 0
    seen = [0] * digits.CLIENTS
    for number, update in enumerate(ternary.updates):
        for client in digits.participants(number):
            for message in data[seen[client] :]:
                copies[client] = copies[client] + golomb.decode(message, digits.SIZE)
                handed_over += 8 * len(message)
            seen[client] = number
            assert np.array_equal(copies[client], weights)
        data.append(golomb.encode(update != 0, np.sign(update), np.abs(update).max()))
        weights = weights + update
    assert np.array_equal(weights, ternary.state.weights)
    assert ternary.curve[-1].bits_down == handed_over
    assert ternary.ledger.totals[-1].total == 8 * sum(map(len, data))


def test_it_learns(ternary):
    result = run(STC, 300, test=digits.load()[1])
    assert result.curve[-1].accuracy > 0.85
    assert result.curve[-1].bits_up * 25 < 300 * 5 * 32 * digits.SIZE


def test_names():
    names = [methods.stc(1 / 400).name, methods.top_k(fractions.Fraction(1, 25), 0.3).name]
    assert names == ["STC 1/400", "top-k 1/25, 0.3 down"]
    assert methods.stc(0.01) is methods.stc(0.01)


@pytest.mark.parametrize("make", [methods.stc, methods.top_k, sparse.ternary, sparse.top_k])
@pytest.mark.parametrize("p", [0, -0.1, 1.1, float("nan")])
def test_shares_out_of_range_are_refused(make, p):
    with pytest.raises(ValueError, match=rf"p={p}: expected a number in \(0, 1\]"):
        make(p)
