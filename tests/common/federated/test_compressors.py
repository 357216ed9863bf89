"""Every compressor: what is counted is written, to the bit; what is read is what is decoded; damage is noticed."""

import jax
import numpy as np
import pytest

from common.federated import dense, messages, sparse, stochastic
from kernels import golomb

KEY = jax.random.key(3)
SIZES = (300, 1, 29, 70)  # tensors
N = sum(SIZES)
COMPRESSORS = {
    "floats": dense.FLOATS,
    "signs": dense.signs(0.5),
    "signs without zeros": dense.signs(0.5, "random"),
    "top-k": sparse.top_k(0.1),
    "everything": sparse.top_k(1),
    "ternary": sparse.ternary(0.1),
    "ternary a tensor": sparse.ternary(0.1, "per_tensor").of_tensors(SIZES),
    "TernGrad": stochastic.ternary_gradient(),
    "TernGrad a tensor": stochastic.ternary_gradient(None).of_tensors(SIZES),
    "QSGD 1": stochastic.quantized(1),
    "QSGD 16": stochastic.quantized(16, 64),
    "coded": dense.coded(0.5),
}


def vectors():
    """Normal, heavy-tailed, sparse, constant, one entry, nothing; and scales whose squares vanish or overflow."""
    generator = np.random.default_rng(0)
    normal = generator.normal(size=N)
    rows = [normal, generator.standard_cauchy(N), normal * (np.arange(N) % 50 == 0), np.ones(N), np.arange(N) == 350]
    rows += [0 * normal, 1e-30 * normal, 1e30 * normal]
    return np.array(rows, np.float32)


@pytest.fixture(scope="module", params=COMPRESSORS)
def encoded(request):
    """(compressor, messages, what is decoded, bits) of `vectors`."""
    compressor = COMPRESSORS[request.param]

    def run(row):
        message = compressor.encode(row, KEY)
        return message, compressor.decode(message), compressor.bits(message)

    return compressor, *jax.device_get(jax.jit(jax.vmap(run))(vectors()))


def test_what_is_counted_is_what_is_written(encoded):
    compressor, packed, decoded, bits = encoded
    for row, values in enumerate(decoded):
        data = compressor.write(jax.tree.map(lambda array, row=row: array[row], packed))
        parts = [int(np.broadcast_to(part, len(decoded))[row]) for part in bits]
        assert sum(parts[:3]) == 8 * len(data), row
        read = compressor.read(data, N)
        assert read.dtype == np.float32 and np.array_equal(read, values), row


