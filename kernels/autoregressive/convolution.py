"""Masked convolutions of PixelCNN on features with the samples innermost: [channels, rows, columns, n]."""

import jax.numpy as jnp
from jax import lax


def masked_convolution(x, kernel, inclusive: bool):
    """Returns [outputs, rows, columns, n]: each site sees the rows above it and its own row to the left.

    Args:
      x: [inputs, rows, columns, n].
      kernel: [2h+1, 2h+1, inputs, outputs], of which only the open taps are read.
      inclusive: whether a site sees itself.
    """
    half, (rows, columns) = kernel.shape[0] // 2, x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (half, 0), (half, half), (0, 0)))
    taps = [(a, t) for a in range(half) for t in range(2 * half + 1)]
    taps += [(half, t) for t in range(half + inclusive)]
    patches = jnp.concatenate([padded[:, a : a + rows, t : t + columns] for a, t in taps])
    matrix = jnp.concatenate([kernel[a, t] for a, t in taps])
    return lax.dot_general(matrix, patches, (((0,), (0,)), ((), ())))
