"""A module's weights as a nested dict of NumPy arrays, and back with every name and shape checked.

The tree is what files hold and what compression works on: {"fc1": {"kernel": ..., "bias": ...}, ...}, parameters and
running statistics together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.models import layers

STORED = (nnx.Param, nnx.BatchStat)


def to_tree(module: nnx.Module) -> dict:
    """Returns parameters and running statistics of `module` as nested dicts of NumPy arrays."""
    flat = {path: np.asarray(variable[...]) for path, variable in _variables(module).items()}
    return _nest(flat)


def from_tree(module: nnx.Module, tree: Mapping) -> nnx.Module:
    """Puts the arrays of `tree` into `module`, cast to the dtypes that are there, and returns the module.

    Args:
      module: any module; changed in place, and only when the whole tree fits.
      tree: nested dicts of arrays (NumPy or JAX, also bfloat16), as `to_tree` returns them.

    Raises:
      ValueError: for a missing or unexpected name, another shape, values that are not numbers, or a running variance
        below zero; the message has the path, what was expected and what was found.
    """
    variables = _variables(module)
    arrays = {path: np.asarray(value) for path, value in _flatten(tree).items()}
    absent = [_name(path) for path in variables if path not in arrays]
    unexpected = [_name(path) for path in arrays if path not in variables]
    if absent or unexpected:
        raise ValueError(
            f"the weights do not fit {type(module).__name__}: missing {_listed(absent)}; unexpected "
            f"{_listed(unexpected)}. Is it another network, or another --width?"
        )
    for path, variable in variables.items():
        _check(path, arrays[path], variable)
    for path, variable in variables.items():
        variable[...] = jnp.asarray(arrays[path], variable[...].dtype)
    return module


def apply_function(module: nnx.Module, method: str = "__call__") -> Callable[[Mapping, jax.Array], jax.Array]:
    """Returns `apply(tree, images)`: the evaluation-mode outputs of the network of `module` with the weights `tree`.

    A pure function of both, so that one compilation serves any number of weight sets. `module` is not changed.
    With `method` it is another function of the module than the whole network, of one array too.
    """
    module = nnx.clone(module)
    module.eval()
    graph, state = nnx.split(module)
    paths = set(_variables(module))

    def apply(tree: Mapping, images: jax.Array) -> jax.Array:
        arrays = _flatten(tree)
        if set(arrays) != paths:
            wrong = sorted(_name(path) for path in set(arrays) ^ paths)
            raise ValueError(f"the weights do not fit {type(module).__name__}: missing or unexpected {_listed(wrong)}.")
        leaves = {
            path: variable.replace(arrays.get(path, variable[...])) for path, variable in nnx.to_flat_state(state)
        }
        return getattr(nnx.merge(graph, nnx.from_flat_state(leaves)), method)(images)

    return apply


def weight_layers(module: nnx.Module) -> dict[str, layers.Linear | layers.Conv]:
    """Returns name -> layer for every dense layer and convolution, the name as in a tree of weights: "block0/conv1"."""
    named = {
        _name(path): layer
        for path, layer in nnx.iter_modules(module)
        if isinstance(layer, (layers.Linear, layers.Conv))
    }
    return dict(sorted(named.items()))


def count(tree: Mapping) -> int:
    """Returns how many values a tree of arrays holds."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def _variables(module: nnx.Module) -> dict[tuple, nnx.Variable]:
    return dict(sorted(nnx.to_flat_state(nnx.state(module, STORED)), key=lambda item: _counting_order(item[0])))


def _check(path: tuple, array: np.ndarray, variable: nnx.Variable):
    expected = variable[...].shape
    if array.shape != expected:
        raise ValueError(f"{_name(path)} has shape {list(array.shape)}, the network expects {list(expected)}.")
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise ValueError(f"{_name(path)} has dtype {array.dtype}, expected numbers.")
    if isinstance(variable, nnx.BatchStat) and path[-1] == "var" and array.size and not array.min() >= 0:
        raise ValueError(
            f"{_name(path)} is a running variance and has the value {array.min()}: expected none below zero. "
            "A lossy coder must keep it at zero or above, or store it as it is."
        )


def _flatten(tree: Mapping, prefix: tuple = ()) -> dict[tuple, np.ndarray]:
    flat: dict[tuple, np.ndarray] = {}
    for name, value in tree.items():
        path = (*prefix, name)
        flat.update(_flatten(value, path) if isinstance(value, Mapping) else {path: value})
    return flat


def _nest(flat: Mapping[tuple, np.ndarray]) -> dict:
    tree: dict = {}
    for path, value in flat.items():
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value
    return tree


def _counting_order(path: tuple) -> list:
    """Sorts conv2 before conv10."""
    return [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(name))] for name in path]


def _name(path: tuple) -> str:
    return "/".join(map(str, path))


def _listed(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
