"""The array work behind `layers`: patches times a matrix, and maxima of slices, each with its own gradient.

The convolution takes [channels, height, width, batch], already padded, and works through the output a few rows at a
time: one block of patches then stays in the cache, and a training step needs no large temporary arrays, whose page
faults cost more than the arithmetic on some machines. Pooling takes height and width on axes 1 and 2.
"""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
from jax import lax

# Bytes of patches in one block: about a core's second-level cache. Between 0.5 and 5 MB the choice hardly matters.
BLOCK_BYTES = 2_000_000

Pair = tuple[int, int]  # of rows and columns


def out_size(size: int, taps: int, stride: int, dilation: int = 1) -> int:
    """Returns how many positions a window of `taps` has on `size` pixels."""
    return (size - (taps - 1) * dilation - 1) // stride + 1


def window_slice(x: jax.Array, row: int, column: int, height: int, width: int, stride: Pair) -> jax.Array:
    """Returns the pixels `[_, height, width, _]` that a kernel tap meets, from (row, column) in steps of `stride`."""
    return x[
        :,
        row : row + (height - 1) * stride[0] + 1 : stride[0],
        column : column + (width - 1) * stride[1] + 1 : stride[1],
    ]


def gather(x: jax.Array, taps: Pair, stride: Pair, dilation: Pair) -> jax.Array:
    """Returns patches `[taps * channels, rows * columns * batch]`; the first axis is that of a reshaped HWIO kernel."""
    height, width = (out_size(x.shape[axis + 1], taps[axis], stride[axis], dilation[axis]) for axis in (0, 1))
    slices = [
        window_slice(x, row * dilation[0], column * dilation[1], height, width, stride)
        for row in range(taps[0])
        for column in range(taps[1])
    ]
    return jnp.concatenate(slices, axis=0).reshape(len(slices) * x.shape[0], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: jax.Array, kernel: jax.Array, stride: Pair, dilation: Pair) -> jax.Array:
    """Returns `[out, out_height, out_width, batch]` from padded `x` `[in, height, width, batch]` and an HWIO kernel."""
    taps, out_channels = kernel.shape[:2], kernel.shape[3]
    shape, rows, block = _blocks(x, kernel, stride, dilation)
    matrix = kernel.reshape(-1, out_channels).T

    def convolve_rows(index, y):
        pixels = lax.dynamic_slice_in_dim(x, index * rows * stride[0], block, axis=1)
        values = (matrix @ gather(pixels, taps, stride, dilation)).reshape(out_channels, rows, *shape[2:])
        return lax.dynamic_update_slice_in_dim(y, values, index * rows, axis=1)

    return _repeat(shape[1] // rows, convolve_rows, jnp.zeros(shape, x.dtype))


def _convolve_forward(x, kernel, stride, dilation):
    return convolve(x, kernel, stride, dilation), (x, kernel)


def _convolve_backward(stride, dilation, saved, gradient):
    x, kernel = saved  # patches are gathered again: cheaper than keeping `taps` times the input
    taps, (in_channels, out_channels) = kernel.shape[:2], kernel.shape[2:]
    shape, rows, block = _blocks(x, kernel, stride, dilation)
    matrix = kernel.reshape(-1, out_channels)

    def add_rows(index, carry):
        x_gradient, matrix_gradient = carry
        first = index * rows * stride[0]
        pixels = lax.dynamic_slice_in_dim(x, first, block, axis=1)
        flat = lax.dynamic_slice_in_dim(gradient, index * rows, rows, axis=1).reshape(out_channels, -1)
        patches = gather(pixels, taps, stride, dilation)
        product = lax.dot_general(patches, flat, (((1,), (1,)), ((), ())), preferred_element_type=matrix_gradient.dtype)
        by_tap = (matrix @ flat).reshape(*taps, in_channels, rows, *shape[2:])
        # Back to the pixels: columns spread and added in one pass, then one addition per kernel row.
        height = (rows - 1) * stride[0] + 1
        for row in range(taps[0]):
            spread = sum(
                _spread(by_tap[row, column], (height, x.shape[2]), (0, column * dilation[1]), stride)
                for column in range(taps[1])
            )
            start = first + row * dilation[0]
            total = lax.dynamic_slice_in_dim(x_gradient, start, height, axis=1) + spread
            x_gradient = lax.dynamic_update_slice_in_dim(x_gradient, total, start, axis=1)
        return x_gradient, matrix_gradient + product

    # Half-precision products are summed over the blocks in float32.
    start = jnp.zeros_like(x), jnp.zeros(matrix.shape, jnp.promote_types(x.dtype, jnp.float32))
    x_gradient, matrix_gradient = _repeat(shape[1] // rows, add_rows, start)
    return x_gradient, matrix_gradient.reshape(kernel.shape).astype(kernel.dtype)


convolve.defvjp(_convolve_forward, _convolve_backward)


def depthwise(x: jax.Array, kernel: jax.Array, stride: Pair) -> jax.Array:
    """Returns the sum over taps of shifted `x` times `kernel[row, column]`, which broadcasts against `x`."""
    height, width = (out_size(x.shape[axis + 1], kernel.shape[axis], stride[axis]) for axis in (0, 1))
    terms = (
        window_slice(x, row, column, height, width, stride) * kernel[row, column]
        for row in range(kernel.shape[0])
        for column in range(kernel.shape[1])
    )
    return functools.reduce(operator.add, terms)


def _blocks(x, kernel, stride, dilation):
    """Returns the output's shape, how many of its rows one block computes, and the input rows a block reads."""
    taps, (in_channels, out_channels) = kernel.shape[:2], kernel.shape[2:]
    height, width = (out_size(x.shape[axis + 1], taps[axis], stride[axis], dilation[axis]) for axis in (0, 1))
    row_bytes = taps[0] * taps[1] * in_channels * width * x.shape[3] * x.dtype.itemsize
    divisors = [rows for rows in range(1, height + 1) if height % rows == 0]
    rows = max((rows for rows in divisors if rows * row_bytes <= BLOCK_BYTES), default=1)
    return (out_channels, height, width, x.shape[3]), rows, (rows - 1) * stride[0] + (taps[0] - 1) * dilation[0] + 1


def _repeat(count, body, start):
    return body(0, start) if count == 1 else lax.fori_loop(0, count, body, start)


def _spread(values, size, start, stride):
    """Puts `values` at `start`, `start + stride`, ... of axes 1 and 2 in zeros whose axes 1 and 2 are `size`."""
    config = []
    for axis in (0, 1):
        high = size[axis] - start[axis] - (values.shape[axis + 1] - 1) * stride[axis] - 1
        config.append((start[axis], high, stride[axis] - 1))
    return lax.pad(values, jnp.zeros((), values.dtype), [(0, 0, 0), *config, (0, 0, 0)])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x: jax.Array, window: Pair, stride: Pair) -> jax.Array:
    """Returns the maxima over windows of axes 1 and 2; see `layers.max_pool`."""
    return functools.reduce(jnp.maximum, _pool_slices(x, window, stride))


def _pool_slices(x, window, stride):
    height, width = (out_size(x.shape[axis + 1], window[axis], stride[axis]) for axis in (0, 1))
    taps = [(row, column) for row in range(window[0]) for column in range(window[1])]
    return [window_slice(x, row, column, height, width, stride) for row, column in taps]


def _max_pool_forward(x, window, stride):
    largest = max_pool(x, window, stride)
    return largest, (x, largest)


def _max_pool_backward(window, stride, saved, gradient):
    x, largest = saved
    claimed = jnp.zeros(largest.shape, bool)
    total = jnp.zeros((), gradient.dtype)
    for index, candidate in enumerate(_pool_slices(x, window, stride)):
        first = (candidate == largest) & ~claimed
        claimed = claimed | first
        part = jnp.where(first, gradient, jnp.zeros((), gradient.dtype))
        total = total + _spread(part, x.shape[1:3], divmod(index, window[1]), stride)
    return (total,)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)
