"""One step along a boundary: the point on the sphere around the clean image, and the one nearer to it.

Brendel, Rauber, Bethge, arXiv:1712.04248, with the noise of Srinivasan et al., EUSIPCO 2019. A batch of images, each
with its own key and step sizes: nothing here mixes two of them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Float, Key, RandomKey, Real, Scalar
from .arguments import check_step
from .noise import RADIUS_CAP, Keys, draw_noise, image_keys

RESCALINGS = 8  # of a step that the box cut short
RESCALING_RANGE, LONGEST_RESCALED = (0.5, 4.0), 64.0  # factors of one of them, and of all, in units of the step's delta


def propose(
    key: Keys | RandomKey,
    x0: Real[AnyArray, " batch *shape"],
    x: Float[AnyArray, " batch *shape"],
    delta: Scalar | Real[AnyArray, " batch"],
    eps: Scalar | Real[AnyArray, " batch"],
    alpha: Scalar | Real[AnyArray, " batch"],
    noise: str,
    lo: Scalar,
    hi: Scalar,
    cap: Scalar = RADIUS_CAP,
    rescale: bool = False,
) -> tuple[Float[Array, " batch *shape"], Float[Array, " batch *shape"]]:
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

    (More than eight arguments, as it has had since it was promised.)

    Raises:
      ValueError: an unknown noise, an alpha outside (0, 2], a cap of 0 or less, lo not below hi (where these are traced
        the points are NaN), or a shape that does not fit the batch.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> clean, x = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
      >>> xs, xc = boundary_attack.propose(jax.random.key(0), clean, x, 0.1, 0.1, 1.5, "coordinatewise", -2, 2)
      >>> bool(np.allclose(boundary_attack.norms(xs), boundary_attack.norms(x)))  # on the sphere
      True
    """
    check_step(x0, x, {"delta": delta, "eps": eps, "alpha": alpha}, cap, lo, hi)
    batch, dtype = len(x), jnp.result_type(x)
    keys = _keys(key, batch)
    compute = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype  # half types: cast last
    clean, flat = (jnp.asarray(image, compute).reshape(batch, -1) for image in (x0, x))
    delta, eps = (jnp.broadcast_to(jnp.asarray(size, compute), (batch,)) for size in (delta, eps))
    eta, factor = draw_noise(keys, alpha, noise, flat.shape[1], compute, cap=cap)
    *both, _ = points(clean, flat, norms(flat - clean), eta, delta * factor, eps, (lo, hi), rescale)
    if any(isinstance(value, jax.core.Tracer) for value in (alpha, cap, lo, hi)):
        holds = (jnp.asarray(alpha) > 0) & (jnp.asarray(alpha) <= 2) & (jnp.asarray(cap) > 0) & (lo < jnp.asarray(hi))
        both = [jnp.where(jnp.broadcast_to(holds, (batch,))[:, None], point, jnp.nan) for point in both]
    on_sphere, nearer = (point.reshape(x.shape).astype(dtype) for point in both)
    return on_sphere, nearer


def _keys(key, batch: int) -> Key[Array, " batch"]:
    """Typed keys [batch]; raw ones are wrapped, and one key is folded with the numbers of the images."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(jnp.asarray(key))
    if key.shape not in ((), (batch,)):
        raise ValueError(f"key has shape {key.shape}; expected one key, or one for each of {batch} images")
    return key if key.shape else image_keys(key, np.arange(batch))


def points(
    clean: Float[AnyArray, "batch size"],
    x: Float[AnyArray, "batch size"],
    distance: Float[AnyArray, " batch"],
    eta: Float[AnyArray, "batch size"],
    delta: Float[AnyArray, " batch"],
    eps: Float[AnyArray, " batch"],
    box: tuple[Scalar, Scalar],
    rescale: bool = False,
) -> tuple[Float[Array, "batch size"], Float[Array, "batch size"], Float[Array, " batch"]]:
    """Returns (xs, xc) of `propose`, for flat images [batch, size], and the realised lengths of the steps [batch].

    A realised length is that of xs - x, what the box has left of the step along the sphere, over the length without a
    box; it is 0 where the noise has no tangent part.

    Args:
      clean, x: [batch, size].
      distance: [batch], between them.
      eta: noise [batch, size], of any scale.
      delta, eps: [batch].
      box: its lowest and its highest value.
      rescale: as in `propose`: delta is multiplied by length without a box over realised length, up to RESCALINGS
        times and up to LONGEST_RESCALED in all.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import boundary_attack
      >>> clean, x, eta = jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
      >>> xs, xc, _ = boundary_attack.points(clean, x, jnp.ones(1), eta, jnp.full(1, 0.1), jnp.full(1, 0.1), (-2, 2))
      >>> [round(float(boundary_attack.norms(point)[0]), 3) for point in (xs, xc)]  # on the sphere, and nearer
      [1.0, 0.9]
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
        return jnp.clip(clean + (offset * stay + eta * turn), *box)

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
    radius = norms(back)
    pull = jnp.maximum(eps * distance + radius - distance, 0) / jnp.where(radius > 0, radius, 1)
    nearer = jnp.clip(sphere + back * pull[:, None], *box)
    realised = jnp.where(is_tangent, norms(sphere - x) / length, 0)
    is_tangent = is_tangent[:, None]
    return jnp.where(is_tangent, sphere, x), jnp.where(is_tangent, nearer, x), realised


def norms(vectors: Float[AnyArray, "batch size"]) -> Float[Array, " batch"]:
    """Returns the lengths [batch] of flat vectors [batch, size].

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import boundary_attack
      >>> boundary_attack.norms(jnp.array([[3.0, 4.0]])).tolist()
      [5.0]
    """
    return jnp.sqrt(jnp.sum(vectors * vectors, 1))
