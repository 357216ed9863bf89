"""Masked convolutions by taps and by patches, and their gradients, against XLA's own convolution."""

import jax
import numpy as np
import pytest
from jax import lax

from kernels.autoregressive import convolution

# rows, columns, inputs, outputs, h, inclusive: kernels wider than the lattice, one column, one row.
SHAPES = [
    (5, 4, 3, 2, 2, True),
    (4, 6, 2, 3, 1, False),
    (3, 3, 2, 2, 4, True),
    (4, 1, 2, 3, 1, True),
    (1, 5, 2, 1, 3, False),
]


def reference(x, kernel, inclusive):
    """XLA's convolution of the masked kernel; x [rows, inputs, columns, n]."""
    size = kernel.shape[0]
    order = np.arange(size * size).reshape(size, size, 1, 1)
    masked = kernel * (order <= size * size // 2 if inclusive else order < size * size // 2)
    names = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x.transpose(3, 0, 2, 1), masked, (1, 1), "SAME", dimension_numbers=names)
    return y.transpose(1, 3, 2, 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", [convolution._by_taps, convolution._by_patches, convolution._by_xla])
def test_values_and_gradients(form, shape):
    rows, columns, inputs, outputs, half, inclusive = shape
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = random.normal(size=(rows, inputs, columns, 7))
        kernel = random.normal(size=(2 * half + 1, 2 * half + 1, inputs, outputs))
        cotangent = random.normal(size=(rows, outputs, columns, 7))

        @jax.jit
        def both(x, kernel, cotangent):
            results = [jax.vjp(lambda x, k, f=f: f(x, k, inclusive), x, kernel) for f in (form, reference)]
            return [(y, *pull(cotangent)) for y, pull in results]

        for actual, expected in zip(*both(x, kernel, cotangent), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_large_arrays_go_by_taps_and_small_ones_by_patches(monkeypatch):
    taken = []
    for name in ("_by_taps", "_by_patches"):
        monkeypatch.setattr(convolution, name, lambda *_, name=name: taken.append(name))
    kernel = np.zeros((3, 3, 8, 8), np.float32)
    convolution.masked_convolution(np.zeros((4, 8, 4, 10), np.float32), kernel, True)
    convolution.masked_convolution(np.zeros((16, 8, 16, 1000), np.float32), kernel, True)
    convolution.masked_convolution(np.zeros((16, 1, 16, 1000), np.float32), kernel[:, :, :1], False)
    assert taken == ["_by_patches", "_by_taps", "_by_patches"]


def test_joining_undoes_splitting_of_what_counts():
    kernel = np.random.default_rng(0).normal(size=(5, 5, 2, 3)).astype(np.float32)
    joined = convolution.join(*convolution.split(kernel, True), kernel.shape, True)
    order = np.arange(25).reshape(5, 5, 1, 1)
    np.testing.assert_array_equal(joined, np.where(order <= 12, kernel, 0))
