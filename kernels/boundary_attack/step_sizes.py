"""Step sizes of the Boundary Attack, which follow the shares of successes in windows of outcomes (arXiv:1712.04248).

Every image of a batch has its own: nothing here mixes two of them.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..array_types import AnyArray, Array, Bool, Float, Int32, Scalar
from ..scalars import positive, real, whole

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

    delta: Float[Array, " batch"]
    eps: Float[Array, " batch"]
    sphere: Bool[Array, "batch window"]
    sphere_count: Int32[Array, " batch"]
    step: Bool[Array, "batch window"]
    step_count: Int32[Array, " batch"]


def initial_pace(batch: int, delta: Scalar = 0.01, eps: Scalar = 0.01, dtype: DTypeLike = jnp.float32) -> Pace:
    """Returns the pace of `batch` images before the first step.

    Raises:
      ValueError: batch is no integer of 1 or more; delta or eps, which may be traced, no positive number.

    Example:
      >>> from havel.kernels import boundary_attack
      >>> boundary_attack.initial_pace(2, delta=0.5).delta.tolist()
      [0.5, 0.5]
    """
    batch = whole("batch", batch, 1)
    for name, size in (("delta", delta), ("eps", eps)):
        real(name, size, "a positive number, in units of the distance", positive, traced=True)
    return Pace(
        jnp.full((batch,), delta, dtype),
        jnp.full((batch,), eps, dtype),
        jnp.zeros((batch, SPHERE_WINDOW), bool),
        jnp.zeros((batch,), jnp.int32),
        jnp.zeros((batch, STEP_WINDOW), bool),
        jnp.zeros((batch,), jnp.int32),
    )


def record(
    pace: Pace,
    asked: Bool[AnyArray, " batch"],
    on_sphere: Bool[AnyArray, " batch"],
    nearer: Bool[AnyArray, " batch"],
    conditional: bool | np.bool | Bool[AnyArray, ""] = False,
) -> Pace:
    """Returns the pace with the outcomes of one step.

    Args:
      pace: before it.
      asked: bool [batch], for which images the point on the sphere was queried in this step.
      on_sphere: bool [batch], whether it was adversarial.
      nearer: bool [batch], whether the point nearer to the clean image was.
      conditional: whether the latter is noted only where the point on the sphere was adversarial (the paper's rule), or
        always (Foolbox's: eps follows in half the time); may be traced.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import boundary_attack
      >>> pace, yes = boundary_attack.initial_pace(1), jnp.array([True])
      >>> boundary_attack.record(pace, yes, yes, yes).step_count.tolist()
      [1]
    """
    sphere, sphere_count = _append(pace.sphere, pace.sphere_count, on_sphere, asked)
    step, step_count = _append(pace.step, pace.step_count, nearer, asked & (on_sphere | ~jnp.asarray(conditional)))
    return pace._replace(sphere=sphere, sphere_count=sphere_count, step=step, step_count=step_count)


def _append(ring, count, outcome, counts):
    size = ring.shape[1]
    here = (jnp.arange(size) == (count % size)[:, None]) & counts[:, None]
    return jnp.where(here, outcome[:, None], ring), count + counts


def adapt(state: Pace) -> Pace:
    """Returns the pace after its full windows have acted; a window that acted is empty again.

    Points on the sphere adversarial in more than half of the last 100 cases: delta and eps grow by 1.5; in less than a
    fifth: both shrink. Points nearer to the clean image in more than a quarter of the last 30: eps grows; in less than
    a tenth: eps shrinks. Windows that are not full, or in between, stay and roll on.

    Example:
      >>> from havel.kernels import boundary_attack
      >>> pace = boundary_attack.initial_pace(2)
      >>> boundary_attack.adapt(pace).delta.tolist() == pace.delta.tolist()  # no window is full yet
      True
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
