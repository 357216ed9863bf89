"""The incremental sampler of PixelCNN: what a row sees of the rows above once a row, what a site sees of its row once a site.

Each masked kernel is split into A, its h rows above, and B, its own row up to the site. Once a row and layer, one
product of A with the h rows above gives that part for all columns; once a site, B meets the last h + 1 sites of the
row, which a ring of h + 1 places keeps. The ring is never shifted: site j overwrites place j mod (h + 1), and B is
kept in all its h + 1 rotations. Features are [channels, columns, n] or [channels, n], samples innermost.
"""

import jax
import jax.numpy as jnp
from jax import lax

from .networks import has_final, layers
from .probability import before, draw, dtype_of, end


def sample_rows(params, cfg, bits):
    """Returns (spins, logits) [rows, columns, n] of the network itself.

    Args:
      params, cfg: of a PixelCNN.
      bits: uint32 [rows, columns, n], random.
    """
    dtype, n = dtype_of(params), bits.shape[-1]
    split = [split_kernel(params[layer.name]["kernel"], layer.inclusive) for layer in layers(cfg)]

    def row(above, xs):
        row_bits, i = xs
        terms = [
            row_term(cfg, params[layer.name], a, rows)
            for layer, (a, _), rows in zip(layers(cfg), split, above, strict=True)
        ]
        rings = [jnp.zeros((b.shape[0], layer.inputs, n), dtype) for layer, (_, b) in zip(layers(cfg), split)]

        def site(rings, xs):
            terms, site_bits, j = xs
            rings, x, seen = list(rings), None, []
            for k, layer in enumerate(layers(cfg)):
                entry, (_, b) = params[layer.name], split[k]
                phase = j % b.shape[0]
                if layer.inclusive:
                    u = before(layer, entry, x)
                    rings[k] = lax.dynamic_update_index_in_dim(rings[k], u, phase, 0)
                    seen.append(u)
                y = terms[k] + b[phase] @ rings[k].reshape(-1, n)
                x = x + y if layer.residual else y
            a = (end(params, x) if has_final(cfg) else x)[0]
            if cfg.bias and not cfg.z2:
                a = jnp.where((i == 0) & (j == 0), 0, a)
            spin = draw(cfg, a, site_bits)
            rings[0] = lax.dynamic_update_index_in_dim(rings[0], spin[None], j % rings[0].shape[0], 0)
            return rings, ([spin[None], *seen], a)

        _, (seen, a) = lax.scan(site, rings, (terms, row_bits, jnp.arange(cfg.columns)))
        above = [jnp.concatenate([old[1:], new.swapaxes(0, 1)[None]]) for old, new in zip(above, seen, strict=True)]
        return above, (seen[0][:, 0], a)

    start = [jnp.zeros((cfg.half_width, layer.inputs, cfg.columns, n), dtype) for layer in layers(cfg)]
    _, found = lax.scan(row, start, (bits, jnp.arange(cfg.rows)))
    return found


def split_kernel(kernel, inclusive: bool):
    """Returns A [(2h+1) outputs, h inputs] and B [places, outputs, places inputs], one for each j mod places.

    Args:
      kernel: [2h+1, 2h+1, inputs, outputs].
      inclusive: whether the site itself is seen: h + 1 places, else h.
    """
    half = kernel.shape[0] // 2
    inputs, outputs = kernel.shape[2:]
    above = kernel[:half].transpose(1, 3, 0, 2).reshape((2 * half + 1) * outputs, half * inputs)
    places = half + inclusive
    taps = kernel[half, :places].transpose(2, 0, 1)  # the last one is that of the newest site
    newest = [phase if inclusive else phase - 1 for phase in range(places)]
    turned = [jnp.roll(taps, place + 1, axis=1).reshape(outputs, -1) for place in newest]
    return above, jnp.stack(turned)


def row_term(cfg, entry, a, above):
    """Returns [columns, outputs, n]: bias and what each column sees of the rows above [h, inputs, columns, n]."""
    half, columns, n = cfg.half_width, cfg.columns, above.shape[-1]
    by_tap = (a @ above.reshape(-1, columns * n)).reshape(2 * half + 1, -1, columns, n)
    total = by_tap[half]
    for t in range(1, half + 1):
        if t < columns:
            total = total.at[:, t:].add(by_tap[half - t, :, :-t])
            total = total.at[:, :-t].add(by_tap[half + t, :, t:])
    if "bias" in entry:
        total = total + entry["bias"][:, None, None]
    return total.swapaxes(0, 1)
