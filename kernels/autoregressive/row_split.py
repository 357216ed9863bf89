"""The incremental sampler of PixelCNN: the part of the rows above once a row, the part of the row itself once a site.

Each masked kernel is split into A, its h rows above, and B, its own row up to the site. Once a row and layer, one
product of A with the h rows above gives that part for all columns; once a site, B meets the last h + 1 sites of the
row, which a ring of h + 1 places keeps. The ring is never shifted: site j overwrites place j mod (h + 1), and B is
kept in all its h + 1 rotations. Features are [channels, columns, n] or [channels, n], samples innermost.
"""

import jax.numpy as jnp
from jax import lax

from .convolution import add_taps, split
from .forward import before, end
from .networks import dtype_of, has_final, layers
from .probability import draw


def sample_rows(params, cfg, bits):
    """Returns (spins, logits) [rows, columns, n] of the network itself.

    Args:
      params, cfg: of a PixelCNN.
      bits: uint32 [rows, columns, n], random.
    """
    dtype, n = dtype_of(params), bits.shape[-1]
    matrices = [split(params[layer.name]["kernel"], layer.inclusive) for layer in layers(cfg)]
    above_matrices = [above for above, _ in matrices]
    turned = [
        rotations(beside, cfg.half_width + layer.inclusive, layer.inclusive)
        for layer, (_, beside) in zip(layers(cfg), matrices, strict=True)
    ]

    def row(above, xs):
        row_bits, i = xs
        terms = [
            row_term(cfg, params[layer.name], matrix, rows)
            for layer, matrix, rows in zip(layers(cfg), above_matrices, above, strict=True)
        ]
        rings = [jnp.zeros((b.shape[0], layer.inputs, n), dtype) for layer, b in zip(layers(cfg), turned, strict=True)]

        def site(rings, xs):
            terms, site_bits, j = xs
            rings, x, features = list(rings), None, []
            for k, layer in enumerate(layers(cfg)):
                entry, places = params[layer.name], turned[k].shape[0]
                if layer.inclusive:
                    u = before(layer, entry, x)
                    rings[k] = lax.dynamic_update_index_in_dim(rings[k], u, j % places, 0)
                    features.append(u)
                y = terms[k] + turned[k][j % places] @ rings[k].reshape(-1, n)
                x = x + y if layer.residual else y
            a = (end(params, x) if has_final(cfg) else x)[0]
            if cfg.bias and not cfg.z2:
                a = jnp.where((i == 0) & (j == 0), 0, a)
            spin = draw(cfg, a, site_bits)
            rings[0] = lax.dynamic_update_index_in_dim(rings[0], spin[None], j % rings[0].shape[0], 0)
            return rings, ([spin[None], *features], a)

        _, (features, a) = lax.scan(site, rings, (terms, row_bits, jnp.arange(cfg.columns)))
        above = [jnp.concatenate([old[1:], new.swapaxes(0, 1)[None]]) for old, new in zip(above, features, strict=True)]
        return above, (features[0][:, 0], a)

    start = [jnp.zeros((cfg.half_width, layer.inputs, cfg.columns, n), dtype) for layer in layers(cfg)]
    _, outputs = lax.scan(row, start, (bits, jnp.arange(cfg.rows)))
    return outputs


def rotations(beside, places: int, inclusive: bool):
    """Returns B for each j mod places, [places, outputs, places inputs], of `split`'s [places outputs, inputs]."""
    inputs = beside.shape[1]
    taps = beside.reshape(places, -1, inputs).swapaxes(0, 1)  # the last one is that of the newest site
    newest = [phase if inclusive else phase - 1 for phase in range(places)]
    return jnp.stack([jnp.roll(taps, place + 1, axis=1).reshape(-1, places * inputs) for place in newest])


def row_term(cfg, entry, above, rows):
    """Returns [columns, outputs, n]: bias and what each column sees of the rows above [h, inputs, columns, n]."""
    columns, n = rows.shape[2:]
    by_tap = (above @ rows.reshape(-1, columns * n)).reshape(2 * cfg.half_width + 1, -1, columns, n)
    total = add_taps(by_tap, cfg.half_width)
    if "bias" in entry:
        total = total + entry["bias"][:, None, None]
    return total.swapaxes(0, 1)
