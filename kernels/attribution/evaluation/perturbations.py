"""What stands in a region once it is perturbed: arXiv:1509.06321; imputation: arXiv:2202.00449."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import AnyArray, Array, Bool, Float, Key, Real, Scalar
from ...scalars import positive, real, reals
from .regions import Layout, region_index, region_means

PERTURBATIONS = ("zeros", "mean", "gaussian", "invert", "constant", "uniform", "blur", "donor", "linear")
RANDOM = ("gaussian", "uniform", "linear")  # need a key
GAUSSIAN_SIGMA, LINEAR_SIGMA = 0.3, 0.01
WIDEST = 4.0  # where the blur's kernel ends, in standard deviations
TOLERANCE, ITERATIONS = 1e-5, 1000  # of the imputation's linear system


def filling(
    name: str,
    x: Float[Array, " batch *shape"],
    plan: Layout,
    keys: Key[Array, " batch"] | None,
    value: Scalar | Real[AnyArray, ...] | None,
    sigma: Scalar | None,
    bounds: tuple | None,
    donors: Real[AnyArray, ...] | None,
) -> Float[Array, " batch *shape"]:
    """Returns what stands in place of each entry of `x`; for "linear" the noise that is added to the imputed values.

    Args:
        name: of PERTURBATIONS.
        plan: the regions.
        keys: of each sample, for those in RANDOM.
        value, sigma, bounds, donors: as `value`, `sigma`, `value_range` and `donors` of `pixel_flipping`, checked.
    """
    if name == "zeros":
        fill = jnp.zeros_like(x)
    elif name == "invert":
        fill = -x
    elif name == "constant":
        fill = jnp.broadcast_to(jnp.asarray(value, x.dtype), x.shape)
    elif name == "mean":
        fill = _spread(region_means(x, plan), plan)
    elif name == "blur":
        fill = blurred(x, plan, sigma)
    elif name == "donor":
        fill = jnp.roll(x, -1, axis=0) if donors is None else jnp.broadcast_to(jnp.asarray(donors, x.dtype), x.shape)
    elif name == "uniform":
        assert bounds is not None, "check_options refuses it"
        low, high = bounds
        share = _drawn(jax.random.uniform, keys, x)
        fill = low + share * (high - low)
    else:
        width = sigma if sigma is not None else GAUSSIAN_SIGMA if name == "gaussian" else LINEAR_SIGMA
        fill = width * _drawn(jax.random.normal, keys, x)
        if name == "linear":
            return fill.astype(x.dtype)  # the sum with the imputed values is clipped
    return clipped(fill, bounds).astype(x.dtype)


def clipped(values: Array, bounds: tuple | None) -> Array:
    """Returns values within (low, high), or as they are without."""
    return values if bounds is None else jnp.clip(values, bounds[0], bounds[1])


def blurred(x: Float[Array, " batch *shape"], plan: Layout, sigma: Scalar | None) -> Float[Array, " batch *shape"]:
    """Returns `x` under a Gaussian along the layout's axes, whose weights within the array sum to 1.

    Args:
        sigma: standard deviation in entries; None: half a region's length along each axis.
    """
    for axis, size in zip(plan.axes, plan.sizes, strict=True):
        width = size / 2 if sigma is None else float(sigma)
        places = np.arange(plan.shape[axis])
        distances = np.abs(places[:, None] - places) / width
        weights = np.exp(-0.5 * distances**2) * (distances <= WIDEST)
        weights /= weights.sum(1, keepdims=True)
        x = jnp.moveaxis(jnp.tensordot(x, jnp.asarray(weights, x.dtype), ((axis,), (1,))), -1, axis)
    return x


def interpolated(
    x: Float[Array, " batch *shape"], mask: Bool[Array, "batch ..."], plan: Layout
) -> Float[Array, " batch *shape"]:
    """Returns `x` with each entry of the mask a weighted mean of its neighbours, masked ones included: ROAD's system.

    Along two axes direct neighbours weigh 1/6 and diagonal ones 1/12, otherwise the direct ones equally; neighbours
    beyond the edge do not count. Where all of a sample is masked its mean stands, by channel.

    Args:
        mask: `[batch, ...]`, 1 along axes of channels.
    """
    inside = jnp.ones((1,) + tuple(side if axis in plan.axes else 1 for axis, side in enumerate(x.shape) if axis))
    degree = _neighbours(inside.astype(x.dtype), plan)
    is_open = mask.astype(x.dtype)
    start = jnp.mean(x, axis=plan.axes, keepdims=True)
    border = _neighbours(jnp.where(mask, 0, x), plan)

    # Solved for the difference to the mean: zero, where every entry is masked and the system has no single solution.
    def system(rest):
        return is_open * (degree * rest - _neighbours(is_open * rest, plan)) + (1 - is_open) * rest

    right = is_open * (border - start * (degree - _neighbours(is_open, plan)))
    rest, _ = jax.scipy.sparse.linalg.cg(system, right, tol=TOLERANCE, maxiter=ITERATIONS)
    return jnp.where(mask, start + rest, x)


def _neighbours(values, plan: Layout):
    """The weighted sum of each entry's neighbours; zero beyond the edges."""
    offsets = list(itertools.product((-1, 0, 1), repeat=len(plan.axes)))
    total = jnp.zeros_like(values)
    for offset in offsets:
        steps = sum(map(abs, offset))
        if steps == 0 or (steps == 2 and len(plan.axes) != 2) or steps > 2:
            continue
        weight = 1 / (6 * steps) if len(plan.axes) == 2 else 1 / (2 * len(plan.axes))
        total = total + weight * _shifted(values, plan.axes, offset)
    return total


