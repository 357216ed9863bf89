"""The sampler of PixelCNN along a skewed wavefront: several rows at once, for devices that like few, wide steps.

Site (i, j) sees row i - 1 up to column j + h only (of the layer below), so that it may be drawn at step i (h + 1) + j:
columns + (rows - 1)(h + 1) steps instead of rows * columns, up to columns / (h + 1) rows a step. A step and layer is
one gather of windows and one product with the whole kernel. Features are [rows, columns, channels, n], with the zeros
around the lattice stored.
"""

import jax.numpy as jnp
from jax import lax

from .forward import before, end
from .networks import dtype_of, has_final, layers
from .probability import draw


def steps(cfg) -> int:
    """Returns the sequential steps of the wavefront."""
    return cfg.columns + (cfg.rows - 1) * (cfg.half_width + 1)


def sample_wavefront(params, cfg, bits):
    """Returns (spins, logits) [rows, columns, n] of the network itself.

    Args:
      params, cfg: of a PixelCNN.
      bits: uint32 [rows, columns, n], random.
    """
    half, dtype, n = cfg.half_width, dtype_of(params), bits.shape[-1]
    active = -(-cfg.columns // (half + 1))
    taps = {inclusive: _taps(half, inclusive) for inclusive in (False, True)}
    matrices = [_matrix(params[layer.name]["kernel"], taps[layer.inclusive]) for layer in layers(cfg)]

    def step(s, carry):
        features, logits = list(carry[0]), carry[1]
        # The first row that is not finished, ceil((s - columns + 1) / (h + 1)), and those below it.
        i = jnp.maximum((s - cfg.columns + 1 + half) // (half + 1), 0) + jnp.arange(active)
        j = s - i * (half + 1)
        inside = (i < cfg.rows) & (j >= 0) & (j < cfg.columns)
        # Where to write: beyond the arrays, which drops it, for rows that are not at work.
        row, column = jnp.where(inside, i, cfg.rows + half), jnp.clip(j, 0, cfg.columns - 1)

        def put(array, values):
            return array.at[row + half, column + half].set(values, mode="drop", unique_indices=True)

        x = None
        for k, layer in enumerate(layers(cfg)):
            entry = params[layer.name]
            if layer.inclusive:
                u = before(layer, entry, x)
                features[k] = put(features[k], u.swapaxes(0, 1))
            up, along = taps[layer.inclusive]
            windows = (
                features[k]
                .at[jnp.minimum(i, cfg.rows - 1) + up[:, None], column + along[:, None]]
                .get(mode="promise_in_bounds")
            )  # [taps, active, inputs, n]
            y = matrices[k] @ windows.swapaxes(1, 2).reshape(-1, active * n)
            y = y.reshape(layer.outputs, active, n)
            if "bias" in entry:
                y = y + entry["bias"][:, None, None]
            x = x + y if layer.residual else y
        a = (end(params, x) if has_final(cfg) else x)[0]
        if cfg.bias and not cfg.z2:
            a = jnp.where(((i == 0) & (j == 0))[:, None], 0, a)
        spin = draw(cfg, a, bits[jnp.minimum(i, cfg.rows - 1), column])
        features[0] = put(features[0], spin[:, None])
        return features, logits.at[jnp.where(inside, i, cfg.rows), column].set(a, mode="drop", unique_indices=True)

    around = (cfg.rows + half, cfg.columns + 2 * half)
    start = [jnp.zeros((*around, layer.inputs, n), dtype) for layer in layers(cfg)]
    features, logits = lax.fori_loop(0, steps(cfg), step, (start, jnp.zeros(bits.shape, dtype)))
    return features[0][half:, half : half + cfg.columns, 0], logits


def _taps(half: int, inclusive: bool):
    """Rows and columns of the open taps, counted from the upper left corner of the kernel."""
    order = jnp.arange((2 * half + 1) * half + half + inclusive)
    return order // (2 * half + 1), order % (2 * half + 1)


def _matrix(kernel, taps):
    """A kernel [2h+1, 2h+1, inputs, outputs] as [outputs, taps inputs]."""
    open_kernel = kernel[taps]
    return open_kernel.reshape(-1, kernel.shape[3]).T
