"""Tensors and candidates as batches for the XLA form of the quantisers: one program decides what has one shape."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import Array, ArrayLike, Int32
from ..checks import checked_importance, checked_rate_weight, checked_step, checked_weights, is_traced
from ..codeword import Options, make_options
from ..core.constants import MAX_ABS_LEVEL
from ..quantize import quantize_uniform
from ..steps import real
from . import quantizers
from .contexts import lanes_up_to, wide

MOST_WEIGHTS = 1 << 26  # in one program, about 60 bytes each
_MARGIN = {"rdo": 0, "trellis": 2}  # levels beyond the nearest one that must be legal, too


def decide_many(
    kind: str, tensors: Sequence, coder: dict, *, step: Sequence, rate_weight: Sequence, importance: Sequence
) -> list:
    """Levels of tensors, each with its step, rate weight and importance, in the order of `tensors`; traced ones as JAX
    arrays, concrete ones as NumPy's, decided in float64."""
    jobs = list(zip(tensors, step, rate_weight, importance, strict=True))
    if is_traced(jobs):
        return [decide_traced(kind, *job, coder) for job in jobs]
    groups: dict[tuple, list[int]] = {}
    valid = [_checked(kind, *job) for job in jobs]
    for place, (w, _, rate, weight) in enumerate(valid):
        groups.setdefault((w.shape, w.dtype, rate == 0, weight is None), []).append(place)
    levels: list[Any] = [None] * len(jobs)
    with jax.enable_x64(True):
        for (shape, *_), members in groups.items():
            options = make_options(shape, coder["n_unary"], kind == "trellis", coder["scan"], coder["profile"])
            for places in _parts(members, max(1, MOST_WEIGHTS // max(valid[members[0]][0].size, 1))):
                group = [valid[place] for place in places]
                for place, one in zip(places, _decided(kind, group, options), strict=True):
                    levels[place] = one.reshape(shape)
    return levels


def _parts(places: list[int], most: int) -> list[list[int]]:
    """Places in runs of at most so many, about equal."""
    return [part.tolist() for part in np.array_split(places, -(-len(places) // most))]


def decide_one(kind: str, w: Any, step: Any, rate_weight: Any, importance: Any, coder: dict) -> Int32[Array, "..."]:
    """int32 levels of one tensor, a JAX array."""
    if is_traced((w, step, rate_weight, importance)):
        return decide_traced(kind, w, step, rate_weight, importance, coder)
    one = {"step": [step], "rate_weight": [rate_weight], "importance": [importance]}
    return jnp.asarray(decide_many(kind, [w], coder, **one)[0])


def decide_traced(
    kind: str, w: ArrayLike, step: Any, rate_weight: Any, importance: Any, coder: dict
) -> Int32[Array, "..."]:
    """int32 levels of a tensor of which something is traced: no bound of its levels is known."""
    w, dtype = jnp.asarray(w), wide()
    if not jnp.issubdtype(w.dtype, jnp.floating):
        raise ValueError(f"weights must be floating point, not {w.dtype}; integers need no quantiser")
    options = make_options(w.shape, coder["n_unary"], kind == "trellis", coder["scan"], coder["profile"])
    if not w.size:
        return jnp.zeros(w.shape, jnp.int32)
    if importance is not None and np.shape(importance) != w.shape:
        raise ValueError(f"importance has shape {np.shape(importance)}, the weights {w.shape}")
    for name, value in (("step", step), ("rate_weight", rate_weight)):
        if is_traced(value) and np.shape(value):
            raise ValueError(f"{name} of shape {np.shape(value)} for one tensor: jax.vmap takes several")
    step = step if is_traced(step) else checked_step(step)
    rate_weight = rate_weight if is_traced(rate_weight) else checked_rate_weight(rate_weight)
    flat = w.astype(jnp.promote_types(w.dtype, jnp.float32)).reshape(1, -1)
    step, rate_weight = (jnp.asarray(x, dtype).reshape(1) for x in (step, rate_weight))
    weight = jnp.ones((1, 1), dtype) if importance is None else jnp.asarray(importance, dtype).reshape(1, -1)
    largest = jnp.max(jnp.abs(flat.astype(dtype))) / step[0]
    slack = 128 if dtype == jnp.float32 else 0  # between two of its numbers at the limit
    is_legal = (step[0] > 0) & (step[0] < jnp.inf) & (largest <= MAX_ABS_LEVEL - _MARGIN[kind] - slack)
    is_legal &= (rate_weight[0] >= 0) & (rate_weight[0] < jnp.inf)
    is_legal &= jnp.all((weight >= 0) & (weight < jnp.inf))
    lanes = lanes_up_to(MAX_ABS_LEVEL, options.n_unary, options.dq)
    levels = quantizers.batched(kind, options, lanes)(flat, step, rate_weight, weight)
    return jnp.where(is_legal, levels.reshape(w.shape), quantizers.REFUSED)


def _checked(kind, w, step, rate_weight, importance):
    w, step = checked_weights(w, step, _MARGIN[kind])
    importance = checked_importance(w, rate_weight, importance)
    if kind == "trellis" and importance is not None:
        scale = float(importance.max(initial=0)) or 1.0
        if not np.isfinite(rate_weight / scale):
            raise ValueError(f"rate_weight is beyond what importances of at most {scale} can be weighed against")
    return real(w), step, float(rate_weight), importance


def _decided(kind: str, group: list[tuple], options: Options) -> np.ndarray:
    """Levels [batch, n] of tensors of one shape, dtype and kind of importance, in 64-bit mode."""
    tensors, steps, rates, importances = zip(*group, strict=True)
    if not tensors[0].size:
        return np.zeros((len(group), 0), np.int32)
    if kind == "rdo" and rates[0] == 0:
        return np.stack([quantize_uniform(w, step) for w, step in zip(tensors, steps, strict=True)])
    largest = max(float(max(w.max(), -w.min())) / step for w, step in zip(tensors, steps, strict=True))
    bound = int(largest) // 2 + 3 if kind == "trellis" else int(largest + 0.5) + 1
    lanes = lanes_up_to(min(bound, MAX_ABS_LEVEL), options.n_unary, options.dq)
    if importances[0] is None:
        importance = jnp.ones((len(group), 1))
    else:
        importance = _stacked(importances)
    if rates[0] == 0:
        kind = "nearest"
    decide = quantizers.batched(kind, options, lanes)
    return np.asarray(decide(_stacked(tensors), jnp.array(steps), jnp.array(rates), importance))


def _stacked(tensors):
    """Tensors as [batch, n]; those that are one object, candidates of a tensor, cross to the device once."""
    first: dict[int, int] = {}
    places = np.array([first.setdefault(id(one), len(first)) for one in tensors])
    different = [tensors[int(np.argmax(places == place))].reshape(-1) for place in range(len(first))]
    return jnp.asarray(np.stack(different))[places]
