"""Rate estimates against the codeword, against each other and against counts; gradients against finite differences."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.entropy_coding import rate_exact, rate_static, rate_static_soft, stream_length
from tests.host_devices import xla_flags
from tests.kernels.entropy_coding import cases, random_tensors

plain_rate = functools.partial(rate_exact, presets=False)
HEADER_BITS = 20  # of a codeword without presets, about: flags, its end and padding


def laplacian(size, scale, seed=0):
    return np.rint(np.random.default_rng(seed).laplace(0, scale, size)).astype(np.int32)


@pytest.mark.parametrize("presets", [False, True])
@pytest.mark.parametrize("scale", [0.1, 0.217, 0.5, 1.0, 3.0, 40.0])
def test_close_to_the_codeword(scale, presets):
    q = laplacian((60, 1000), scale)
    bits = 8 * stream_length(q, presets=presets) - HEADER_BITS
    assert abs(rate_exact(q, presets=presets) / bits - 1) < (0.02 if presets else 0.002)
    if not presets and scale > 0.2:  # below, the cost of adaptation is a larger part of a few bits
        assert abs(float(rate_static(q)) / bits - 1) < 0.05


@pytest.mark.parametrize("scan", [0, 1, 3])
@pytest.mark.parametrize("dq", [False, True])
def test_scans_and_trellis(scan, dq):
    q = laplacian((120, 130), 1.5, seed=1)
    q = random_tensors.on_trellis_grid(q, scan) if dq else q
    bits = 8 * stream_length(q, presets=False, dq=dq, scan=scan)
    assert abs(plain_rate(q, dq=dq, scan=scan) / bits - 1) < 0.02


def test_defaults_are_those_of_the_coder():
    q = laplacian(300, 0.3)
    assert rate_exact(q) == rate_exact(q, presets=True) == rate_exact([q])[0] != plain_rate(q)
    with pytest.raises(ValueError, match=r"presets=False"):
        jax.jit(rate_exact)(q)


def test_both_implementations_give_the_same_bits():
    scan = jax.jit(jax.vmap(lambda q: plain_rate(q)))
    few = jax.jit(jax.vmap(lambda q: plain_rate(q, max_level=40)))
    tensors = np.stack([cases.levels(200, density, 4, density) for density in (0, 50, 300, 1000)])
    tensors = np.clip(tensors, -40, 40)
    expected = plain_rate(list(tensors))
    expected = expected.astype(np.float32)
    np.testing.assert_array_equal(scan(tensors), expected)
    np.testing.assert_array_equal(few(tensors), expected)
    wide = np.array([0, 5, -(2**31 - 14), 2**31 - 14, 0, 0, 12, -13, 1000], np.int32)
    assert float(plain_rate(wide, implementation="xla")) == np.float32(plain_rate(wide))


def test_xla_lists_of_any_sizes_and_batches_of_batches():
    sizes = ((0,), 1), ((1,), 3), ((7, 9), 1), ((50, 41), 20), (3000, 0.2)
    tensors = [laplacian(shape, scale) for shape, scale in sizes]
    expected = plain_rate(tensors).astype(np.float32)
    np.testing.assert_array_equal(plain_rate(tensors, implementation="xla").astype(np.float32), expected)
    q = laplacian((2, 3, 500), 0.7)
    nested = jax.jit(jax.vmap(jax.vmap(plain_rate)))(q)
    expected = np.array([[plain_rate(one) for one in row] for row in q], np.float32)
    np.testing.assert_array_equal(nested, expected)
    steps = np.array([1.0, 2.0], np.float32)
    candidates = jax.vmap(lambda step: plain_rate(jnp.round(q[0, 0] / step).astype(jnp.int32)))(steps)
    np.testing.assert_array_equal(candidates, np.float32([plain_rate(np.rint(q[0, 0] / s).astype(int)) for s in steps]))


def test_a_batch_over_a_mesh():
    code = """
import functools
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from kernels.entropy_coding import rate_exact
plain_rate = functools.partial(rate_exact, presets=False)
q = np.rint(np.random.default_rng(0).laplace(0, 1, (6, 300))).astype(np.int32)
expected = np.array([plain_rate(one) for one in q], np.float32)
mesh = jax.make_mesh((2,), ("candidates",), axis_types=(jax.sharding.AxisType.Auto,))
split = PartitionSpec("candidates")
placed = jax.device_put(q, NamedSharding(mesh, split))
for rate in (jax.vmap(plain_rate), jax.shard_map(jax.vmap(plain_rate), mesh=mesh, in_specs=split, out_specs=split)):
    bits = jax.jit(rate)(placed)
    assert len(bits.sharding.device_set) == 2, bits.sharding
    np.testing.assert_array_equal(bits, expected)
