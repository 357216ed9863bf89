"""Sanity checks: an explanation that stays as it was when layers are randomised does not explain them.

Adebayo et al., arXiv:1810.03292.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...array_types import AnyArray, Array, Float, RandomKey, Real
from ..arguments import Parameters, PyTree
from ..engine import read
from . import scoring
from .explaining import of_samples

MODES, DRAWS = ("cascading", "independent"), ("normal", "permutation")


def layers_from_top(fn: Callable, params: PyTree, x: PyTree) -> list[str]:
    """Returns the names of the layers with parameters, the last one that is computed first; a norm before its layer.

    Args: as for `attribute`; only shapes matter.

    Raises:
        ValueError: as `attribute`.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> fn, params = lambda p, x: x @ p["first"]["w"] @ p["last"]["w"], {"first": {"w": jnp.ones((2, 3))}}
        >>> params["last"] = {"w": jnp.ones((3, 1))}
        >>> evaluation.layers_from_top(fn, params, jnp.ones((1, 2)))
        ['last', 'first']
    """
    paths = Parameters.of(params).paths
    names: list[str] = []
    for operation in reversed(read(fn, params, x).operations):
        names += [name for name in (*reversed(operation.aliases), operation.base) if name not in names]
    return [name for name in names if any(_belongs(path, name) for path in paths)]


def randomize_top_layers(
    params: PyTree,
    names: Sequence[str],
    key: RandomKey,
    *,
    mode: str = "cascading",
    draw: str = "normal",
) -> dict[str, PyTree]:
    """Returns parameters with layers randomised, by the name of the layer: the first alone, then with the second, ...

    Arrays that are not randomised are shared, not copied. Integers stay as they are.

    Args:
        params: a pytree.
        names: of layers from the top, the one next to the output first, as `layers_from_top` gives them.
        key: of the draws; a layer's own are the same whatever the others.
        mode: "cascading": each layer with all before it; "independent": each alone.
        draw: "normal": with mean and deviation of the array, entry by entry; "permutation": its own entries in another
            order. An array of equal entries, as biases begin with, stays as it is in either. One without negative
            entries, such as the variances of batch normalisation, is permuted in either: a negative variance is none.

    Raises:
        ValueError: a name of no layer, or twice; an unknown option.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> params = {"first": jnp.arange(4.0), "last": jnp.arange(3.0)}
        >>> changed = evaluation.randomize_top_layers(params, ["last", "first"], jax.random.key(0))
        >>> bool((changed["last"]["first"] == params["first"]).all()), list(changed)
        (True, ['last', 'first'])
    """
    scoring.check_one_of("mode", mode, MODES)
    scoring.check_one_of("draw", draw, DRAWS)
    key = scoring.one_key(key, "layers are drawn")
    parameters = Parameters.of(params)
    if isinstance(names, str) or not names or len(set(names)) != len(names):
        raise ValueError(f"names={names!r}: expected names of layers, each once")
    for name in names:
        if not any(_belongs(path, name) for path in parameters.paths):
            raise ValueError(f"names has {name!r}, which is no layer; there are {', '.join(_layers(parameters))}")
    results, arrays = {}, parameters.arrays
    for name in names:
        start = arrays if mode == "cascading" else parameters.arrays
        own = jax.random.fold_in(key, zlib.crc32(name.encode()))
        arrays = [
            _random(array, jax.random.fold_in(own, place), draw) if _belongs(path, name) else array
            for place, (array, path) in enumerate(zip(start, parameters.paths, strict=True))
        ]
        results[name] = parameters.structure.with_arrays(arrays)
    return results


class Randomization(NamedTuple):
    """Maps after randomising beside those before; all `[layers, samples]`. Lower is better: the map has changed.

    Attributes:
        names: of the layers, in order.
        rank_correlation, correlation: Spearman's and Pearson's, from -1 to 1; NaN of a constant map.
    """

    names: tuple[str, ...]
    rank_correlation: Float[Array, "layers samples"]
    correlation: Float[Array, "layers samples"]


def randomization_check(
    explain: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    names: Sequence[str],
    key: RandomKey,
    *,
    mode: str = "cascading",
    draw: str = "normal",
    absolute: bool = True,
) -> Randomization:
    """Returns how alike maps are before and after layers are randomised, layer by layer.

    Args:
        explain: `explain(params, x) -> relevance`, `[batch, ...]`, called as it is: wrap it in `jax.jit` to compile
            it once for all layers. Choose the target by the clean parameters: an "argmax" would be another one.
        params, names, key, mode, draw: as for `randomize_top_layers`.
        x: inputs.
        absolute: compare magnitudes; signs alone can make maps look different.

    Raises:
        ValueError: as `randomize_top_layers`; explanations that are not finite.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> params, x = {"w": jnp.arange(6.0)}, jnp.ones((1, 6))
        >>> check = evaluation.randomization_check(lambda p, x: x * p["w"], params, x, ["w"], jax.random.key(0))
        >>> check.names, check.rank_correlation.shape
        (('w',), (1, 1))
    """
    clean = of_samples(explain(params, x), x)
    changed = randomize_top_layers(params, names, key, mode=mode, draw=draw)
    others = [of_samples(explain(one, x), x) for one in changed.values()]
    if absolute:
        clean, others = jnp.abs(clean), [jnp.abs(one) for one in others]
    return Randomization(
        tuple(names),
        jnp.stack([rank_correlation(clean, one) for one in others]),
        jnp.stack([map_correlation(clean, one) for one in others]),
    )


def map_correlation(
    one: Real[AnyArray, " batch *shape"], other: Real[AnyArray, " batch *shape"]
) -> Float[Array, " batch"]:
    """Returns Pearson's correlation of two maps of each sample, `[batch]`, from -1 to 1; NaN where one is constant.

    Raises:
        ValueError: unequal shapes, NaN or infinite values.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> round(float(evaluation.map_correlation(jnp.array([[1.0, 2.0, 4.0]]), jnp.array([[3.0, 2.0, 0.0]]))[0]), 5)
        -1.0
    """
    return _pearson(*_pair(one, other))


def rank_correlation(
    one: Real[AnyArray, " batch *shape"], other: Real[AnyArray, " batch *shape"]
) -> Float[Array, " batch"]:
    """Returns Spearman's rank correlation of two maps of each sample, `[batch]`, from -1 to 1; NaN of a constant one.

    Equal entries share the mean of their ranks.

    Raises:
        ValueError: unequal shapes, NaN or infinite values.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels.attribution import evaluation
        >>> round(float(evaluation.rank_correlation(jnp.array([[1.0, 2.0, 9.0]]), jnp.array([[3.0, 5.0, 6.0]]))[0]), 5)
        1.0
    """
    return _pearson(*(_mean_ranks(maps) for maps in _pair(one, other)))


def _pair(one, other):
    maps = scoring.as_maps("the first map", one), scoring.as_maps("the second map", other)
    if maps[0].shape != maps[1].shape:
        raise ValueError(f"maps of shapes {maps[0].shape} and {maps[1].shape}: expected the same")
    return (part.reshape(len(part), -1) for part in maps)


def _pearson(one, other):
    one, other = (part - jnp.mean(part, axis=-1, keepdims=True) for part in (one, other))
    # Each by its own length: a product of two squares can underflow.
    one, other = (part / jnp.sqrt(jnp.sum(part * part, axis=-1, keepdims=True)) for part in (one, other))
    return jnp.clip(jnp.sum(one * other, axis=-1), -1, 1)


def _mean_ranks(maps):
    """Ranks from 0, centred so that they are exact in few digits; the mean of those of equal entries."""
    in_order = jnp.sort(maps, axis=-1)
    below = jax.vmap(lambda row, values: jnp.searchsorted(row, values, side="left"))(in_order, maps)
    up_to = jax.vmap(lambda row, values: jnp.searchsorted(row, values, side="right"))(in_order, maps)
    return ((below + up_to) - maps.shape[-1]).astype(maps.dtype) / (2 * maps.shape[-1])


def _belongs(path: str, name: str) -> bool:
    return path == name or path.startswith(name + "/")


def _layers(parameters: Parameters) -> list[str]:
    return list(dict.fromkeys(path.rpartition("/")[0] or path for path in parameters.paths))


def _random(array, key, draw: str):
    array = jnp.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if draw == "permutation":
        return jax.random.permutation(key, array.reshape(-1)).reshape(array.shape)
    wide = array.astype(jnp.result_type(array.dtype, jnp.float32))
    noise = jax.random.normal(key, array.shape, wide.dtype)
    drawn = (jnp.mean(wide) + jnp.std(wide) * noise).astype(array.dtype)
    permuted = jax.random.permutation(key, array.reshape(-1)).reshape(array.shape)
    return jnp.where(jnp.all(array >= 0), permuted, drawn)
