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

NOISES = ("coordinatewise", "isotropic", "radius", "length")
RADIUS_CAP = 10.0  # of "radius" and "length": the longest tangent step, in units of delta
SPHERE_WINDOW, STEP_WINDOW = 100, 30  # outcomes that decide about delta and about eps
FACTOR = 1.5
RESCALINGS = 8  # of a step that the box cut short
RESCALING_RANGE, LONGEST_RESCALED = (0.5, 4.0), 64.0  # factors of one of them, and of all, in units of the step's delta
LIGHT_SHIFT = 40  # for alpha of at least 0.5 sizes stay below 2^98: in float32 their squares do, 2^40 times smaller


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


def draw_noise(
    key, alpha, noise: str, size: int, dtype, is_heavy: bool = True, cap=RADIUS_CAP
) -> tuple[jax.Array, jax.Array]:
    """Returns the noise of steps [..., size], each vector up to a scale of its own, and factors of delta [...].

    Args:
      key: of image and step, [...].
      alpha: in (0, 2], [...]; may be traced.
      noise: "coordinatewise": independent symmetric alpha-stable values. "isotropic": one Gaussian vector times
        the root of a positive alpha/2-stable number; after the rescaling of a step that is the law of the Gaussian
        attack for every alpha, a null control. "radius": a Gaussian vector, and a factor min(|X| / median |X|, cap) of
        delta, X symmetric alpha-stable. "length": the vector X of "coordinatewise", and a factor
        min(||X|| / median ||X||, cap) of delta, its own length over the median of that law in `size` dimensions.
      size: values of an image.
      dtype: of the result.
      is_heavy: whether alphas below 0.5 can occur, whose squares leave float32 unless each vector is scaled by its
        largest exponent. The scales are powers of two: what is made of the noise does not depend on this.
      cap: of the factors, above 0; may be traced.
    """
    if noise not in NOISES:
        raise ValueError(f"noise is {noise!r}; choose one of {', '.join(NOISES)}")

    def one(key, alpha):
        factor = jnp.ones((), dtype)
        if noise in ("coordinatewise", "length"):
            values, exponent = alpha_stable.sas_parts(key, alpha, (size,), dtype)
        else:
            direction_key, scale_key = jax.random.split(key)
            values, exponent = alpha_stable.sas_parts(direction_key, 2.0, (size,), dtype)
        if noise == "isotropic":
            # Only the mantissa of the factor: its exponent is the same for the whole vector.
            power = 0.5 * alpha_stable.positive_stable_log(scale_key, alpha / 2, (), dtype) / math.log(2)
            values = values * jnp.exp2(power - jnp.floor(power))
        if noise == "radius":
            _, log_abs = alpha_stable.sas_log(jax.random.fold_in(key, 1), alpha, (), dtype)
            factor = jnp.exp(jnp.minimum(log_abs - log_median(alpha), jnp.log(jnp.asarray(cap, dtype)))).astype(dtype)
        shift = jnp.max(exponent) if is_heavy else LIGHT_SHIFT
        eta = alpha_stable.times_power_of_two(values, exponent - shift)
        if noise == "length":
            # The scale goes back as a power of two: the factor does not depend on it either.
            power = log_median_length(alpha, size) / math.log(2)
            whole = jnp.floor(power)
            part = jnp.sqrt(jnp.sum(eta * eta)) * jnp.exp2(whole - power)
            length = alpha_stable.times_power_of_two(part, shift - whole.astype(jnp.int32))
            factor = jnp.minimum(length, cap).astype(dtype)
        return eta, factor

    for _ in jnp.shape(key):
        one = jax.vmap(one)
    return one(key, jnp.broadcast_to(jnp.asarray(alpha, dtype), jnp.shape(key)))


