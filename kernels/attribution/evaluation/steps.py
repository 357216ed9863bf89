"""The steps of perturbation analysis, compiled: ranks and replacements once, then a forward pass for each point."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import Count, Int
from ..arguments import Same
from ..report import SAME
from . import loops, perturbations, scoring
from . import regions as cut
from .regions import Layout
from .scoring import Scorer


@dataclasses.dataclass(frozen=True)
class Flip:
    """What is measured and how; static under jit. The attributes are arguments of `pixel_flipping`, checked."""

    scorer: Scorer
    layout: Layout
    order: str
    reduce: str
    perturbation: str
    sigma: float | None
    recompute: Any


def by_sample(
    flip: Flip, arrays: list, operands: dict, target: Any, counts: Int[np.ndarray, " points"], at_once: Count
):
    """Returns (scores `[batch, points]`, constant `[batch]`, unchanged `[batch]`), see `Curve`.

    Args:
        arrays: of the parameters.
        operands: arrays with samples on the first axis: x; keys where something is random; relevance unless the order
            is; value, donors, low and high as the perturbation needs them.
        target: classes, or None.
        counts: regions that are perturbed at each point.
        at_once: points in one pass.
    """
    shared = _prepared(flip, operands) | {"arrays": arrays, "target": target}
    if flip.recompute is None:
        scores = loops.stacked(_point, flip, shared, jnp.asarray(counts), at_once)
    else:
        scores = _recomputed(flip, shared, counts)
    return scores.T, shared["constant"], shared["unchanged"]


@functools.partial(jax.jit, static_argnums=0)
def _prepared(flip: Flip, operands: dict) -> dict:
    """What all points share: the order of the regions and what replaces them."""
    x, layout = operands["x"], flip.layout
    bounds = (operands["low"], operands["high"]) if "low" in operands else None
    orders, draws = _split(operands["keys"]) if "keys" in operands else (None, None)
    fill = perturbations.filling(
        flip.perturbation, x, layout, draws, operands.get("value"), flip.sigma, bounds, operands.get("donors")
    )
    unchanged = jnp.all((fill == x).reshape(len(x), -1), axis=-1)
    shared = {"x": x, "fill": fill, "bounds": bounds}
    shared["unchanged"] = unchanged & (flip.perturbation != "linear")
    if orders is not None and flip.order == "random":
        shared["is_nan"] = shared["constant"] = jnp.zeros(len(x), bool)
        shared["ranks"] = cut.random_ranks(orders, layout.regions)
    else:
        scores = cut.region_scores(operands["relevance"], layout, flip.reduce)
        shared["is_nan"] = jnp.isnan(operands["relevance"]).reshape(len(x), -1).any(-1)
        spread = jnp.max(scores, -1) - jnp.min(scores, -1)
        shared["constant"] = spread <= SAME * jnp.max(jnp.abs(scores), -1)
        shared["ranks"], shared["scores"] = cut.ranks(scores, flip.order), scores
    shared["rank_map"] = cut.on_places(shared["ranks"], layout)
    return shared


def _split(keys):
    """Two keys for each sample."""
    return jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), jax.vmap(lambda key: jax.random.fold_in(key, 1))(
        keys
    )


def _point(flip: Flip, shared: dict, count):
    """The scores `[batch]` with `count` regions perturbed."""
    return _scores(flip, shared, _perturbed(flip, shared, shared["rank_map"] < count))


def _perturbed(flip: Flip, shared: dict, mask):
    """The samples with what replaces them inside the mask."""
    x, fill = shared["x"], shared["fill"]
    if flip.perturbation == "linear":
        fill = fill + perturbations.interpolated(x, mask, flip.layout)
        fill = perturbations.clipped(fill, shared["bounds"]).astype(x.dtype)
    return jnp.where(mask, fill, x)


def _scores(flip: Flip, shared: dict, x):
    scores = flip.scorer(shared["arrays"], x, shared["target"])
    return jnp.where(shared["is_nan"], jnp.full((), jnp.nan, scores.dtype), scores)


def _recomputed(flip: Flip, shared: dict, counts):
    """Scores `[points, batch]` where each point's regions are those of an explanation of what is left."""
    state = (jnp.zeros(shared["ranks"].shape, bool), shared["scores"])
    increments = jnp.asarray(np.diff(counts))
    clean = _point_compiled(flip, shared, counts[0])
    if loops.is_concrete((shared, state)) and jax.default_backend() == "cpu":
        rows = []
        for increment in increments:
            state, row = _advance_compiled(flip, shared, state, increment)
            rows.append(row)
        rest = jnp.stack(rows)
    else:
        rest = jax.lax.scan(lambda state, more: _advance(flip, shared, state, more), state, increments)[1]
    return jnp.concatenate([clean[None], rest])


def _advance(flip: Flip, shared: dict, state, more):
    """Perturbs `more` regions and explains what is left; returns the state and the scores `[batch]`.

    The state is (is perturbed, scores), both `[batch, regions]`.
    """
    done, scores = state
    last = -jnp.inf if flip.order == "morf" else jnp.inf
    done = done | (cut.ranks(jnp.where(done, last, scores), flip.order) < more)
    x = _perturbed(flip, shared, cut.on_places(done, flip.layout))
    explain = flip.recompute.value if isinstance(flip.recompute, Same) else flip.recompute
    scorer = flip.scorer
    relevance = explain(scorer.structure.with_arrays(shared["arrays"]), x, scorer.target or shared["target"])
    relevance = scoring.like_inputs(relevance, x)
    return (done, cut.region_scores(relevance, flip.layout, flip.reduce)), _scores(flip, shared, x)


_point_compiled = functools.partial(jax.jit, static_argnums=0)(_point)
_advance_compiled = functools.partial(jax.jit, static_argnums=0)(_advance)
