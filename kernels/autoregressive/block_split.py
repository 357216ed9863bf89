"""The incremental sampler of MADE: what a block of sites sees of earlier blocks in one product, then site by site.

As for PixelCNN, most of the multiplications move from small serial products into large ones: once a block and layer,
one product with all earlier sites; once a site, the part of its own block. Features are [sites, channels, n].
"""

import jax
import jax.numpy as jnp
from jax import lax

from .forward import before_dense
from .networks import dtype_of, layers, open_weights, sites
from .probability import draw

BLOCK = 16


def sample_blocks(params, cfg, bits):
    """Returns (spins, logits) [rows, columns, n] of the network itself.

    Args:
      params, cfg: of a MADE.
      bits: uint32 [rows, columns, n], random.
    """
    count, dtype, n = sites(cfg), dtype_of(params), bits.shape[-1]
    block = min(BLOCK, count)
    blocks = -(-count // block)
    names = [layer.name for layer in layers(cfg)]
    matrices = [_matrix(cfg, layer, params[layer.name]["kernel"], block * blocks) for layer in layers(cfg)]
    local = [_by_block(_site_values(params[name]), blocks, block) for name in names]
    bits = _by_block(bits.reshape(count, n), blocks, block)

    def fill(features, xs):
        b, local, bits = xs
        terms, diagonals = [], []
        for layer, matrix, u, entry in zip(layers(cfg), matrices, features, local, strict=True):
            rows = lax.dynamic_slice_in_dim(matrix, b * block, block)
            term = (rows.reshape(block * layer.outputs, -1) @ u.reshape(-1, n)).reshape(block, layer.outputs, n)
            terms.append(term + entry["bias"][..., None] if "bias" in entry else term)
            diagonals.append(lax.dynamic_slice_in_dim(rows, b * block, block, 2))

        def site(own, xs):
            k, terms, diagonals, local, bits = xs
            own, x = list(own), None
            for index, layer in enumerate(layers(cfg)):
                if layer.inclusive:
                    u = before_dense(layer, jax.tree.map(lambda value: value[None], local[index]), x[None])[0]
                    own[index] = lax.dynamic_update_index_in_dim(own[index], u, k, 0)
                y = terms[index] + diagonals[index].reshape(layer.outputs, -1) @ own[index].reshape(-1, n)
                x = x + y if layer.residual else y
            a = x[0]
            if cfg.bias and not cfg.z2:
                a = jnp.where((b == 0) & (k == 0), 0, a)
            spin = draw(cfg, a, bits)
            own[0] = lax.dynamic_update_index_in_dim(own[0], spin[None], k, 0)
            return own, (spin, a)

        empty = [jnp.zeros((block, layer.inputs, n), dtype) for layer in layers(cfg)]
        own, outputs = lax.scan(site, empty, (jnp.arange(block), terms, diagonals, local, bits))
        features = [
            lax.dynamic_update_slice_in_dim(old, new, b * block, 0) for old, new in zip(features, own, strict=True)
        ]
        return features, outputs

    nothing = [jnp.zeros((blocks * block, layer.inputs, n), dtype) for layer in layers(cfg)]
    _, outputs = lax.scan(fill, nothing, (jnp.arange(blocks), local, bits))
    return tuple(values.reshape(-1, n)[:count].reshape(cfg.rows, cfg.columns, n) for values in outputs)


def _matrix(cfg, layer, kernel, padded: int):
    """A masked kernel as [to, outputs, from, inputs], with sites beyond the last one that see and show nothing."""
    more = padded - sites(cfg)
    kernel = jnp.where(open_weights(cfg, layer), kernel, 0).transpose(2, 3, 0, 1)
    return jnp.pad(kernel, ((0, more), (0, 0), (0, more), (0, 0)))


def _site_values(entry) -> dict:
    """What a layer holds by site: its biases, slopes and mix."""
    return {key: value for key, value in entry.items() if key != "kernel"}


def _by_block(tree, blocks: int, block: int):
    """Arrays [sites, ...] of a tree as [blocks, block, ...]."""

    def cut(x):
        padded = jnp.pad(x, ((0, blocks * block - x.shape[0]), *[(0, 0)] * (x.ndim - 1)))
        return padded.reshape(blocks, block, *x.shape[1:])

    return jax.tree.map(cut, tree)