def propose(
    key, x0, x, delta, eps, alpha, noise, lo, hi, cap=RADIUS_CAP, rescale: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Returns (xs, xc), each [batch, ...]: the point on the sphere around the clean image, and the one nearer to it.

    Noise is projected on the tangent of the sphere through x, rescaled to delta times the distance, and followed; the
    point goes back to the sphere, into the box (xs), then towards the clean image by eps times the distance (xc). Where
    the noise has no tangent part, both are x.

    Args:
      key: keys [batch], one an image, new ones for every step; one key stands for `image_keys` of 0, 1, ...
      x0: clean images [batch, ...].
      x: adversarial images [batch, ...], none equal to its clean one; of the dtype of the result.
      delta, eps: [batch], see `Pace`.
      alpha: in (0, 2], a number for all images or one each [batch]; may be traced.
      noise: one of NOISES, see `draw_noise`; "radius" and "length" multiply delta by a factor of at most `cap`.
      lo, hi: the box.
      cap: above 0.
      rescale: lengthen a step that the box cut short until what is left of it has the length that it should have.

    Raises:
      ValueError: an unknown noise, an alpha outside (0, 2], a cap of 0 or less, lo not below hi (where these are traced
        the points are NaN), or a shape that does not fit the batch.
    """
    if not isinstance(cap, jax.core.Tracer) and not np.all(np.asarray(cap) > 0):
        raise ValueError(f"cap is {cap}; expected a number above 0, in units of delta")
    if not isinstance(alpha, jax.core.Tracer) and not np.all((np.asarray(alpha) > 0) & (np.asarray(alpha) <= 2)):
        raise ValueError(f"alpha is {alpha}; expected numbers in (0, 2]")
    if not any(isinstance(end, jax.core.Tracer) for end in (lo, hi)) and not np.all(np.asarray(lo) < np.asarray(hi)):
        raise ValueError(f"lo is {lo} and hi {hi}; expected lo below hi")
    if jnp.ndim(x) < 2 or jnp.shape(x) != jnp.shape(x0):
        raise ValueError(f"x0 has shape {jnp.shape(x0)} and x {jnp.shape(x)}; expected the same, [batch, ...]")
    batch, dtype = len(x), jnp.result_type(x)
    for name, value in (("delta", delta), ("eps", eps), ("alpha", alpha)):
        if jnp.shape(value) not in ((), (batch,)):
            raise ValueError(f"{name} has shape {jnp.shape(value)}; expected one number, or one for each of {batch}")
    keys = _keys(key, batch)
    compute = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype  # half types: cast last
    clean, flat = (jnp.asarray(image, compute).reshape(batch, -1) for image in (x0, x))
    delta, eps = (jnp.broadcast_to(jnp.asarray(size, compute), (batch,)) for size in (delta, eps))
    eta, factor = draw_noise(keys, alpha, noise, flat.shape[1], compute, cap=cap)
    *both, _ = points(clean, flat, norms(flat - clean), eta, delta * factor, eps, lo, hi, rescale)
    if any(isinstance(value, jax.core.Tracer) for value in (alpha, cap, lo, hi)):
        holds = (jnp.asarray(alpha) > 0) & (jnp.asarray(alpha) <= 2) & (jnp.asarray(cap) > 0) & (lo < jnp.asarray(hi))
        both = [jnp.where(jnp.broadcast_to(holds, (batch,))[:, None], point, jnp.nan) for point in both]
    return tuple(point.reshape(x.shape).astype(dtype) for point in both)


def _keys(key, batch: int) -> jax.Array:
    """Typed keys [batch]; raw ones are wrapped, and one key is folded with the numbers of the images."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if key.shape not in ((), (batch,)):
        raise ValueError(f"key has shape {key.shape}; expected one key, or one for each of {batch} images")
    return key if key.shape else image_keys(key, np.arange(batch))


def points(
    clean, x, distance, eta, delta, eps, lo, hi, rescale: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (xs, xc) of `propose`, for flat images [batch, size], and the realised lengths of the steps [batch].

    A realised length is that of xs - x, what the box has left of the step along the sphere, over the length without a
    box; it is 0 where the noise has no tangent part.

    Args:
      clean, x: [batch, size].
      distance: [batch], between them.
      eta: noise [batch, size], of any scale.
      delta, eps: [batch].
      lo, hi: the box.
      rescale: as in `propose`: delta is multiplied by length without a box over realised length, up to RESCALINGS
        times and up to LONGEST_RESCALED in all.
    """
    dtype = x.dtype
    offset = x - clean
    dot, square = jnp.sum(eta * offset, 1), jnp.sum(eta * eta, 1)
    along = dot / (distance * distance)
    tangent = square - along * dot  # of the part of eta that is orthogonal to the offset, squared
    is_tangent = tangent > 1000 * jnp.finfo(dtype).eps * square
    unit = jax.lax.rsqrt(jnp.where(is_tangent, tangent, 1))

    def clipped(delta):
        scale = delta * distance * unit
        shrink = jax.lax.rsqrt(1 + delta * delta)
        stay, turn = ((1 - along * scale) * shrink)[:, None], (scale * shrink)[:, None]
        return jnp.clip(clean + (offset * stay + eta * turn), lo, hi)

    shrink = jax.lax.rsqrt(1 + delta * delta)
    length = distance * delta * shrink * jnp.sqrt(2 / (1 + shrink))  # sqrt(2 - 2 shrink), without its cancellation
    length = jnp.where(length > 0, length, 1)
    longest = LONGEST_RESCALED * delta

    def longer(_, delta):
        realised = norms(clipped(delta) - x)
        factor = jnp.clip(length / jnp.where(realised > 0, realised, length), *RESCALING_RANGE)
        return jnp.minimum(delta * factor, longest)

    sphere = clipped(jax.lax.fori_loop(0, RESCALINGS, longer, delta) if rescale else delta)
    back = clean - sphere
    left = norms(back)
    pull = jnp.maximum(eps * distance + left - distance, 0) / jnp.where(left > 0, left, 1)
    nearer = jnp.clip(sphere + back * pull[:, None], lo, hi)
    realised = jnp.where(is_tangent, norms(sphere - x) / length, 0)
    is_tangent = is_tangent[:, None]
    return jnp.where(is_tangent, sphere, x), jnp.where(is_tangent, nearer, x), realised


def norms(vectors: jax.Array) -> jax.Array:
    """Returns the lengths [batch] of flat vectors [batch, size]."""
    return jnp.sqrt(jnp.sum(vectors * vectors, 1))


def log_median_length(alpha, size: int) -> jax.Array:
    """Returns ln median ||X||_2 of `size` independent symmetric alpha-stable values, for alpha in [0.05, 2] (below: of
    0.05, scaled); within 1e-4, from a table that is made once for each size (`alpha_stable.length_table`).
    """
    lowest, highest = alpha_stable.LENGTH_ALPHAS
    alpha = jnp.asarray(alpha)
    place = (2 * jnp.clip(alpha, lowest, highest) - lowest - highest) / (highest - lowest)
    twice, after, later = 2 * place, jnp.zeros_like(place), jnp.zeros_like(place)
    coefficients = alpha_stable.length_table(size)
    for coefficient in coefficients[:0:-1]:  # Clenshaw's recursion
        after, later = twice * after - later + coefficient.astype(place.dtype), after
    value = (place * after - later + coefficients[0].astype(place.dtype)) / alpha
    return jnp.where((alpha > 0) & (alpha <= highest), value, jnp.nan)


def log_median(alpha) -> jax.Array:
    """Returns ln median |X| of symmetric alpha-stable X, for alpha in [0.05, 2] (below: of 0.05, scaled; above 2:
    NaN); within 1e-3.

    alpha times it is smooth in alpha, and interpolated.
    """
    grid, values = _median_table()
    value = jnp.interp(jnp.asarray(alpha), jnp.asarray(grid), jnp.asarray(values)) / alpha
    return jnp.where((jnp.asarray(alpha) > 0) & (jnp.asarray(alpha) <= 2), value, jnp.nan)


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
