"""Biases added to what several products give, or behind operations that move entries: they keep their share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels import attribution

DRAW = np.random.default_rng(0)
PARAMS = {name: DRAW.normal(size=shape) for name, shape in {"w": (12, 16), "b": (16,), "d": (16, 4), "k": (3, 3, 3, 6),
          "kb": (6,), "kd": (6, 4), "positions": (2, 16)}.items()}  # fmt: skip
X, IMAGES = DRAW.normal(size=(4, 12)), DRAW.normal(size=(2, 6, 6, 3))

# z = x w in other words, and the bias added to it.
WRITINGS = {
    "flipped": lambda z, b: (z[:, ::-1] + b[::-1])[:, ::-1],
    "rolled": lambda z, b: jnp.roll(jnp.roll(z, 3, 1) + jnp.roll(b, 3), -3, 1),
    "gathered": lambda z, b: z[:, np.arange(16)] + b,
    "cut from what was padded": lambda z, b: jnp.pad(z, ((0, 0), (0, 2)))[:, :16] + b,
    "split and put together": lambda z, b: jnp.concatenate(jnp.split(z, 4, 1), 1) + b,
    "scattered": lambda z, b: z.at[:].add(b),
    "behind a barrier": lambda z, b: lax.optimization_barrier(z) + b,
    "behind a mask": lambda z, b: jnp.where(jnp.isfinite(z), z, 0) + b,
    "tiled": lambda z, b: z + jnp.tile(b, (z.shape[0], 1)),
    "subtracted": lambda z, b: z[:, ::-1][:, ::-1] - (-b),
}


def relevance(fn, x=X, rules="epsilon_plus", **options):
    with jax.enable_x64(True):
        return attribution.attribute(fn, PARAMS, x, target=0, rules=rules, **options)[1:]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITINGS)
def test_a_bias_behind_what_moves_entries(name):
    def plain(p, x):
        return jax.nn.relu(x @ p["w"] + p["b"]) @ p["d"]

    def written(p, x):
        return jax.nn.relu(WRITINGS[name](x @ p["w"], p["b"])) @ p["d"]

    (expected, report), (found, other) = (relevance(fn, return_report=True) for fn in (plain, written))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    shares = [float(np.sum(one.bias)) for one in (report, other)]
    np.testing.assert_allclose(shares[1], shares[0], rtol=1e-4)


def test_the_order_of_a_sum_of_two_products_and_a_bias():
    def cell(p, x, order):
        a, h, b = x[:, :6] @ p["w"][:6], x[:, 6:] @ p["w"][6:], p["b"]
        return jax.nn.relu((a + b) + h if order else (a + h) + b) @ p["d"]

    found, expected = (relevance(lambda p, x, o=o: cell(p, x, o))[0] for o in (0, 1))
    joint = relevance(lambda p, x: jax.nn.relu(x @ p["w"] + p["b"]) @ p["d"])[0]
    for other in (expected, joint):  # the stabilisers of one sum more
        np.testing.assert_allclose(found, other, rtol=0, atol=2e-5 * np.abs(joint).max())


def test_a_convolution_between_flips_is_the_convolution():
    def network(p, x, flip):
        kernel = p["k"][::-1] if flip else p["k"]
        x = x[:, ::-1] if flip else x
        y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = y[:, ::-1] if flip else y
        return jax.nn.relu(y + p["kb"]).mean((1, 2)) @ p["kd"]

    found, expected = (relevance(lambda p, x, f=f: network(p, x, f), IMAGES)[0] for f in (True, False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_shifts_of_activations_and_embeddings_of_positions_pass_everything_on():
    def shifted(p, x):
        return jax.nn.relu(jax.nn.relu(x @ p["w"]) + p["b"]) @ p["d"]

    def positions(p, x):
        tokens = (x.reshape(4, 2, 6) @ p["w"][:6]) + p["positions"]  # along tokens and channels
        return jax.nn.relu(tokens).mean(1) @ p["d"]

    for fn in (shifted, positions):
        report = relevance(fn, return_report=True)[1]
        assert "norm_layer" in report.kinds and "bias" not in report.kinds