"""
    environment = os.environ | {"XLA_FLAGS": xla_flags(2), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


def test_a_list_is_rated_tensor_by_tensor():
    tensors = [laplacian(shape, 1.0) for shape in ((0,), (1,), (30,), (7, 9))]
    np.testing.assert_array_equal(plain_rate(tensors, jobs=2), [plain_rate(q) for q in tensors])


def test_static_is_the_entropy_of_each_context():
    q = np.array([0, 0, 1, -2, 0, 1], np.int32)
    # Significance after 0: 0 0 1 1 (the first weight counts as after 0), after -: 0, after +: 1. Signs after 0: + +,
    # after +: -. "Greater than 1": positive 0 0, negative 1; "greater than 2": negative 0. Only the first is uncertain.
    assert float(rate_static(q)) == pytest.approx(4.0, abs=1e-5)


def test_soft_assignments():
    q = laplacian(500, 1.2, seed=3).clip(-3, 3)
    levels = [-3, -2, -1, 0, 1, 2, 3]
    hard = jnp.asarray(np.eye(7, dtype=np.float32)[q + 3])
    assert float(rate_static_soft(hard, levels)) == pytest.approx(float(rate_static(q)), rel=1e-5)
    grid = [-20, -12, 0, 1, 11, 12, 13, 30]
    q = np.random.default_rng(4).choice(grid, 300).astype(np.int32)
    hard = jnp.asarray((q[:, None] == np.array(grid)).astype(np.float32))
    assert float(rate_static_soft(hard, grid)) == pytest.approx(float(rate_static(q)), rel=1e-5)


def test_gradient_of_the_soft_rate_is_that_of_finite_differences():
    levels = [-2, -1, 0, 1, 13]
    logits = np.random.default_rng(5).normal(size=(12, 5))
    with jax.enable_x64(True):
        rate = jax.jit(lambda logits: rate_static_soft(jax.nn.softmax(logits), levels))
        gradient = np.asarray(jax.grad(rate)(jnp.asarray(logits)))
        step = 1e-5
        for i, k in ((0, 0), (3, 2), (7, 4), (11, 1)):
            moved = np.zeros_like(logits)
            moved[i, k] = step
            difference = (float(rate(logits + moved)) - float(rate(logits - moved))) / (2 * step)
            assert gradient[i, k] == pytest.approx(difference, rel=1e-6, abs=1e-8)


def test_bad_arguments():
    with pytest.raises(ValueError, match="neither 'compiled' nor 'xla'"):
        plain_rate(np.ones(3, int), implementation="pallas")
    with pytest.raises(ValueError, match="scan 0"):
        plain_rate(np.ones((3, 3), int), implementation="xla", scan=1)


def test_what_the_jax_forms_refuse():
    q = laplacian(50, 1.0)
    for n_unary in (0, 16):
        for rate in (rate_static, lambda q, n_unary: plain_rate(q, n_unary=n_unary, implementation="xla")):
            with pytest.raises(ValueError, match=f"n_unary={n_unary}"):
                rate(q, n_unary=n_unary)
    with pytest.raises(TypeError, match="must be integers"):
        plain_rate(q + 0.5, implementation="xla")
    with pytest.raises(TypeError, match="must be integers"):
        jax.jit(plain_rate)(jnp.ones(3))
    with pytest.raises(ValueError, match="max_level=1 is no bound"):
        plain_rate(np.array([3]), max_level=1, implementation="xla")
    with pytest.raises(ValueError, match="not \\[weights, choices\\]"):
        rate_static_soft(jnp.ones((3, 2)), [0, 1, 2])
    pair = jax.jit(lambda a, b: plain_rate([a, b]))(q, q[:20])
    np.testing.assert_array_equal(pair, np.float32([plain_rate(q), plain_rate(q[:20])]))


def test_soft_rates_of_extreme_probabilities():
    hard = np.eye(3, dtype=np.float32)[np.zeros(10_000, int)]
    hard[5, 0], hard[5, 1] = 1.3e-38, 1
    value, gradient = jax.value_and_grad(lambda p: rate_static_soft(p, [-1, 0, 1]))(jnp.asarray(hard))
    assert np.isfinite(value) and np.isfinite(gradient).all()
    many = np.full((70_000, 3), 1 / 3)
    half, full = (
        float(rate_static_soft(jnp.asarray(many, dtype), [-1, 0, 1])) for dtype in (jnp.bfloat16, jnp.float32)
    )
    assert half == pytest.approx(full, rel=0.02)