def test_every_altered_byte_is_noticed(encoded):
    compressor, packed, *_ = encoded
    data = compressor.write(jax.tree.map(lambda array: array[2], packed))
    for place in range(len(data)):
        altered = data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
        with pytest.raises(ValueError, match="message|mode"):
            compressor.read(altered, N)
    for wrong in (data[:-1], data + b"\0", b"", data[: len(data) // 2]):
        with pytest.raises(ValueError, match="message"):
            compressor.read(wrong, N)
    with pytest.raises(ValueError, match=f"n={N + 1}|tensors|sizes="):
        compressor.read(data, N + 1)


def test_a_body_with_a_sound_checksum_is_read_with_care():
    """Random bodies of every kind: a ValueError or an array of the declared length."""
    generator = np.random.default_rng(1)
    readers = [(kind, COMPRESSORS[name]) for kind, name in enumerate(("floats", "signs", "signs", "QSGD 16", "coded"))]
    for _ in range(300):
        for kind, compressor in readers:
            size = generator.integers(4 * N) if kind else generator.choice([4 * N, 7])
            body = (
                generator.bytes(size)
                if kind != messages.LEVELS
                else bytes([generator.integers(2)]) + bytes(28) + generator.bytes(size)
            )
            try:
                assert compressor.read(messages.seal(kind, N, body), N).shape == (N,)
            except ValueError:
                continue


def test_a_message_of_another_kind_is_refused():
    data = messages.write_floats(np.ones(5, np.float32))
    with pytest.raises(ValueError, match="the message has floats: expected signs or signs and zeros"):
        messages.read_signs(data, 5)


def omega(number):
    """Elias' recursive code, from its definition."""
    code = "0"
    while number > 1:
        code = f"{number:b}" + code
        number = number.bit_length() - 1
    return code


def test_levels_are_in_the_code_of_their_paper():
    """Few of fifty: gaps, signs and levels; three of ten: all levels, and signs where they are not 0."""
    few, many = np.zeros(50, np.int32), np.array([0, 3, 0, 0, -1, 17, 0, 0, 0, 0], np.int32)
    few[[1, 40, 41]] = [3, -1, 17]
    gaps = omega(2) + "0" + omega(3) + omega(39) + "1" + omega(1) + omega(1) + "0" + omega(17) + omega(9)
    levels = "".join(omega(abs(one) + 1) + ("01"[one < 0] if one else "") for one in many.tolist())
    for values, code in ((few, gaps), (many, levels)):
        data = stochastic._write_levels((values, np.ones(1, np.float32)))
        body = messages.unseal(data, values.size, messages.LEVELS)[1]
        assert body[0] == (values is few)
        assert "".join(f"{byte:08b}" for byte in body[5:]) == code + "0" * (-len(code) % 8)


@pytest.mark.parametrize("name", ["TernGrad a tensor", "QSGD 16"])
def test_rounding_at_random_is_right_in_the_mean(name):
    """4,000 draws of 400 weights: a false alarm in 10^8 runs, at 6.4 standard errors and a bound for small counts."""
    values = vectors()[0]
    keys = jax.random.split(jax.random.key(5), 4000)
    compressor = COMPRESSORS[name]
    draws = np.asarray(jax.vmap(lambda key: compressor.decode(compressor.encode(values, key)))(keys), np.float64)
    step = np.abs(draws).max()  # Bernstein: a draw is off by a step at most
    error = np.abs(draws.mean(axis=0) - values)
    limit = 7.1 * draws.std(axis=0) / np.sqrt(4000) + 17 * step / 4000
    assert (error < limit).all() and draws.std() > 0


def test_gradients_are_clipped():
    values = np.ones(100, np.float32)
    values[0] = 100
    mask, magnitudes, _ = stochastic.ternary_gradient(2.5).encode(values, KEY)
    np.testing.assert_allclose(magnitudes, 2.5 * values.std(), rtol=1e-5)
    assert mask[0] and stochastic.ternary_gradient(None).encode(values, KEY)[1] == 100


def test_each_tensor_has_its_own_share_and_magnitude():
    values = vectors()[0]
    mask, magnitudes, signs = COMPRESSORS["ternary a tensor"].encode(values, KEY)
    for size, end, magnitude in zip(SIZES, np.cumsum(SIZES), magnitudes, strict=True):
        part, selected = np.abs(values[end - size : end]), np.asarray(mask[end - size : end])
        assert selected.sum() == -(-size // 10) and part[selected].min() >= part[~selected].max(initial=0)
        assert magnitude == pytest.approx(part[selected].mean(), rel=1e-6)
    assert np.array_equal(signs, np.sign(values) * mask)
    message = golomb.encode(mask, signs, np.asarray(magnitudes), SIZES)
    with pytest.raises(ValueError, match=r"in tensors of \[400\]"):
        golomb.decode(message, N, (N,))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sparse.ternary(0.1, "layer"), "scope='layer'"),
        (lambda: dense.coded(0), "step=0"),
        (lambda: stochastic.quantized(0), "levels=0"),
        (lambda: stochastic.quantized(2**21), "levels=2097152"),
        (lambda: stochastic.quantized(4, 0), "bucket=0"),
        (lambda: stochastic.ternary_gradient(0), "clip=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
