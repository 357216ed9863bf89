"""One step of a decision-based attack along a boundary, with Gaussian or alpha-stable noise, for a batch of images.

Brendel, Rauber, Bethge, arXiv:1712.04248 (the walk, its adaptation); noise of Srinivasan et al., EUSIPCO 2019.
Every image has its own key, step sizes and windows of successes: nothing here mixes two images of a batch.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import alpha_stable

NOISES = ("coordinatewise", "isotropic", "radius")
RADIUS_CAP = 10.0  # of "radius": the longest tangent step, in units of delta
SPHERE_WINDOW, STEP_WINDOW = 100, 30  # outcomes that decide about delta and about eps
FACTOR = 1.5


class Pace(NamedTuple):
    """Step sizes of a batch of images, and the outcomes that they follow.

    Attributes:
      delta: [batch], length of a tangent step in units of the distance.
      eps: [batch], length of a step towards the clean image in units of the distance.
      sphere: bool [batch, SPHERE_WINDOW], a ring: whether points on the sphere were adversarial.
      sphere_count: int32 [batch], outcomes since that ring was cleared.
      step: bool [batch, STEP_WINDOW], a ring: whether the points nearer to the clean image were, in the same steps.
      step_count: int32 [batch].
    """

    delta: jax.Array
    eps: jax.Array
    sphere: jax.Array
    sphere_count: jax.Array
    step: jax.Array
    step_count: jax.Array


def initial_pace(batch: int, delta: float = 0.01, eps: float = 0.01, dtype=jnp.float32) -> Pace:
    """Returns the pace of `batch` images before the first step."""
    return Pace(
        jnp.full((batch,), delta, dtype),
        jnp.full((batch,), eps, dtype),
        jnp.zeros((batch, SPHERE_WINDOW), bool),
        jnp.zeros((batch,), jnp.int32),
        jnp.zeros((batch, STEP_WINDOW), bool),
        jnp.zeros((batch,), jnp.int32),
    )


def record(pace: Pace, asked: jax.Array, on_sphere: jax.Array, nearer: jax.Array, conditional=False) -> Pace:
    """Returns the pace with the outcomes of one step.

    Args:
      pace: before it.
      asked: bool [batch], for which images the point on the sphere was queried in this step.
      on_sphere: bool [batch], whether it was adversarial.
      nearer: bool [batch], whether the point nearer to the clean image was.
      conditional: whether the latter is noted only where the point on the sphere was adversarial (the paper's rule), or
        always (Foolbox's: eps follows in half the time); may be traced.
    """
    sphere, sphere_count = _append(pace.sphere, pace.sphere_count, on_sphere, asked)
    step, step_count = _append(pace.step, pace.step_count, nearer, asked & (on_sphere | ~jnp.asarray(conditional)))
    return pace._replace(sphere=sphere, sphere_count=sphere_count, step=step, step_count=step_count)


def _append(ring: jax.Array, count: jax.Array, outcome: jax.Array, chosen: jax.Array):
    size = ring.shape[1]
    here = (jnp.arange(size) == (count % size)[:, None]) & chosen[:, None]
    return jnp.where(here, outcome[:, None], ring), count + chosen


def adapt(state: Pace) -> Pace:
    """Returns the pace after its full windows have acted; a window that acted is empty again.

    Points on the sphere adversarial in more than half of the last 100 cases: delta and eps grow by 1.5; in less than a
    fifth: both shrink. Points nearer to the clean image in more than a quarter of the last 30: eps grows; in less than
    a tenth: eps shrinks. Windows that are not full, or in between, stay and roll on.
    """
    # Whole numbers: a rounded share may fall on the wrong side of its threshold.
    hits = state.sphere.sum(1)
    full = state.sphere_count >= SPHERE_WINDOW
    grow, shrink = full & (2 * hits > SPHERE_WINDOW), full & (5 * hits < SPHERE_WINDOW)
    factor = _factor(grow, shrink, state.delta.dtype)
    hits = state.step.sum(1)
    full = state.step_count >= STEP_WINDOW
    rise, fall = full & (4 * hits > STEP_WINDOW), full & (10 * hits < STEP_WINDOW)
    return Pace(
        state.delta * factor,
        state.eps * factor * _factor(rise, fall, state.eps.dtype),
        state.sphere,
        jnp.where(grow | shrink, 0, state.sphere_count),
        state.step,
        jnp.where(rise | fall, 0, state.step_count),
    )


def _factor(grow, shrink, dtype):
    return jnp.where(grow, FACTOR, jnp.where(shrink, 1 / FACTOR, 1)).astype(dtype)


def image_keys(key: jax.Array, ids: jax.Array) -> jax.Array:
    """Returns a key for each image: `key` folded with its number [batch], whatever batch it is in."""
    return jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.asarray(ids, jnp.uint32))


def step_keys(keys: jax.Array, steps: jax.Array) -> jax.Array:
    """Returns keys [batch] of one step: those of the images [batch] folded with the number of the step [batch]."""
    return jax.vmap(jax.random.fold_in)(keys, steps)


def noise_log(key: jax.Array, alpha, noise: str, shape: tuple[int, ...], dtype) -> tuple[jax.Array, jax.Array]:
    """Returns (sign, logarithm of the size) of one image's noise, each [*shape].

    Args:
      key: of the image and the step.
      alpha: in (0, 2]; may be traced.
      noise: "coordinatewise": independent symmetric alpha-stable values. "isotropic": one Gaussian vector times
        the root of a positive alpha/2-stable number; after the rescaling of a step that is the law of the Gaussian
        attack for every alpha, a null control. "radius": the same direction, without the factor.
      shape: of the image.
      dtype: of the result.
    """
    if noise == "coordinatewise":
        return alpha_stable.sas_log(key, alpha, shape, dtype)
    direction_key, scale_key = jax.random.split(key)
    sign, log_abs = alpha_stable.sas_log(direction_key, 2.0, shape, dtype)
    if noise == "isotropic":
        log_abs += 0.5 * alpha_stable.positive_stable_log(scale_key, alpha / 2, (), dtype)
    return sign, log_abs


def propose(key, x0, x, delta, eps, alpha, noise, lo, hi) -> tuple[jax.Array, jax.Array]:
    """Returns (xs, xc), each [batch, ...]: the point on the sphere around the clean image, and the one nearer to it.

    Noise is projected on the tangent of the sphere through x, rescaled to delta times the distance, and followed; the
    point goes back to the sphere, into the box (xs), then towards the clean image by eps times the distance (xc). Where
    the noise has no tangent part, both are x.

    Args:
      key: keys [batch], one an image, new ones for every step.
      x0: clean images [batch, ...].
      x: adversarial images [batch, ...], none equal to its clean one; of the dtype of the result.
      delta, eps: [batch], see `Pace`.
      alpha: in (0, 2], a number for all images or one each [batch]; may be traced.
      noise: one of NOISES. "radius" multiplies delta by min(|X| / median |X|, 10), X symmetric alpha-stable.
      lo, hi: the box.

    Raises:
      ValueError: an unknown noise, or an alpha outside (0, 2] that is not traced.
    """
    if noise not in NOISES:
        raise ValueError(f"noise is {noise!r}; choose one of {', '.join(NOISES)}")
    if not isinstance(alpha, jax.core.Tracer) and not np.all((np.asarray(alpha) > 0) & (np.asarray(alpha) <= 2)):
        raise ValueError(f"alpha is {alpha}; expected numbers in (0, 2]")
    batch, dtype = x.shape[0], x.dtype
    alphas = jnp.broadcast_to(jnp.asarray(alpha, dtype), (batch,))
    clean, offset = x0.reshape(batch, -1), (x - x0).reshape(batch, -1)
    size = offset.shape[1:]
    draw = functools.partial(noise_log, noise=noise, shape=size, dtype=dtype)
    law = (None, alpha) if jnp.ndim(alpha) == 0 else (0, alphas)
    sign, log_abs = _kept(lambda: jax.vmap(draw, (0, law[0]))(key, law[1]), delta)
    if noise == "radius":
        delta = delta * _radius(key, alphas, dtype)
    # The largest size becomes 1: squares of 1e23 would leave float32.
    largest = jnp.max(log_abs, 1, keepdims=True)
    eta = _kept(lambda: sign * jnp.exp(log_abs - largest), delta)

    distance = _norm(offset)
    along = jnp.sum(eta * offset, 1, keepdims=True) / (distance * distance)
    tangent = eta - along * offset
    length = _norm(tangent)
    is_tangent = length > 100 * jnp.finfo(dtype).eps * _norm(eta)
    eta = tangent * (delta[:, None] * distance / jnp.where(is_tangent, length, 1))
    sphere = jnp.clip(clean + (offset + eta) * jax.lax.rsqrt(1 + delta * delta)[:, None], lo, hi)
    back = clean - sphere
    left = _norm(back)
    pull = jnp.maximum(eps[:, None] * distance + left - distance, 0) / jnp.where(left > 0, left, 1)
    nearer = jnp.clip(sphere + back * pull, lo, hi)
    still = x.reshape(batch, -1)
    xs, xc = jnp.where(is_tangent, sphere, still), jnp.where(is_tangent, nearer, still)
    return xs.reshape(x.shape), xc.reshape(x.shape)


def _kept(make, positive):
    """Returns `make()`, written to memory on a CPU; `positive` are numbers above 0 that the compiler does not know.

    XLA's CPU compiler would else compute it anew, and not vectorised, inside each of the sums that it enters.
    """
    if jax.default_backend() != "cpu":
        return make()
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make))
    return jax.lax.cond(positive.ravel()[0] > 0, make, lambda: empty)


def _norm(vectors: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(vectors * vectors, 1, keepdims=True))


def _radius(keys, alphas, dtype):
    """min(|X| / median |X|, cap) for each image."""

    def one(key, alpha):
        _, log_abs = alpha_stable.sas_log(jax.random.fold_in(key, 1), alpha, (), dtype)
        return jnp.minimum(log_abs - log_median(alpha), math.log(RADIUS_CAP))

    return jnp.exp(jax.vmap(one)(keys, alphas)).astype(dtype)


def log_median(alpha) -> jax.Array:
    """Returns ln median |X| of symmetric alpha-stable X, for alpha in [0.05, 2] (below: of 0.05, scaled); within 1e-3.

    alpha times it is smooth in alpha, and interpolated.
    """
    grid, values = _median_table()
    return jnp.interp(jnp.asarray(alpha), jnp.asarray(grid), jnp.asarray(values)) / alpha


@functools.cache
def _median_table() -> tuple[np.ndarray, np.ndarray]:
    """A grid of alpha, and alpha ln median |X| there: the distribution function of |X| is an integral over the angle.

    With the variables of `alpha_stable.symmetric`, |X| <= x means W >= (c/p) (s/(p x))^(1/k) for k > 0, <= for k < 0.
    """
    grid = np.concatenate([np.linspace(0.05, 0.995, 64), np.linspace(1.005, 2.0, 64)])
    nodes, weights = np.polynomial.legendre.leggauss(400)
    u, weights = (nodes + 1) / 4, weights / 2
    alpha = grid[:, None]
    s, p, c = np.sin(np.pi * alpha * u), np.cos(np.pi * u), np.cos(np.pi * (1 - alpha) * u)
    power = alpha / (1 - alpha)

    def below(log_x):
        exponent = np.log(c / p) + power * (np.log(s / p) - log_x)
        survival = np.exp(-np.exp(np.minimum(exponent, 50)))
        return np.sum(np.where(power > 0, survival, 1 - survival) * weights, 1)

    low, high = np.full(len(grid), -20.0), np.full(len(grid), 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        is_below = below(middle[:, None]) < 0.5
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return grid, grid * low
