"""The same stream in every context, the textbook formulas on the same random numbers, types, what stops at the door."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import alpha_stable
from kernels.alpha_stable import random_bits
from tests.kernels.oracles import alpha_stable as oracle

KEY = jax.random.key(3)
DRAWS = {
    "sas": lambda key, alpha, shape: alpha_stable.sas(key, alpha, shape),
    "sas_log": lambda key, alpha, shape: alpha_stable.sas_log(key, alpha, shape)[1],
    "S0": lambda key, alpha, shape: alpha_stable.stable(key, alpha, 0.3, shape, 1.5, 0.2),
    "S1": lambda key, alpha, shape: alpha_stable.stable(key, alpha, -0.8, shape, 1.5, 0.2, "S1"),
    "positive": lambda key, alpha, shape: alpha_stable.positive_stable_log(key, alpha / 2, shape),
    "sub_gaussian": lambda key, alpha, shape: alpha_stable.sub_gaussian(key, alpha, shape, 3),
}


@pytest.fixture(params=["float32", pytest.param("float64", marks=pytest.mark.slow)])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "S1" else n for n in DRAWS])
def test_identical_eager_compiled_batched(name, dtype):
    draw, shape = DRAWS[name], (4, 37, 5)
    traced = jax.jit(draw, static_argnums=2)
    mixed = jax.jit(lambda key, alpha: (draw(key, alpha, shape) * 2 + 1, draw(key, alpha, shape)))
    for alpha in (0.75, 1.0, 1.5):
        eager = draw(KEY, alpha, shape)
        assert eager.dtype == dtype
        np.testing.assert_array_equal(traced(KEY, alpha, shape), eager)
        np.testing.assert_array_equal(mixed(KEY, alpha)[1], eager)
    np.testing.assert_array_equal(jax.jit(draw, static_argnums=(1, 2))(KEY, 0.75, shape), draw(KEY, 0.75, shape))
    keys = jax.random.split(KEY, 3)
    batched = jax.vmap(lambda key: draw(key, 1.5, shape))(keys)
    np.testing.assert_array_equal(batched, jnp.stack([draw(key, 1.5, shape) for key in keys]))
    alphas = jnp.array([0.3, 0.75, 1.0, 1.7])
    batched = jax.vmap(lambda alpha: draw(KEY, alpha, shape))(alphas)
    np.testing.assert_array_equal(batched, jnp.stack([draw(KEY, alpha, shape) for alpha in alphas]))


SHARDED = """
import jax, numpy as np
from kernels import alpha_stable
mesh = jax.make_mesh((2, 2), ("a", "b"))
key = jax.random.key(3)
draws = {
    "sas": lambda key: alpha_stable.sas(key, 1.5, (64, 36)),
    "S0": lambda key: alpha_stable.stable(key, 1.5, 0.5, (64, 36)),
    "vectors": lambda key: alpha_stable.sub_gaussian(key, 1.5, (64,), 36),
}
for name, draw in draws.items():
    for axes in (("a", "b"), (None, "a"), (("a", "b"), None)):
        sharded = jax.jit(draw, out_shardings=jax.NamedSharding(mesh, jax.P(*axes)))(key)
        assert len(sharded.sharding.device_set) == 4
        np.testing.assert_array_equal(sharded, draw(key), err_msg=name)
print("identical")
"""


def test_identical_sharded():
    # Not by the older emitter of the quick tests: with it sharded draws of S0 differ in their last bits.
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SHARDED]
    root = pathlib.Path(__file__).resolve().parents[3]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.strip() == "identical", done.stderr


def test_threefry_is_the_published_one():
    # Known answers of the authors' Random123 (kat_vectors, threefry2x32, 20 rounds).
    assert oracle.threefry((0, 0), (0, 0)) == (0x6B200159, 0x99BA4EFE)
    assert oracle.threefry((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2) == (0x1CB996FC, 0xBB002BE7)
    assert oracle.threefry((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3)) == (0xC4923A9C, 0x483DF7A0)
    first, second = random_bits.draw(KEY, (2, 3))
    data = tuple(int(word) for word in jax.random.key_data(KEY))
    expected = [oracle.threefry(data, (0, index)) for index in range(6)]
    np.testing.assert_array_equal(np.stack([first.ravel(), second.ravel()], axis=1), expected)


def common_numbers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Angle and exponential of the draws of KEY, as the oracle wants them."""
    (_, u, sign), exponential = random_bits.angle_and_exponential(KEY, (count,), jnp.dtype("float64"))
    return np.where(sign, 1, -1) * np.pi * np.asarray(u) * random_bits.UNIT, np.asarray(exponential)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9, 1.0, 1.1, 1.5, 1.99, 2.0])
