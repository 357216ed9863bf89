"""Whether an explanation stays when its input hardly changes: Yeh et al., arXiv:1901.09392.

Noise is uniform in [-radius, radius] at every entry, or what is given as `noise`. Lower is better for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ...array_types import AnyArray, Array, Count, Float, Key, RandomKey, Real, Scalar
from ...scalars import positive, real
from ..arguments import PyTree
from . import loops, scoring
from .explaining import compiled, explaining


def max_sensitivity(
    explain: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    key: RandomKey | Key[Array, " batch"] | None = None,
    *,
    radius: Scalar = 0.2,
    n: Count = 50,
    relative: bool = True,
    noise: Real[AnyArray, "draws batch *shape"] | None = None,
    at_once: Count = 1,
) -> Float[Array, " batch"]:
    """Returns the largest distance of an explanation from those of noisy inputs, `[batch]`. Lower is better.

    Args:
        explain: `explain(params, x) -> relevance`, `[batch, ...]`. Choose the target by the clean inputs: an "argmax"
            may be another one for noisy ones.
        params: a pytree. x: one array `[batch, ...]`.
        key: of the noise: one, in which the number of each sample in the batch is folded, or `[batch]`.
        radius: of the noise, in units of x.
        n: draws.
        relative: in units of the length of the explanation of `x`, as MaxSensitivity of Quantus 0.6.0; False: in those
            of relevance, as the paper. NaN for a map of zeros.
        noise: `[draws, *x.shape]` to add instead.
        at_once: draws in one pass.

    Raises:
        ValueError: neither key nor noise, noise that does not fit, explanations that are not finite or no arrays.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> explain, x = lambda w, x: x * w, jnp.array([[3.0, 4.0]])
        >>> round(float(evaluation.max_sensitivity(explain, 2.0, x, noise=jnp.array([[[0.3, 0.4]]]))[0]), 4)
        0.1
    """
    return jnp.max(
        _distances(explain, params, x, key, radius, n, noise, at_once, "relative" if relative else "absolute"), axis=0
    )


def avg_sensitivity(
    explain: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    key: RandomKey | Key[Array, " batch"] | None = None,
    *,
    radius: Scalar = 0.2,
    n: Count = 50,
    relative: bool = True,
    noise: Real[AnyArray, "draws batch *shape"] | None = None,
    at_once: Count = 1,
) -> Float[Array, " batch"]:
    """Returns the mean distance of an explanation from those of noisy inputs, `[batch]`. Lower is better.

    Args, Raises: as for `max_sensitivity`; AvgSensitivity of Quantus 0.6.0.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> explain, x = lambda w, x: x * w, jnp.array([[3.0, 4.0]])
        >>> noise = jnp.array([[[0.3, 0.4]], [[0.0, 0.0]]])
        >>> round(float(evaluation.avg_sensitivity(explain, 2.0, x, noise=noise)[0]), 4)
        0.05
    """
    return jnp.mean(
        _distances(explain, params, x, key, radius, n, noise, at_once, "relative" if relative else "absolute"), axis=0
    )


def local_lipschitz(
    explain: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    key: RandomKey | Key[Array, " batch"] | None = None,
    *,
    radius: Scalar = 0.2,
    n: Count = 50,
    noise: Real[AnyArray, "draws batch *shape"] | None = None,
    at_once: Count = 1,
) -> Float[Array, " batch"]:
    """Returns the largest ratio of an explanation's distance to the input's, `[batch]`. Lower is better.

    In units of relevance over units of x, of noisy inputs within the radius: a lower bound of the Lipschitz constant.
    LocalLipschitzEstimate of Quantus 0.6.0 draws N(0, 0.1²) (`noise=`) and divides maps by the largest magnitude.

    Args, Raises: as for `max_sensitivity`.

    Source: Alvarez-Melis and Jaakkola, arXiv:1806.08049.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> explain, x = lambda w, x: x * w, jnp.array([[3.0, 4.0]])
        >>> round(float(evaluation.local_lipschitz(explain, 2.0, x, noise=jnp.array([[[0.3, 0.4]]]))[0]), 4)
        2.0
    """
    return jnp.max(_distances(explain, params, x, key, radius, n, noise, at_once, "ratio"), axis=0)


def _distances(explain, params, x, key, radius, n, noise, at_once, kind) -> Float[Array, "draws batch"]:
    """Distances of explanations; `kind` is "relative", "absolute", or the "ratio" to the distance of the inputs."""
    scoring.check_counts(n=n, at_once=at_once)
    real("radius", radius, "a finite number above 0, in units of x", positive)
    x = scoring.as_samples(x)
    own, arrays = explaining(explain, params)
    shared = {"arrays": arrays, "x": x, "radius": radius}
    if noise is None:
        shared["keys"] = scoring.sample_keys(key, len(x), "the noise is drawn")
        items = jnp.arange(n)
    else:
        items = jnp.asarray(noise, x.dtype)
        if items.ndim != x.ndim + 1 or items.shape[1:] != x.shape or not len(items):
            raise ValueError(f"noise of shape {items.shape}: expected [draws, {', '.join(map(str, x.shape))}]")
    shared["clean"] = scoring.as_maps("the explanation", compiled(own, arrays, x))
    distances = loops.stacked(_distance, (own, kind), shared, items, at_once)
    if loops.is_concrete(distances) and not jnp.isfinite(distances).all() and (shared["clean"] != 0).any():
        _check_noisy(distances, shared["clean"], kind)
    return distances


def _distance(static, shared, item):
    """The distance `[batch]` of one draw: noise, or its number."""
    explain, kind = static
    x, clean = shared["x"], shared["clean"]
    delta = item
    if "keys" in shared:
        draw = lambda key: jax.random.uniform(jax.random.fold_in(key, item), x.shape[1:], x.dtype, -1, 1)  # noqa: E731
        delta = jax.vmap(draw)(shared["keys"]) * jnp.asarray(shared["radius"], x.dtype)
    moved = explain(shared["arrays"], x + delta) - clean
    unit = {"relative": clean, "ratio": (x + delta) - x}.get(kind)
    return _length(moved) if unit is None else _length(moved) / _length(unit)


def _length(values):
    return jnp.sqrt(jnp.sum(jnp.square(values.reshape(len(values), -1)), axis=-1))


def _check_noisy(distances, clean, kind) -> None:
    """Raises ValueError unless what is not finite is that of maps of zeros."""
    is_zero = jnp.all(clean.reshape(len(clean), -1) == 0, axis=-1)
    broken = ~jnp.isfinite(distances) & ~(is_zero & (kind == "relative"))
    if broken.any():
        draw, sample = (int(part[0]) for part in jnp.nonzero(broken))
        raise ValueError(
            f"draw {draw} for sample {sample} gave a distance that is not finite: an explanation of a noisy input is "
            "not, or the noise is zero. See radius and noise."
        )
