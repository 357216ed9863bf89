"""Whether an explanation lies where the thing is: maps beside boxes or masks.

Each is NaN for a sample whose mask is empty, of which nothing can be said. Masks are bool `[batch, ...]`, of the maps'
shape or with 1 along axes of channels. `values`: "signed" relevance as it is, "positive": with zero for what is below,
"absolute": magnitudes.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import AnyArray, Array, Bool, Count, Float, Integer, Real
from ...scalars import whole
from . import scoring

VALUES = ("signed", "positive", "absolute")
TIES = ("expected", "any")


def box_mask(boxes: Integer[AnyArray, "batch ends"] | Sequence, shape: Sequence[int]) -> Bool[Array, " batch *shape"]:
    """Returns the masks of boxes, bool `[batch, *shape]`, True inside.

    Args:
        boxes: integers `[batch, 2 * axes]`: where each begins along every axis, then where it ends, which is outside:
            (top, left, bottom, right) for images.
        shape: of the maps, without batch and channels: (height, width).

    Raises:
        ValueError: another number of ends; a box that is empty or reaches beyond the map, where it can be seen.

    Example:
        >>> from havel.kernels.attribution import evaluation
        >>> evaluation.box_mask([[0, 1, 1, 3]], (2, 3)).astype(int).tolist()
        [[[0, 1, 1], [0, 0, 0]]]
    """
    if not isinstance(boxes, jax.core.Tracer):
        boxes = np.asarray(boxes)
    axes = len(tuple(shape))
    if boxes.ndim != 2 or boxes.shape[1] != 2 * axes or boxes.dtype.kind not in "iu":
        raise ValueError(
            f"boxes of shape {boxes.shape} and dtype {boxes.dtype}: expected integers [batch, {2 * axes}], the "
            f"beginnings and then the ends along {axes} axes"
        )
    if isinstance(boxes, np.ndarray):
        for number, box in enumerate(boxes):
            starts, ends = box[:axes], box[axes:]
            if (starts >= ends).any() or (starts < 0).any() or (ends > np.asarray(shape)).any():
                raise ValueError(
                    f"box {number} is {box.tolist()}: expected one with beginnings below ends, within {tuple(shape)}"
                )
    inside = jnp.ones((boxes.shape[0], *shape), bool)
    for axis, side in enumerate(shape):
        places = jnp.arange(side)
        along = (places >= boxes[:, axis, None]) & (places < boxes[:, axes + axis, None])
        inside &= along.reshape(-1, *(side if one == axis else 1 for one in range(axes)))
    return inside


def pointing_game(
    relevance: Real[AnyArray, " batch *shape"],
    mask: Bool[AnyArray, " batch *masks"],
    *,
    values: str = "signed",
    ties: str = "expected",
) -> Float[Array, " batch"]:
    """Returns 1 where the largest entry of a map lies in the mask, else 0, `[batch]`. Higher is better.

    Args:
        relevance, mask, values: see above.
        ties: of several largest entries "expected": the share of them that lies in the mask, what pointing at one of
            them at random gives; a constant map has the share of the mask. "any": one in the mask is enough, as in
            PointingGame of Quantus 0.6.0, by which constant maps win; it gives 1 for empty masks, too.

    Raises:
        ValueError: NaN relevance, a mask that is no bool or does not fit, unknown ties.

    Source: Zhang et al., arXiv:1608.00507.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> evaluation.pointing_game(jnp.array([[1.0, 3.0]] * 2), jnp.array([[False, True], [True, False]])).tolist()
        [1.0, 0.0]
    """
    scoring.check_one_of("ties", ties, TIES)
    maps, inside = _flat(relevance, mask, values)
    is_largest = maps == jnp.max(maps, axis=-1, keepdims=True)
    hits = is_largest & inside
    result = jnp.any(hits, axis=-1) if ties == "any" else jnp.sum(hits, axis=-1) / jnp.sum(is_largest, axis=-1)
    return _unless_empty(result, inside)


def relevance_mass_accuracy(
    relevance: Real[AnyArray, " batch *shape"], mask: Bool[AnyArray, " batch *masks"], *, values: str = "signed"
) -> Float[Array, " batch"]:
    """Returns the share of a map's relevance that lies in the mask, `[batch]`. Higher is better.

    Signed relevance can have shares below 0 and above 1; NaN where its total is not above 0, of which Quantus 0.6.0
    (RelevanceMassAccuracy) gives a quotient all the same.

    Raises:
        ValueError: NaN relevance, a mask that is no bool or does not fit.

    Source: Arras, Osman, Samek, arXiv:2003.07258.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> evaluation.relevance_mass_accuracy(jnp.array([[1.0, 3.0]]), jnp.array([[False, True]])).tolist()
        [0.75]
    """
    maps, inside = _flat(relevance, mask, values)
    total = jnp.sum(maps, axis=-1)
    share = jnp.sum(jnp.where(inside, maps, 0), axis=-1) / total
    return _unless_empty(jnp.where(total > 0, share, jnp.nan), inside)


def relevance_rank_accuracy(
    relevance: Real[AnyArray, " batch *shape"], mask: Bool[AnyArray, " batch *masks"], *, values: str = "signed"
) -> Float[Array, " batch"]:
    """Returns the share of the K largest entries that lie in the mask, K being its size, `[batch]`. Higher is better.

    Equal entries count in the order of their index; Quantus 0.6.0 (RelevanceRankAccuracy) leaves it open.

    Raises:
        ValueError: NaN relevance, a mask that is no bool or does not fit.

    Source: Arras, Osman, Samek, arXiv:2003.07258.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> mask = jnp.array([[False, True, True]])
        >>> evaluation.relevance_rank_accuracy(jnp.array([[1.0, 3.0, 0.0]]), mask).tolist()
        [0.5]
    """
    maps, inside = _flat(relevance, mask, values)
    size = jnp.sum(inside, axis=-1)
    hits = _in_order(maps, inside) & (jnp.arange(maps.shape[-1]) < size[:, None])
    return _unless_empty(jnp.sum(hits, axis=-1) / jnp.maximum(size, 1), inside)


def top_k_intersection(
    relevance: Real[AnyArray, " batch *shape"],
    mask: Bool[AnyArray, " batch *masks"],
    k: Count,
    *,
    values: str = "signed",
    concept_influence: bool = False,
) -> Float[Array, " batch"]:
    """Returns the share of the k largest entries that lie in the mask, `[batch]`. Higher is better.

    Args:
        relevance, mask, values: see above.
        k: how many entries.
        concept_influence: times the entries of a map over those of the mask: how many times the share of chance.

    Raises:
        ValueError: k below 1 or above the entries (Quantus 0.6.0 then takes all); NaN relevance, a mask that does not
            fit.

    Source: Theiner, Müller-Budack, Ewerth, arXiv:2104.14995.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> mask = jnp.array([[False, True, True]])
        >>> evaluation.top_k_intersection(jnp.array([[1.0, 3.0, 0.0]]), mask, 1).tolist()
        [1.0]
    """
    maps, inside = _flat(relevance, mask, values)
    whole("k", k, 1, maps.shape[-1], ", the entries of a map")
    share = jnp.mean(_in_order(maps, inside)[:, :k], axis=-1, dtype=maps.dtype)
    if concept_influence:
        share = share * maps.shape[-1] / jnp.maximum(jnp.sum(inside, axis=-1), 1)
    return _unless_empty(share, inside)


def attribution_localization(
    relevance: Real[AnyArray, " batch *shape"],
    mask: Bool[AnyArray, " batch *masks"],
    *,
    values: str = "positive",
    weighted: bool = False,
) -> Float[Array, " batch"]:
    """Returns the share of the positive relevance that lies in the mask, `[batch]`: mu, or mu_w. Higher is better.

    Quantus 0.6.0 (AttributionLocalisation) takes magnitudes by default (`values="absolute"`), and adds 1e-9 to the
    total. Weighted it multiplies by the mask's share of all samples but two, where the paper divides by its share.

    Args:
        relevance, mask: see above. values: "positive" as the paper, or "absolute".
        weighted: times the entries of the map over those of the mask: 1 is what an even map has.

    Raises:
        ValueError: NaN relevance, a mask that is no bool or does not fit, signed values.

    Source: Kohlbrenner et al., arXiv:1910.09840.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> mask = jnp.array([[False, True, True]])
        >>> evaluation.attribution_localization(jnp.array([[1.0, 3.0, -9.0]]), mask).tolist()
        [0.75]
    """
    scoring.check_one_of("values", values, VALUES[1:])
    maps, inside = _flat(relevance, mask, values)
    total = jnp.sum(maps, axis=-1)
    share = jnp.sum(jnp.where(inside, maps, 0), axis=-1) / total
    if weighted:
        share = share * maps.shape[-1] / jnp.maximum(jnp.sum(inside, axis=-1), 1)
    return _unless_empty(jnp.where(total > 0, share, jnp.nan), inside)


def _flat(relevance, mask, values: str):
    """Maps and masks `[batch, entries]`."""
    scoring.check_one_of("values", values, VALUES)
    maps = scoring.as_maps("relevance", relevance)
    dtype = getattr(mask, "dtype", None)
    if dtype is None or dtype.kind != "b":
        what = type(mask).__name__ if dtype is None else dtype
        raise ValueError(f"mask is {what}: expected an array of bool, True where the thing is (mask > 0.5)")
    same = mask.ndim == maps.ndim and mask.shape[0] == maps.shape[0]
    if not same or any(one not in (1, side) for one, side in zip(mask.shape, maps.shape, strict=True)):
        raise ValueError(
            f"mask has shape {mask.shape} and relevance {maps.shape}: expected the same, or 1 along axes of channels"
        )
    maps = jnp.maximum(maps, 0) if values == "positive" else jnp.abs(maps) if values == "absolute" else maps
    return maps.reshape(len(maps), -1), jnp.broadcast_to(mask, maps.shape).reshape(len(maps), -1)


def _in_order(maps, inside):
    """Whether the entries lie in the mask, the largest first."""
    return jnp.take_along_axis(inside, jnp.argsort(-maps, axis=-1, stable=True), axis=-1)


def _unless_empty(result, inside):
    result = result.astype(jnp.result_type(result, jnp.float32))
    return jnp.where(jnp.any(inside, axis=-1), result, jnp.nan)