def _shifted(values, axes: Sequence[int], offset: Sequence[int]):
    """`values` moved by an offset, zeros moving in."""
    for axis, step in zip(axes, offset, strict=True):
        if step:
            widths = [(0, 0)] * values.ndim
            widths[axis] = (step, 0) if step > 0 else (0, -step)
            start = 0 if step > 0 else -step
            values = jax.lax.slice_in_dim(jnp.pad(values, widths), start, start + values.shape[axis], axis=axis)
    return values


def _spread(means, plan: Layout):
    """Means of regions (and channels) at every place."""
    moved = jnp.moveaxis(means, plan.axes, range(1, len(plan.axes) + 1))
    flat = moved.reshape(moved.shape[0], plan.regions, *moved.shape[len(plan.axes) + 1 :])
    index = region_index(plan).reshape([plan.shape[axis] for axis in plan.axes])
    return jnp.moveaxis(flat[:, index], range(1, len(plan.axes) + 1), plan.axes)


def _drawn(draw, keys, x):
    dtype = x.dtype if x.dtype.itemsize > 2 else jnp.float32
    return jax.vmap(lambda key: draw(key, x.shape[1:], dtype))(keys)


def check_options(name: str, x, value, sigma, bounds, donors) -> tuple | None:
    """Returns `bounds` as two arrays that broadcast to `x`, or None; see `pixel_flipping` for the arguments.

    Raises:
        ValueError: an option of the perturbation that it lacks, or that does not fit.
    """
    if sigma is not None:
        real("sigma", sigma, "a finite number above 0, or None for the perturbation's own", positive)
    if name == "constant":
        reals("value", value, "a finite number, or an array of such")
        _broadcast("value", value, x)
    if name == "donor":
        _check_donors(donors, x)
    if bounds is None:
        if name == "uniform":
            raise ValueError("perturbation='uniform' draws from value_range: give (low, high)")
        return None
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise ValueError(f"value_range={bounds!r:.60}: expected (low, high), two numbers or arrays")
    for end in bounds:
        reals("value_range", end, "finite numbers, (low, high)")
    low, high = (_broadcast("value_range", end, x) for end in bounds)
    if any(isinstance(end, jax.core.Tracer) for end in bounds):
        return low, high
    if not np.all(np.asarray(bounds[0]) < np.asarray(bounds[1])):
        raise ValueError(f"value_range={bounds!r:.60}: expected low below high")
    if not isinstance(x, jax.core.Tracer):
        values = np.asarray(x, np.float64)
        if (values < np.asarray(low, np.float64)).any() or (values > np.asarray(high, np.float64)).any():
            raise ValueError(
                f"value_range={bounds!r:.60}, and x reaches from {values.min():g} to {values.max():g}: expected the "
                "range of what the network is given, behind all preprocessing"
            )
    return low, high


def _check_donors(donors, x) -> None:
    if donors is None:
        if len(x) == 1:
            raise ValueError("perturbation='donor' of one sample: the next of the batch is itself. Give donors=...")
        donors, whose = np.roll(np.arange(len(x)), -1), "the next of the batch"
        other = x if isinstance(x, jax.core.Tracer) else np.asarray(x)[donors]
    else:
        other, whose = _broadcast("donors", donors, x), "its donor"
        if jnp.ndim(donors) != x.ndim or jnp.shape(donors)[1:] != x.shape[1:]:
            raise ValueError(f"donors of shape {jnp.shape(donors)}: expected {x.shape}, one a sample, or one for all")
        reals("donors", donors, "finite numbers")
    if any(isinstance(one, jax.core.Tracer) for one in (x, other)):
        return
    same = (np.asarray(x) == np.asarray(other)).reshape(len(x), -1).all(-1)
    if same.any():
        raise ValueError(
            f"perturbation='donor': sample {int(np.argmax(same))} and {whose} are the same, so nothing would be "
            "perturbed. Give another as donors=..."
        )


def _broadcast(name: str, value, x):
    try:
        return jnp.broadcast_to(jnp.asarray(value, x.dtype), x.shape)
    except ValueError:
        raise ValueError(f"{name} of shape {np.shape(value)} does not broadcast to x, {x.shape}") from None
