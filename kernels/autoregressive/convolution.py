"""Masked convolutions of PixelCNN as matrix products; features are [rows, channels, columns, n], samples innermost.

XLA's own convolutions, and even more their gradients, are several times slower on CPU; on a GPU they are faster, and
taken. A row of the output is the sum
over taps of shifted products: one product of all taps at once with the h rows above, one with the row itself, both of
which lie in memory as they are needed; then the taps are added, each shifted by its column. Nothing is copied by tap.
The first layer, of one channel, and small arrays gather patches instead.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

PATCH_BYTES = 1 << 21  # up to which one product with patches costs less, to compile too, than a loop over rows


def full_precision():
    """A context in which products of float32 are not rounded to shorter formats, as accelerators do by default."""
    return jax.default_matmul_precision("highest")


def masked_convolution(x, kernel, inclusive: bool):
    """Returns [rows, outputs, columns, n]: each site sees the rows above it and its own row to the left.

    Args:
      x: [rows, inputs, columns, n].
      kernel: [2h+1, 2h+1, inputs, outputs], of which only the open taps are read.
      inclusive: whether a site sees itself.
    """
    taps = kernel.shape[0] ** 2 // 2 + inclusive
    if x.shape[1] == 1 or taps * x.size * x.dtype.itemsize <= PATCH_BYTES:
        return _by_patches(x, kernel, inclusive)
    return _by_taps(x, kernel, inclusive)


def _by_patches(x, kernel, inclusive):
    half, rows, columns = kernel.shape[0] // 2, x.shape[0], x.shape[2]
    padded = jnp.pad(x, ((half, 0), (0, 0), (half, half), (0, 0)))
    taps = [(a, t) for a in range(half) for t in range(2 * half + 1)]
    taps += [(half, t) for t in range(half + inclusive)]
    patches = jnp.concatenate([padded[a : a + rows, :, t : t + columns] for a, t in taps], axis=1)
    matrix = jnp.concatenate([kernel[a, t] for a, t in taps])
    return jnp.einsum("rkcn,rko->rocn", patches, jnp.broadcast_to(matrix, (rows, *matrix.shape)))


def split(kernel, inclusive: bool):
    """Returns the two matrices of a kernel [2h+1, 2h+1, inputs, outputs], whose first axis has the taps outermost.

    [(2h+1) outputs, h inputs] for the rows above, [places outputs, inputs] for the row itself, h places and the site.
    """
    half, (inputs, outputs) = kernel.shape[0] // 2, kernel.shape[2:]
    above = kernel[:half].transpose(1, 3, 0, 2).reshape((2 * half + 1) * outputs, half * inputs)
    beside = kernel[half, : half + inclusive].transpose(0, 2, 1).reshape(-1, inputs)
    return above, beside


def join(above, beside, shape, inclusive: bool):
    """Returns the kernel of two matrices, 0 where masked: the inverse of `split`."""
    half, (inputs, outputs) = shape[0] // 2, shape[2:]
    above = above.reshape(2 * half + 1, outputs, half, inputs).transpose(2, 0, 3, 1)
    beside = beside.reshape(half + inclusive, outputs, inputs).transpose(0, 2, 1)
    kernel = jnp.zeros(shape, above.dtype)
    return kernel.at[:half].set(above).at[half, : half + inclusive].set(beside)


def add_taps(by_tap, half: int):
    """Returns [outputs, columns, n]: the sum over taps t = 0, 1, ... of by_tap [taps, outputs, columns, n], column j
    taking tap t from column j + t - h, and nothing from beyond the lattice."""
    columns = by_tap.shape[2]
    total = by_tap[half] if by_tap.shape[0] > half else jnp.zeros_like(by_tap[0])
    for t in range(by_tap.shape[0]):
        shift = t - half
        if 0 < shift < columns:
            total = total.at[:, :-shift].add(by_tap[t, :, shift:])
        elif 0 < -shift < columns:
            total = total.at[:, -shift:].add(by_tap[t, :, :shift])
    return total


def _spread_taps(y, half):
    """The transpose of `add_taps` for all 2h + 1 taps: [taps, outputs, columns, n] of y [outputs, columns, n]."""
    columns = y.shape[1]
    padded = jnp.pad(y, ((0, 0), (half, half), (0, 0)))
    return jnp.stack([padded[:, 2 * half - t : 2 * half - t + columns] for t in range(2 * half + 1)])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _by_taps(x, kernel, inclusive):
    cpu, other = (functools.partial(form, inclusive=inclusive) for form in (_by_rows, _by_xla))
    return lax.platform_dependent(x, kernel, cpu=cpu, default=other)


def _by_xla(x, kernel, inclusive):
    """The same by one convolution of XLA, of the rows of the kernel that are open."""
    half = kernel.shape[0] // 2
    kernel = kernel[: half + 1].at[half, half + inclusive :].set(0)
    padding, names = ((half, 0), (half, half)), ("HCWN", "HWIO", "HCWN")
    with full_precision():
        return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=names)


def _by_rows(x, kernel, inclusive):
    half, outputs = kernel.shape[0] // 2, kernel.shape[3]
    rows, _, columns, n = x.shape
    above, beside = split(kernel, inclusive)
    padded = jnp.pad(x, ((half, 0), (0, 0), (0, 0), (0, 0)))

    def row(i, y):
        window, own = _window(padded, i, half)
        by_tap = (above @ window).reshape(-1, outputs, columns, n)
        by_place = (beside @ own).reshape(-1, outputs, columns, n)
        by_tap = by_tap.at[: by_place.shape[0]].add(by_place)
        return lax.dynamic_update_index_in_dim(y, add_taps(by_tap, half), i, 0)

    return lax.fori_loop(0, rows, row, jnp.zeros((rows, outputs, columns, n), x.dtype))


def _forward(x, kernel, inclusive):
    return _by_taps(x, kernel, inclusive), (x, kernel)


def _backward(inclusive, saved, gradient):
    def by_xla(x, kernel, gradient):
        return jax.vjp(functools.partial(_by_xla, inclusive=inclusive), x, kernel)[1](gradient)

    by_rows = functools.partial(_backward_by_rows, inclusive=inclusive)
    return lax.platform_dependent(*saved, gradient, cpu=by_rows, default=by_xla)


def _backward_by_rows(x, kernel, gradient, inclusive):
    half = kernel.shape[0] // 2
    rows, inputs, columns, n = x.shape
    above, beside = split(kernel, inclusive)
    padded = jnp.pad(x, ((half, 0), (0, 0), (0, 0), (0, 0)))

    def row(i, carry):
        x_gradient, above_gradient, beside_gradient = carry
        window, own = _window(padded, i, half)
        spread = _spread_taps(gradient[i], half).reshape(-1, columns * n)
        spread_beside = spread[: beside.shape[0]]
        to_above = (above.T @ spread).reshape(half, inputs, columns, n)
        to_beside = (beside.T @ spread_beside).reshape(1, inputs, columns, n)
        old = lax.dynamic_slice_in_dim(x_gradient, i, half + 1)
        x_gradient = lax.dynamic_update_slice_in_dim(x_gradient, old + jnp.concatenate([to_above, to_beside]), i, 0)
        return x_gradient, above_gradient + spread @ window.T, beside_gradient + spread_beside @ own.T

    start = jnp.zeros_like(padded), jnp.zeros_like(above), jnp.zeros_like(beside)
    with full_precision():
        x_gradient, above_gradient, beside_gradient = lax.fori_loop(0, rows, row, start)
    return x_gradient[half:], join(above_gradient, beside_gradient, kernel.shape, inclusive)


_by_taps.defvjp(_forward, _backward)


def _window(padded, i, half):
    """The h rows above row i and the row itself as matrices [h inputs, columns n] and [inputs, columns n]."""
    inputs, columns, n = padded.shape[1:]
    window = lax.dynamic_slice_in_dim(padded, i, half).reshape(half * inputs, columns * n)
    return window, lax.dynamic_index_in_dim(padded, i + half, keepdims=False).reshape(inputs, columns * n)
