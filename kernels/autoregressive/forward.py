"""One parallel pass of a network: logits of every site from given spins, in either kind of layers.

Features are [rows, channels, columns, n] or, of MADE, [sites, channels, n]. What happens at a place between two masked
layers (PReLU, the 1x1 products) stands here once, for the samplers too.
"""

import jax.numpy as jnp

from .convolution import full_precision, masked_convolution
from .networks import MADE, has_final, layers, open_weights, sites


def logits_of(params, cfg, spins):
    """a [rows, columns, n] of spins [rows, columns, n]."""
    run = _dense if isinstance(cfg, MADE) else _convolutional
    with full_precision():
        a = run(params, cfg, spins)
    # With a bias and without z2 the first conditional is 1/2: the symmetric choice.
    return a.at[0, 0].set(0) if cfg.bias and not cfg.z2 else a


def _convolutional(params, cfg, spins):
    x = spins[:, None]
    for layer in layers(cfg):
        entry = params[layer.name]
        y = masked_convolution(before(layer, entry, x, 1), entry["kernel"], layer.inclusive)
        if cfg.bias:
            y = y + along(entry["bias"], y, 1)
        x = x + y if layer.residual else y
    return (end(params, x, 1) if has_final(cfg) else x)[:, 0]


def _dense(params, cfg, spins):
    x = spins.reshape(sites(cfg), 1, -1)
    for layer in layers(cfg):
        entry = params[layer.name]
        u = before_dense(layer, entry, x)
        kernel = jnp.where(open_weights(cfg, layer), entry["kernel"], 0)
        y = jnp.einsum("jcid,jcn->idn", kernel, u)
        if cfg.bias:
            y = y + entry["bias"][:, :, None]
        x = x + y if layer.residual else y
    return x.reshape(spins.shape)


def before(layer, entry, x, axis=0):
    """What a layer's convolution sees of x, channels on `axis`: PReLU, in residual layers of a 1x1 product."""
    if layer.residual:
        x = pointwise(entry["mix"], x, axis)
    return prelu(x, entry["slope"], axis) if layer.activated else x


def end(params, x, axis=0):
    """PReLU and the product to one channel that end a network with `final_conv`; channels lie on `axis`."""
    return pointwise(params["final"], prelu(x, params["final"]["slope"], axis), axis)


def before_dense(layer, entry, x):
    """`before` for MADE: x is [sites, channels, n], and each site has its own matrix and slopes."""
    if layer.residual:
        x = jnp.einsum("icd,icn->idn", entry["mix"]["kernel"], x)
        if "bias" in entry["mix"]:
            x = x + entry["mix"]["bias"][..., None]
    return jnp.where(x > 0, x, entry["slope"][..., None] * x) if layer.activated else x


def prelu(x, slope, axis=0):
    """x where positive, else x times the slope [channels] of its channel."""
    return jnp.where(x > 0, x, along(slope, x, axis) * x)


def pointwise(entry, x, axis=0):
    """A product over the channels on `axis` (0 or 1) at every place."""
    kernel = entry["kernel"]
    if axis == 0:
        y = (kernel.T @ x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])
    else:
        kernel = jnp.broadcast_to(kernel, (x.shape[0], *kernel.shape))
        y = jnp.einsum("rcd,rcjn->rdjn", kernel, x)
    return y + along(entry["bias"], y, axis) if "bias" in entry else y


def along(vector, x, axis):
    """A vector [channels] in the shape that broadcasts along `axis` of x."""
    return vector.reshape(-1, *[1] * (x.ndim - 1 - axis))
