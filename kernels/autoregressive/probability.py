"""What a network says of given spins: logits, conditionals, log-probabilities, all sites in one parallel pass.

x_i = sigmoid(a_i) is bounded as epsilon + (1 - 2 epsilon) x_i, which stays exactly normalised; in logarithms
ln q(s_i) = logaddexp(ln epsilon, ln(1 - 2 epsilon) + log_sigmoid(s_i a_i)). The sampler sums the same terms by the
same function, so that ln q of sampling and of weighting are one. Spins are +-1, [n, rows, columns]; inside, features
are [rows, channels, columns, n] or, of MADE, [sites, channels, n]: the samples stay innermost.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from .convolution import full_precision, masked_convolution
from .networks import MADE, Network, check_network, has_final, layers, open_weights, sites


def log_prob(params: dict, cfg: Network, spins: jax.Array) -> jax.Array:
    """Returns ln q of each configuration [n], in nats; differentiable in `params`.

    With z2 it is logaddexp(ln q(s), ln q(-s)) - ln 2 of the network's own q: two passes. Sums over sites run in float64
    with 64-bit mode on, which is then the dtype of the result; otherwise they are compensated, in that of `params`.

    Args:
      params: from `init` or of its form.
      cfg: PixelCNN or MADE.
      spins: +-1 of any dtype, [n, rows, columns]; all samples go through one pass: memory grows with n.

    Raises:
      ValueError: spins of another shape, or (where they are not traced) other than +-1.
    """
    return _log_prob(params, cfg, check_spins(cfg, spins))


def conditionals(params: dict, cfg: Network, spins: jax.Array) -> jax.Array:
    """Returns q(s_i = +1 | s_<i) [n, rows, columns], within [epsilon, 1 - epsilon], in the dtype of `params`.

    They are those of the law of `log_prob`: their product over sites, 1 - x where a spin is -1, is q. With z2 the
    mixture's: the network's conditionals for s_<i and, mirrored, for -s_<i, weighted by what both say of s_<i.

    Args, Raises: as `log_prob`.
    """
    return _conditionals(params, cfg, check_spins(cfg, spins))


def logits(params: dict, cfg: Network, spins: jax.Array) -> jax.Array:
    """Returns a_i [n, rows, columns] of the network itself, whatever z2 says, before the bound by epsilon.

    Args, Raises: as `log_prob`.
    """
    return _outside(_logits(params, cfg, _inside(check_spins(cfg, spins), params)))


def check_spins(cfg: Network, spins) -> jax.Array:
    """Returns spins as an array. Raises ValueError unless they are +-1 (as far as known now), [n, rows, columns]."""
    check_network(cfg)
    traced = isinstance(spins, jax.core.Tracer)
    if not traced:
        values = np.asarray(spins)
        wrong = values[np.abs(values) != 1] if values.dtype != bool else values.ravel()
        if wrong.size:
            raise ValueError(f"spins hold {wrong.flat[0]}; every spin must be +1 or -1")
    if np.ndim(spins) != 3 or np.shape(spins)[1:] != (cfg.rows, cfg.columns):
        raise ValueError(f"spins of shape {np.shape(spins)}: expected [n, {cfg.rows}, {cfg.columns}]")
    return jnp.asarray(spins)


@functools.partial(jax.jit, static_argnames="cfg")
def _log_prob(params, cfg, spins):
    inside = _inside(spins, params)
    forward = sum_of_terms(cfg, _logits(params, cfg, inside), inside)
    if not cfg.z2:
        return forward
    return mixture(forward, sum_of_terms(cfg, _logits(params, cfg, -inside), -inside))


@functools.partial(jax.jit, static_argnames="cfg")
def _conditionals(params, cfg, spins):
    inside = _inside(spins, params)
    a = _logits(params, cfg, inside)
    x = bounded(cfg, a)
    if cfg.z2:
        mirrored = _logits(params, cfg, -inside)
        # ln of what s_<i weighs in the network over its weight in the mirror image, before each site.
        change = log_terms(cfg, a, inside) - log_terms(cfg, mirrored, -inside)
        flat = change.reshape(-1, change.shape[-1])
        before = jnp.concatenate([jnp.zeros_like(flat[:1]), jnp.cumsum(flat, axis=0)[:-1]]).reshape(change.shape)
        x = jax.nn.sigmoid(before) * x + jax.nn.sigmoid(-before) * bounded(cfg, -mirrored)
    return _outside(jnp.clip(x, cfg.epsilon, 1 - cfg.epsilon))


def mixture(forward, mirrored):
    """ln of the mean of q(s) and q(-s), from their logarithms."""
    return jnp.logaddexp(forward, mirrored) - math.log(2)


def bounded(cfg, a):
    """epsilon + (1 - 2 epsilon) sigmoid(a)."""
    return cfg.epsilon + (1 - 2 * cfg.epsilon) * jax.nn.sigmoid(a)


def log_terms(cfg, a, spins):
    """ln q(s_i | s_<i), elementwise."""
    return jnp.logaddexp(math.log(cfg.epsilon), math.log1p(-2 * cfg.epsilon) + jax.nn.log_sigmoid(spins * a))


def draw(cfg, a, bits):
    """Spins +-1 of logits a and 32 random bits each: the less likely sign where the bits, as a fraction, are below its
    probability, which float32 resolves however small it is."""
    least = cfg.epsilon + (1 - 2 * cfg.epsilon) * jax.nn.sigmoid(-jnp.abs(a))
    likely = jnp.where(a >= 0, 1, -1)
    return jnp.where(bits < (least * 2.0**32).astype(jnp.uint32), -likely, likely).astype(a.dtype)


def sum_of_terms(cfg, a, spins):
    """ln q [n] of logits and spins [rows, columns, n]."""
    terms = log_terms(cfg, a, spins)
    return _sum(terms.reshape(-1, terms.shape[-1]))


@jax.custom_jvp
def _sum(terms):
    """Sum over the first axis: in float64 where there is one, else in pairs that keep what each addition loses."""
    if jax.config.jax_enable_x64:
        return jnp.sum(terms, axis=0, dtype=jnp.float64)
    lost = jnp.zeros_like(terms)
    while terms.shape[0] > 1:
        if terms.shape[0] % 2:
            terms, lost = (jnp.concatenate([x, jnp.zeros_like(x[:1])]) for x in (terms, lost))
        a, b = terms[0::2], terms[1::2]
        total = a + b
        part = total - a
        lost = lost[0::2] + lost[1::2] + ((a - (total - part)) + (b - part))
        terms = total
    return terms[0] + lost[0]


@_sum.defjvp
def _sum_jvp(primals, tangents):
    total = _sum(*primals)
    return total, jnp.sum(tangents[0], axis=0, dtype=total.dtype)


def _logits(params, cfg, spins):
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


def _inside(spins, params):
    return jnp.moveaxis(spins.astype(dtype_of(params)), 0, -1)


def _outside(values):
    return jnp.moveaxis(values, -1, 0)


def dtype_of(params):
    """dtype of the computation: that of the first kernel."""
    return params["layer_0"]["kernel"].dtype
