"""What a network says of given spins: logits, conditionals, log-probabilities, all sites in one parallel pass.

x_i = sigmoid(a_i) is bounded as epsilon + (1 - 2 epsilon) x_i, which stays exactly normalised; in logarithms
ln q(s_i) = logaddexp(ln epsilon, ln(1 - 2 epsilon) + log_sigmoid(s_i a_i)). The sampler sums the same terms by the
same function, so that ln q of sampling and of weighting are one. Spins are +-1, [n, rows, columns]; inside, the samples
are the innermost axis.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ..array_types import AnyArray, Array, Float, Real
from . import chunks
from .arguments import Parameters
from .forward import logits_of
from .networks import Network, check_network, check_parameters, dtype_of

Spins = Real[AnyArray, "n rows columns"] | Sequence


def log_prob(params: Parameters, cfg: Network, spins: Spins) -> Float[Array, " n"]:
    """Returns ln q of each configuration [n], in nats; differentiable in `params`.

    With z2 it is logaddexp(ln q(s), ln q(-s)) - ln 2 of the network's own q: two passes. Sums over sites run in float64
    with 64-bit mode on, which is then the dtype of the result; otherwise they are compensated, in float32: products of
    half-precision parameters are in their precision, what follows from the logits is not.

    Args:
      params: from `init` or of its form.
      cfg: PixelCNN or MADE.
      spins: +-1 of any dtype, [n, rows, columns]. They go through in chunks of bounded memory, on all cores; where
        anything is traced, by a gradient or `jax.jit`, in one pass, whose memory grows with n.

    Raises:
      ValueError: spins of another shape, or (where they are not traced) other than +-1; parameters of another network.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> cfg = autoregressive.MADE(2)
      >>> params = autoregressive.init(cfg, jax.random.key(0))
      >>> autoregressive.log_prob(params, cfg, np.ones((5, 2, 2), np.int8)).shape
      (5,)
    """
    return _in_chunks(_log_prob, params, cfg, check_spins(cfg, spins))


def score_gradient(
    params: Parameters, cfg: Network, spins: Spins, weights: Float[AnyArray, " n"], dtype: str | None = None
) -> Parameters:
    """Returns the gradient of sum_k weights[k] ln q(s_k) in the parameters, a tree of their form.

    Args:
      params, cfg, spins: as of `log_prob`.
      weights: [n].
      dtype: of the products of the parameters, such as "bfloat16"; None for theirs. The sum stays in that of weights.
    """

    def weighted(params):
        cast = params if dtype is None else jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
        return jnp.sum(weights * log_prob(cast, cfg, spins).astype(weights.dtype))

    return jax.grad(weighted)(params)


def conditionals(params: Parameters, cfg: Network, spins: Spins) -> Float[Array, "n rows columns"]:
    """Returns q(s_i = +1 | s_<i) [n, rows, columns], within [epsilon, 1 - epsilon]; of float32 or wider.

    They are those of the law of `log_prob`: their product over sites, 1 - x where a spin is -1, is q. With z2 the
    mixture's: the network's conditionals for s_<i and, mirrored, for -s_<i, weighted by what both say of s_<i.

    Args, Raises: as `log_prob`.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> cfg = autoregressive.MADE(2)
      >>> params = autoregressive.init(cfg, jax.random.key(0))
      >>> autoregressive.conditionals(params, cfg, np.ones((5, 2, 2), np.int8)).shape
      (5, 2, 2)
    """
    return _in_chunks(_conditionals, params, cfg, check_spins(cfg, spins))


def logits(params: Parameters, cfg: Network, spins: Spins) -> Float[Array, "n rows columns"]:
    """Returns a_i [n, rows, columns] of the network itself, whatever z2 says, before the bound by epsilon.

    Args, Raises: as `log_prob`.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> cfg = autoregressive.MADE(2)
      >>> params = autoregressive.init(cfg, jax.random.key(0))
      >>> autoregressive.logits(params, cfg, np.ones((5, 2, 2), np.int8)).shape
      (5, 2, 2)
    """
    return _in_chunks(_logits, params, cfg, check_spins(cfg, spins))


def check_spins(cfg: Network, spins: Spins) -> Real[Array, "n rows columns"]:
    """Returns spins as an array. Raises ValueError unless they are +-1 (as far as known now), [n, rows, columns]."""
    check_network(cfg)
    traced = isinstance(spins, jax.core.Tracer)
    if not traced:
        values = np.asarray(spins)
        if not jnp.issubdtype(values.dtype, jnp.integer) and not jnp.issubdtype(values.dtype, jnp.floating):
            raise ValueError(f"spins of dtype {values.dtype}: every spin must be the number +1 or -1")
        if (wrong := values[np.abs(values) != 1]).size:
            raise ValueError(f"spins hold {wrong.flat[0]}; every spin must be +1 or -1")
    if np.ndim(spins) != 3 or np.shape(spins)[1:] != (cfg.rows, cfg.columns):
        raise ValueError(f"spins of shape {np.shape(spins)}: expected [n, {cfg.rows}, {cfg.columns}]")
    return jnp.asarray(spins)


def _in_chunks(function, params, cfg, spins):
    check_parameters(params, cfg)
    n = spins.shape[0]
    if n == 0:
        return function(params, cfg, jnp.ones((1, *spins.shape[1:]), spins.dtype))[:0]
    if chunks.is_traced((params, spins)):
        return function(params, cfg, spins)
    if len(spins.devices()) > 1:  # as the sampler leaves them: the parameters go to where these are
        whole = NamedSharding(spins.sharding.mesh, PartitionSpec())
        return function(jax.device_put(params, whole), cfg, spins)
    device = next(iter(spins.devices()))
    workers = chunks.workers_for(n, [device])
    size = chunks.equal_size(n, chunks.usual_size(params, cfg, device.platform), workers)
    starts = range(0, n, size)
    # The last chunk is filled up: one shape, one program.
    spins = jnp.pad(spins, ((0, len(starts) * size - n), (0, 0), (0, 0)), constant_values=1)

    def start_chunk(start):
        return function(params, cfg, jax.lax.dynamic_slice_in_dim(spins, start, size))

    return chunks.joined(chunks.run(start_chunk, starts, workers), n)


@functools.partial(jax.jit, static_argnames="cfg")
def _logits(params, cfg, spins):
    return _outside(logits_of(params, cfg, _inside(spins, params)))


@functools.partial(jax.jit, static_argnames="cfg")
def _log_prob(params, cfg, spins):
    inside = _inside(spins, params)
    forward = sum_of_terms(cfg, logits_of(params, cfg, inside), inside)
    if not cfg.z2:
        return forward
    return mixture(forward, sum_of_terms(cfg, logits_of(params, cfg, -inside), -inside))


@functools.partial(jax.jit, static_argnames="cfg")
def _conditionals(params, cfg, spins):
    inside = _inside(spins, params)
    a = logits_of(params, cfg, inside)
    x = bounded(cfg, a)
    if cfg.z2:
        mirrored = logits_of(params, cfg, -inside)
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
    """epsilon + (1 - 2 epsilon) sigmoid(a), in float32 at least, as everything that follows from it."""
    a = _at_least_single(a)
    return cfg.epsilon + (1 - 2 * cfg.epsilon) * jax.nn.sigmoid(a)


def log_terms(cfg, a, spins):
    """ln q(s_i | s_<i), elementwise."""
    a, spins = _at_least_single(a), _at_least_single(spins)
    return jnp.logaddexp(math.log(cfg.epsilon), math.log1p(-2 * cfg.epsilon) + jax.nn.log_sigmoid(spins * a))


def draw(cfg, a, bits):
    """Spins +-1 of logits a and 32 random bits each: the less likely sign where the bits, as a fraction, are below its
    probability, which float32 resolves however small it is."""
    least = bounded(cfg, -jnp.abs(a))
    likely = jnp.where(a >= 0, 1, -1)
    return jnp.where(bits < (least * 2.0**32).astype(jnp.uint32), -likely, likely).astype(a.dtype)


def _at_least_single(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def sum_of_terms(cfg, a, spins):
    """ln q [n] of logits and spins [rows, columns, n]."""
    terms = log_terms(cfg, a, spins)
    return _sum(terms.reshape(-1, terms.shape[-1]))


@jax.custom_jvp
def _sum(terms):
    """Sum over the first axis: in float64 where there is one, else in pairs that keep what each addition loses."""
    if jax.config.jax_enable_x64:
        return jnp.sum(terms, axis=0, dtype=jnp.float64)
    remainder = jnp.zeros_like(terms)
    while terms.shape[0] > 1:
        if terms.shape[0] % 2:
            terms, remainder = (jnp.concatenate([x, jnp.zeros_like(x[:1])]) for x in (terms, remainder))
        a, b = terms[0::2], terms[1::2]
        total = a + b
        part = total - a
        remainder = remainder[0::2] + remainder[1::2] + ((a - (total - part)) + (b - part))
        terms = total
    return terms[0] + remainder[0]


@_sum.defjvp
def _sum_jvp(primals, tangents):
    total = _sum(*primals)
    return total, jnp.sum(tangents[0], axis=0, dtype=total.dtype)


def _inside(spins, params):
    return jnp.moveaxis(spins.astype(dtype_of(params)), 0, -1)


def _outside(values):
    return jnp.moveaxis(values, -1, 0)
