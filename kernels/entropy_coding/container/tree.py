"""A pytree of arrays as a flat list of (path, leaf) and back, without pickling and without JAX on the way in.

A path is a tuple of elements: ("key", str or int) for a dict, ("list", index), ("tuple", index), ("name", str) for the
attributes of other registered pytree nodes, which come back as dicts. Empty containers and None are leaves of their
own.
"""

import dataclasses
import sys
from typing import Any

import numpy as np

from ...array_types import ArrayLike, DTypeLike
from ...scalars import whole

EMPTY: dict[str, Any] = {"none": None, "dict": {}, "list": [], "tuple": ()}


@dataclasses.dataclass(frozen=True)
class Empty:
    """Stands for None or a container with nothing in it; `kind` is a key of EMPTY."""

    kind: str


@dataclasses.dataclass(frozen=True, eq=False)
class Quantized:
    """A tensor that is already integers on a grid: value = step * q. A leaf for `compress`, and what `decompress`
    returns on request instead of floats.

    Attributes: q, integers of any shape; step, the grid; dtype, of the dequantised tensor; path, None, or for the grid
    integers of `quantize_trellis` any number: small tensors of one number follow one path through the trellis, in the
    order of the tree. Integers that no path allows (any more) are coded as those of a uniform quantiser.
    """

    q: ArrayLike
    step: float
    dtype: DTypeLike = np.dtype(np.float32)
    path: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Codebook:
    """A tensor whose weights share a few values: value = values[label + zero]. A leaf for `compress`, and what
    `decompress` returns on request instead of floats.

    Labels are coded as integers, so rank them: 0 for the commonest value (as a rule 0.0), the other values below and
    above it in their order.

    Attributes: labels, integers of any shape, -zero <= label < len(values) - zero; values, floats [number of values],
    in the dtype of the tensor; zero, the place of label 0 among them, by default that of the value 0.0.
    """

    labels: ArrayLike
    values: ArrayLike
    zero: int = None  # type: ignore[assignment]  # filled in below

    def __post_init__(self):
        values = np.asarray(self.values)
        if self.zero is None:
            zeros = np.flatnonzero(values == 0) if values.ndim == 1 else ()
            if len(zeros) != 1:
                raise ValueError(f"the codebook has {len(zeros)} values of 0.0: say which value label 0 means (zero=)")
            object.__setattr__(self, "zero", int(zeros[0]))
        whole("zero", self.zero, 0, why=", the place of label 0 among the values")

    def weights(self) -> np.ndarray:
        """The tensor itself, in the dtype of the values."""
        return np.asarray(self.values)[np.asarray(self.labels, np.int64) + self.zero]


def flatten(tree) -> list[tuple[tuple, object]]:
    """(path, leaf) in a fixed order: dicts by sorted key, sequences by index. Leaves: arrays, scalars, Quantized,
    Codebook, Empty."""
    leaves: list[tuple[tuple, object]] = []
    _walk(tree, (), leaves)
    return leaves


def named_leaves(tree) -> dict[str, object]:
    """Leaves by name, empty containers left out."""
    return {path_name(path): leaf for path, leaf in flatten(tree) if not isinstance(leaf, Empty)}


def _walk(node, path, leaves):
    if len(path) > 64:
        raise ValueError("the tree is deeper than 64 levels (or contains itself)")
    if isinstance(node, dict):
        children = [(("key", key), node[key]) for key in sorted(node, key=lambda key: (isinstance(key, str), key))]
        for _, key in (element for element, _ in children):
            if type(key) not in (str, int) or (type(key) is int and not 0 <= key < 2**63):
                raise TypeError(f"dict key {key!r} under {path_name(path)!r} is neither a string nor a natural number")
        empty = "dict"
    elif isinstance(node, list):
        children, empty = [(("list", i), child) for i, child in enumerate(node)], "list"
    elif type(node) is tuple:
        children, empty = [(("tuple", i), child) for i, child in enumerate(node)], "tuple"
    elif node is None:
        children, empty = [], "none"
    elif isinstance(node, (Quantized, Codebook, Empty)) or hasattr(node, "__array__") or np.isscalar(node):
        leaves.append((path, node))
        return
    else:
        children, empty = _registered_children(node, path), "dict"
    if not children:
        leaves.append((path, Empty(empty)))
    for element, child in children:
        _walk(child, (*path, element), leaves)


def _registered_children(node, path):
    """One level of a node that JAX or a library of the caller's has registered as a pytree (a state, a named tuple)."""
    if "jax" in sys.modules:
        from jax import tree_util

        children = tree_util.tree_flatten_with_path(node, is_leaf=lambda inner: inner is not node)[0]
        if not (len(children) == 1 and children[0][1] is node):
            return [(("name", _entry_name(keys[-1])), child) for keys, child in children]
    raise TypeError(f"{type(node).__name__} at {path_name(path)!r} is neither an array nor a container of arrays")


def _entry_name(entry) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def unflatten(leaves: list[tuple[tuple, object]]):
    """The tree of (path, leaf) pairs; ValueError where they do not form one."""
    if not leaves:
        raise ValueError("a tree has at least one leaf")
    if leaves[0][0] == ():
        if len(leaves) > 1:
            raise ValueError("a leaf at the root leaves no room for others")
        return _leaf(leaves[0][1])
    root: dict = {}
    for path, leaf in leaves:
        node = root
        for element in path[:-1]:
            node = node.setdefault(element, {})
            if not isinstance(node, dict):
                raise ValueError(f"{path_name(path)!r} lies inside a tensor")
        if path[-1] in node:
            raise ValueError(f"{path_name(path)!r} occurs twice")
        node[path[-1]] = (leaf,)  # a tuple, so that a leaf is told from an inner dict
    return _build(root)


def _build(node):
    if isinstance(node, tuple):
        return _leaf(node[0])
    kinds = {kind for kind, _ in node}
    if kinds <= {"key", "name"}:
        container = {key: _build(child) for (_, key), child in node.items()}
        if len(container) != len(node):
            raise ValueError("a name occurs twice in one container")
        return container
    if len(kinds) == 1 and sorted(index for _, index in node) == list(range(len(node))):
        children = [_build(node[next(iter(kinds)), index]) for index in range(len(node))]
        return children if kinds == {"list"} else tuple(children)
    raise ValueError(f"a container mixes kinds or misses an index: {sorted(map(str, node))[:4]}")


def _leaf(leaf):
    if isinstance(leaf, Empty):
        value = EMPTY[leaf.kind]
        return value.copy() if isinstance(value, (dict, list)) else value
    return leaf


def path_name(path) -> str:
    """A path for people and for options: its elements joined by "/"."""
    return "/".join(str(key) for _, key in path)
