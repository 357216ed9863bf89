"""The array work behind `layers`: patches times a matrix, and pooling as a maximum of slices, each with its own gradient.

Feature maps are [channels, height, width, batch] for the convolution, already padded; pooling takes height and width on axes 1 and 2
whatever the other two are.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax


def _out_size(size: int, taps: int, stride: int, dilation: int = 1) -> int:
    return (size - (taps - 1) * dilation - 1) // stride + 1


def _window(x, row, column, out_height, out_width, stride):
    """Returns the pixels that one kernel tap meets: `[_, out_height, out_width, _]`."""
    return x[
        :,
        row : row + (out_height - 1) * stride[0] + 1 : stride[0],
        column : column + (out_width - 1) * stride[1] + 1 : stride[1],
    ]


def gather(x, taps, stride, dilation):
    """Returns patches `[taps_high * taps_wide * channels, out_height, out_width, batch]`, the order of a reshaped HWIO kernel."""
    height, width = (_out_size(x.shape[axis + 1], taps[axis], stride[axis], dilation[axis]) for axis in (0, 1))
    if taps == (1, 1):
        return _window(x, 0, 0, height, width, stride)
    slices = [
        _window(x, row * dilation[0], column * dilation[1], height, width, stride)
        for row in range(taps[0])
        for column in range(taps[1])
    ]
    return jnp.concatenate(slices, axis=0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x, kernel, stride, dilation):
    """Returns `[out, out_height, out_width, batch]` from padded `x` `[in, height, width, batch]` and an HWIO kernel."""
    taps, out_channels = kernel.shape[:2], kernel.shape[3]
    patches = gather(x, taps, stride, dilation)
    y = kernel.reshape(-1, out_channels).T @ patches.reshape(patches.shape[0], -1)
    return y.reshape(out_channels, *patches.shape[1:])


def _convolve_forward(x, kernel, stride, dilation):
    return convolve(x, kernel, stride, dilation), (x, kernel)


def _convolve_backward(stride, dilation, saved, gradient):
    x, kernel = saved  # patches are gathered again: cheaper than keeping kernel-size times the input
    taps, (in_channels, out_channels) = kernel.shape[:2], kernel.shape[2:]
    _, out_height, out_width, batch = gradient.shape
    flat = gradient.reshape(out_channels, -1)
    patches = gather(x, taps, stride, dilation).reshape(-1, flat.shape[1])
    kernel_gradient = lax.dot_general(patches, flat, (((1,), (1,)), ((), ()))).reshape(kernel.shape)
    by_tap = (kernel.reshape(-1, out_channels) @ flat).reshape(*taps, in_channels, out_height, out_width, batch)
    x_gradient = None
    for row in range(taps[0]):
        for column in range(taps[1]):
            spread = _spread(by_tap[row, column], x.shape, (row * dilation[0], column * dilation[1]), stride)
            x_gradient = spread if x_gradient is None else x_gradient + spread
    return x_gradient, kernel_gradient


def _spread(values, shape, start, stride):
    """Puts `values` at `start`, `start + stride`, ... of height and width in an array of zeros of `shape`."""
    config = [(0, 0, 0)]
    for axis in (0, 1):
        step, count = stride[axis], values.shape[axis + 1]
        config.append((start[axis], shape[axis + 1] - start[axis] - (count - 1) * step - 1, step - 1))
    return lax.pad(values, jnp.zeros((), values.dtype), [*config, (0, 0, 0)])


convolve.defvjp(_convolve_forward, _convolve_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x, window, stride):
    """Returns the maxima over windows of axes 1 and 2; see `layers.max_pool`."""
    return functools.reduce(jnp.maximum, _pool_slices(x, window, stride))


def _pool_slices(x, window, stride):
    height, width = (_out_size(x.shape[axis + 1], window[axis], stride[axis]) for axis in (0, 1))
    if height < 1 or width < 1:
        raise ValueError(f"max_pool: a window of {window} does not fit maps of shape {x.shape} (height, width on axes 1, 2).")
    return [_window(x, row, column, height, width, stride) for row in range(window[0]) for column in range(window[1])]


def _max_pool_forward(x, window, stride):
    largest = max_pool(x, window, stride)
    return largest, (x, largest)


def _max_pool_backward(window, stride, saved, gradient):
    x, largest = saved
    taken = jnp.zeros(largest.shape, bool)
    parts = []
    for candidate in _pool_slices(x, window, stride):
        first = (candidate == largest) & ~taken
        taken = taken | first
        parts.append(jnp.where(first, gradient, jnp.zeros((), gradient.dtype)))
    total = None
    for index, part in enumerate(parts):
        spread = _spread(part, x.shape, divmod(index, window[1]), stride)
        total = spread if total is None else total + spread
    return (total,)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)