def test_draws_are_the_textbook_formulas(alpha):
    with jax.enable_x64(True):
        u, w = common_numbers(20_000)
        np.testing.assert_allclose(alpha_stable.sas(KEY, alpha, (20_000,)), oracle.symmetric(alpha, u, w), rtol=1e-8)
        sign, log_abs = alpha_stable.sas_log(KEY, alpha, (20_000,))
        np.testing.assert_allclose(sign * jnp.exp(log_abs), alpha_stable.sas(KEY, alpha, (20_000,)), rtol=1e-12)
        for beta in (0.0, 0.5, -1.0, 1.0):
            for name, formula in (("S0", oracle.skewed_s0), ("S1", oracle.skewed_s1)):
                with np.errstate(all="ignore"):
                    expected = formula(alpha, beta, u, w)
                actual = alpha_stable.stable(KEY, alpha, beta, (20_000,), parametrization=name)
                # The textbook's own cancellations limit the comparison where values are near 0.
                np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-9, err_msg=f"{beta} {name}")
        if alpha < 2:
            v, _ = np.where(u > 0, np.pi / 2 + np.abs(u), np.pi / 2 - np.abs(u)), None
            actual = alpha_stable.positive_stable_log(KEY, alpha / 2, (20_000,))
            np.testing.assert_allclose(actual, oracle.positive_log(alpha / 2, v, w), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_float32_draws_are_those_of_float64(alpha):
    with jax.enable_x64(True):
        shape = (100_000,)
        single, double = (np.asarray(alpha_stable.sas_log(KEY, alpha, shape, dtype)[1]) for dtype in ("f4", "f8"))
        # Beside rounding (20 units in the last place of ln|X|, of which 1/alpha is a part) stands the resolution of the
        # 31-bit uniforms, a few thousandths at the most extreme draw of 1e5.
        difference = np.abs(single - double)
        assert np.quantile(difference, 0.99) < 2e-5 / alpha
        assert difference.max() < 0.1 / alpha
        x = np.asarray(alpha_stable.stable(KEY, alpha, 0.5, shape, dtype="float32"), np.float64)
        y = np.asarray(alpha_stable.stable(KEY, alpha, 0.5, shape, dtype="float64"))
        assert np.quantile(np.abs(x - y) / (1 + np.abs(y)), 0.99) < 1e-4


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_parts_are_the_draws(alpha, dtype):
    part, exponent = alpha_stable.sas_parts(KEY, alpha, (5000,), np.dtype(dtype))
    sign, log_abs = alpha_stable.sas_log(KEY, alpha, (5000,))
    assert part.dtype == dtype and exponent.dtype == np.int32
    assert np.all(np.isfinite(part)) and np.all((np.abs(part) > 2.0**-34) & (np.abs(part) < 2.0**34))
    np.testing.assert_array_equal(np.sign(part), sign)
    actual = np.log(np.abs(np.asarray(part, np.float64))) + np.asarray(exponent) * np.log(2)
    # In float32 a logarithm of hundreds is good to a few of its last bits.
    np.testing.assert_allclose(actual, log_abs, rtol=2e-6 if dtype == "float32" else 1e-13, atol=1e-5)


def test_powers_of_two_are_exact(dtype):
    one = jnp.asarray([1.3, -0.7], dtype)
    for exponent in (-100, -1, 0, 17, 100):
        np.testing.assert_array_equal(alpha_stable.times_power_of_two(one, jnp.full(2, exponent)), one * 2.0**exponent)
    np.testing.assert_array_equal(alpha_stable.times_power_of_two(one, jnp.full(2, -3000)), 0 * one)


@pytest.mark.parametrize("beta", [-1.0, 0.5, 1.0])
def test_s0_is_continuous_through_one(beta):
    with jax.enable_x64(True):
        draw = jax.jit(lambda alpha: alpha_stable.stable(KEY, alpha, beta, (100_000,)))
        at_one = draw(1.0)
        for e in (1e-5, 1e-6, 1e-7, 1e-9, 1e-11, 1e-13, 2e-16):
            for alpha in (1 - e, 1 + e):
                # The derivative of a far quantile grows like x ln x, hence the weight.
                moved = jnp.abs(draw(alpha) - at_one) / ((1 + jnp.abs(at_one)) * (1 + jnp.log1p(jnp.abs(at_one))))
                assert float(moved.max()) < 20 * e + 1e-12, (alpha, float(moved.max()))
                if e <= 1e-9:
                    assert float((jnp.abs(draw(alpha) - at_one) / (1 + jnp.abs(at_one))).max()) < 1e-5


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_types_are_cast_last(name):
    x = alpha_stable.sas(KEY, 1.5, (1000,), name)
    assert x.dtype == name
    np.testing.assert_array_equal(x, alpha_stable.sas(KEY, 1.5, (1000,), "float32").astype(name))
    assert alpha_stable.stable(KEY, 1.5, 0.2, (3,), dtype=name).dtype == name
    assert alpha_stable.sub_gaussian(KEY, 1.5, (3,), 2, name).dtype == name


def test_shapes():
    assert alpha_stable.sas(KEY, 1.5).shape == ()
    assert alpha_stable.sas(KEY, jnp.array([1.0, 1.5])).shape == (2,)
    assert alpha_stable.sas(KEY, jnp.array([[1.0], [1.5]]), (3, 2, 4)).shape == (3, 2, 4)
    assert alpha_stable.sas(KEY, 1.5, (0, 3)).shape == (0, 3)
    assert alpha_stable.sas(KEY, 1.5, 5).shape == (5,)
    assert alpha_stable.sas(KEY, 1.5, np.int64(5)).shape == (5,)
    assert alpha_stable.sub_gaussian(KEY, 1.5, (2,), np.int64(3)).shape == (2, 3)
    assert alpha_stable.stable(KEY, 1.5, jnp.zeros(3), scale=jnp.ones((2, 1))).shape == (2, 3)
    assert alpha_stable.sub_gaussian(KEY, jnp.array([1.0, 1.5]), dim=4).shape == (2, 4)


def test_other_keys():
    raw = jax.random.key_data(KEY)
    np.testing.assert_array_equal(alpha_stable.sas(raw, 1.5, (9,)), alpha_stable.sas(KEY, 1.5, (9,)))
    rbg = alpha_stable.sas(jax.random.key(0, impl="rbg"), 1.0, (100_000,))
    assert abs(float(jnp.median(jnp.abs(rbg))) - 1) < 0.02
    for dtype in ("float32", "float64"):
        with jax.enable_x64(True):
            assert np.isfinite(alpha_stable.sas_log(jax.random.key(0, impl="rbg"), 1.0, (1000,), dtype)[1]).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alpha_stable.sas(KEY, 2.1, (3,)), r"alpha=2\.1: .* \(0, 2\]"),
        (lambda: alpha_stable.sas(KEY, 0, (3,)), "alpha=0: "),
        (lambda: alpha_stable.sas_log(KEY, float("nan"), (3,)), "alpha=nan"),
        (lambda: alpha_stable.sas_log(KEY, np.array([1.0, -1.0])), "alpha=-1"),
        (lambda: alpha_stable.sas(KEY, "two"), "alpha='two'"),
        (lambda: alpha_stable.sas(KEY, np.ones(2), (3,)), r"alpha of shape \(2,\)"),
        (lambda: alpha_stable.sas(KEY, 1.5, (-1,)), "shape"),
        (lambda: alpha_stable.sas(KEY, 1.5, (2**20, 2**12)), "in pieces"),
        (lambda: alpha_stable.sas(KEY, 1.5, (3,), "int32"), "dtype=int32"),
        (lambda: alpha_stable.sas(KEY, 1.5, (3,), "single32"), "dtype='single32'"),
        (lambda: alpha_stable.sas(KEY, 1.5, 2.5), r"shape=2\.5"),
        (lambda: alpha_stable.sas(KEY, 1.5, (2.5,)), r"shape=\(2\.5,\)"),
        (lambda: alpha_stable.sas(jnp.ones(2), 1.5, (3,)), "jax.random.key"),
        (lambda: alpha_stable.sas(jnp.ones(3, jnp.uint32), 1.5, (3,)), r"raw shape \(3,\)"),
        (lambda: alpha_stable.sub_gaussian(KEY, 1.5, (3,), True), "dim=True"),
        (lambda: alpha_stable.sas(KEY, 1.5, (3,), "float64"), "jax_enable_x64"),
        (lambda: alpha_stable.sas(7, 1.5, (3,)), "jax.random.key"),
        (lambda: alpha_stable.sas(jax.random.split(KEY), 1.5, (3,)), "vmap"),
        (lambda: alpha_stable.stable(KEY, 1.5, 1.01, (3,)), r"beta=1\.01"),
        (lambda: alpha_stable.stable(KEY, 1.5, 0, (3,), scale=0), "scale=0"),
        (lambda: alpha_stable.stable(KEY, 1.5, 0, (3,), scale=-2), "scale=-2"),
        (lambda: alpha_stable.stable(KEY, 1.5, 0, (3,), loc=np.inf), "loc=inf"),
        (lambda: alpha_stable.stable(KEY, 1.5, 0, (3,), parametrization="S2"), "parametrization='S2'"),
        (lambda: alpha_stable.positive_stable_log(KEY, 1.1, (3,)), r"c=1\.1"),
        (lambda: alpha_stable.sub_gaussian(KEY, 1.5, (3,), 0), "dim=0"),
        (lambda: alpha_stable.sub_gaussian(KEY, -1, (3,), 2), "alpha=-1"),
        (lambda: alpha_stable.log_moments(3), "alpha=3"),
        (lambda: alpha_stable.tail_constant(0), "alpha=0"),
        (lambda: alpha_stable.abs_moment(1.5, 1.5), "p=1.5"),
        (lambda: alpha_stable.abs_moment(1.5, -1), "p=-1"),
        (lambda: alpha_stable.characteristic_function(1, 1.5, 2), "beta=2"),
    ],
)
def test_bad_arguments_stop_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
