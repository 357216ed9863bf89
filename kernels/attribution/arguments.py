"""Parameters as they come: arrays, which are traced, among other leaves, which are not; and the names of the arrays.

An Equinox module has functions and numbers among its leaves, an NNX state has its arrays in variables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any  # an array, or arrays in lists, dictionaries, modules


class Same:
    """Stands for an object without a hash; equal to itself alone."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return id(self.value)

    def __eq__(self, other):
        return isinstance(other, Same) and other.value is self.value


def hashable(value):
    """Returns what can be hashed: the value, or what stands for it."""
    try:
        hash(value)
    except TypeError:
        return Same(value)
    return value


@dataclasses.dataclass(frozen=True)
class Structure:
    """A pytree without its arrays; can be hashed.

    Attributes:
        others: the leaves that are no arrays, in the places of all leaves.
    """

    others: tuple
    tree: Any

    def with_arrays(self, arrays: Sequence) -> Any:
        """Returns the pytree with these arrays."""
        rest = iter(arrays)
        others = (leaf.value if isinstance(leaf, Same) else leaf for leaf in self.others)
        return self.tree.unflatten(next(rest) if leaf is _Hole else leaf for leaf in others)


@dataclasses.dataclass(frozen=True)
class Parameters:
    """A pytree whose leaves are arrays in part.

    Attributes:
        arrays: of these leaves, in order. paths: "layer/parameter" of each.
        structure: the rest.
    """

    arrays: list
    paths: list[str]
    structure: Structure

    @classmethod
    def of(cls, tree: Any) -> Parameters:
        """Takes a pytree apart."""
        paths, leaves = [], []
        for path, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_variable)[0]:
            own = jax.tree.leaves(node)
            paths += [layer_path(path)] * len(own)
            leaves += own
        is_array = [_is_array(leaf) for leaf in leaves]
        others = tuple(_Hole if array else hashable(leaf) for leaf, array in zip(leaves, is_array, strict=True))
        return cls(
            [leaf for leaf, array in zip(leaves, is_array, strict=True) if array],
            [path for path, array in zip(paths, is_array, strict=True) if array],
            Structure(others, jax.tree.structure(tree)),
        )


class _Hole:
    """Stands where an array was."""


def _is_array(leaf) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _is_variable(node) -> bool:
    """Whether a node is a variable of Flax NNX: a box around one array, that has no name of its own."""
    return hasattr(type(node), "raw_value") or hasattr(type(node), "get_raw_value")


def layer_path(path: Sequence) -> str:
    """Returns "layer/parameter" of a leaf's path, without what containers add to it."""
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
    if parts and parts[0] in ("params", "batch_stats") and len(parts) > 1:
        parts = parts[1:]
    return "/".join(parts)


def check_examples(x: Any) -> None:
    """Raises ValueError unless x has arrays of floating-point numbers or integers; concrete ones must be finite."""
    leaves = jax.tree_util.tree_flatten_with_path(x)[0]
    for path, leaf in leaves:
        name = f"x{jax.tree_util.keystr(path)}"
        if not _is_array(leaf) and not isinstance(leaf, (int, float, complex)):
            raise ValueError(
                f"{name} is {type(leaf).__name__}; expected arrays: other things belong to params or to fn."
            )
        check_not_empty(name, leaf)
        if isinstance(leaf, jax.core.Tracer) or not is_floating(leaf) or not hasattr(leaf, "__array__"):
            continue
        if not np.isfinite(np.asarray(leaf, np.float64)).all():  # NumPy: inside a jit jax.numpy would be traced
            raise ValueError(f"{name} has NaN or infinite values; relevance of it would be NaN everywhere.")
    dtypes = [jnp.result_type(leaf) for _, leaf in leaves]
    if not any(jax.dtypes.issubdtype(dtype, kind) for dtype in dtypes for kind in (np.floating, np.integer)):
        raise ValueError(
            f"x has no array of floating-point numbers or tokens ({', '.join(map(str, dtypes)) or 'no array at all'}): "
            "relevance goes to such arrays only. Convert it first."
        )


def check_not_empty(name: str, leaf: Any) -> None:
    """Raises ValueError for an array without entries, as of a batch without samples."""
    if np.size(leaf) == 0 if not _is_array(leaf) else 0 in leaf.shape:
        raise ValueError(f"{name} has shape {np.shape(leaf)}: it is empty; expected at least one sample.")


def of_tokens(*dtypes) -> str:
    """What to do about inputs of these dtypes, for messages."""
    if any(jax.dtypes.issubdtype(dtype, np.integer) for dtype in dtypes):
        return (
            "Convert counts and pixels to floats. Tokens are explained where they are embedded: pass the embedded "
            "tokens, params['embedding'][tokens], as x, to a fn that begins behind the embedding; sum relevance over "
            "features for that of a token."
        )
    return "Convert it first."


def is_floating(leaf) -> bool:
    """Whether a leaf holds floating-point numbers."""
    dtype = leaf.dtype if _is_array(leaf) else np.result_type(leaf)
    return bool(jax.dtypes.issubdtype(dtype, np.floating))


def as_array(leaf):
    """Returns a leaf as an array of JAX; keys of random numbers as they are."""
    if _is_array(leaf) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf
    return jnp.asarray(leaf)


def not_relevant(leaf) -> jax.Array:
    """Returns the relevance of an array that can have none: zeros."""
    return jnp.zeros(jnp.shape(leaf), leaf.dtype if _is_array(leaf) and is_floating(leaf) else jnp.float32)


def plain(fn: Callable) -> Callable:
    """Returns the function inside of a jax.jit, which keeps what it traced for speed."""
    return fn.__wrapped__ if hasattr(fn, "lower") and hasattr(fn, "__wrapped__") else fn
