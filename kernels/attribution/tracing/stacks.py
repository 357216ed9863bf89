"""Stacks of a few arrays along a new axis that is reduced at once: entry by entry, as written without the stack.

`jnp.max(jnp.stack([h, zeros]), 0)` is max(h, 0). `jnp.select` and `jnp.piecewise` stack their conditions and take the
place of the first that holds: a choice of choices.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import lax

from .jaxpr import Equation, Graph, Value, written

_MOST = 8  # arrays in a stack
_EXTREMES = {"reduce_max": lax.max, "reduce_min": lax.min}
_PLACES = {"argmax": lax.gt, "argmin": lax.lt}


def reduced_stack(graph: Graph, equation: Equation, producer: Mapping[Value, Equation]) -> list[Equation] | None:
    """Returns equations that do to the arrays of a stack what one does to the stack; None for another equation."""
    name, params = equation.primitive, equation.params
    along = (params.get("axis"),) if name == "cumsum" else tuple(params.get("axes", ()))
    if name not in (*_EXTREMES, *_PLACES, "cumsum") or len(along) != 1:
        return None
    arrays = _arrays(equation.inputs[0], along[0], producer)
    if arrays is None or not 2 <= len(arrays) <= _MOST:
        return None
    shape, dtype = list(equation.inputs[0].shape), equation.inputs[0].dtype
    del shape[along[0]]
    active = {array for array in arrays if array.active}
    if name in _EXTREMES:
        # Of three equal entries two would get a quarter each.
        function = functools.partial(functools.reduce, _EXTREMES[name]) if 1 <= len(active) <= 2 else None
    elif active or not (dtype == np.bool_ or jnp.issubdtype(dtype, jnp.integer)):
        function = None
    elif name in _PLACES:
        function = functools.partial(_place, _PLACES[name], equation.outputs[0].dtype)
    else:
        function = None if params["reverse"] else functools.partial(_running_sums, along[0])
    if function is None:
        return None
    return written(graph, lambda *arrays: function([a.reshape(shape).astype(dtype) for a in arrays]), arrays, equation)


def _arrays(value: Value, axis: int, producer: Mapping[Value, Equation]) -> list[Value] | None:
    """The arrays that a value is a stack of along an axis, perhaps cast."""
    source = producer.get(value)
    while source is not None and source.primitive in ("convert_element_type", "copy"):
        # A cast to fewer values could make entries equal.
        if source.primitive != "copy" and source.inputs[0].dtype != np.bool_:
            return None
        source = producer.get(source.inputs[0])
    if source is None:
        return None
    if source.primitive == "stack" and source.params["axis"] == axis:
        return list(source.inputs)
    if source.primitive == "concatenate" and source.params["dimension"] == axis:
        fits = all(array.shape[axis] == 1 for array in source.inputs)
        return [_without_axis(array, axis, producer) for array in source.inputs] if fits else None
    return None


def _without_axis(array: Value, axis: int, producer: Mapping[Value, Equation]) -> Value:
    """The array that an axis of length one was put into, the array itself where there was none."""
    source = producer.get(array)
    if source is None or source.primitive not in ("reshape", "broadcast_in_dim") or len(source.inputs) != 1:
        return array
    others = tuple(number for number in range(len(array.shape)) if number != axis)
    if source.inputs[0].shape != tuple(array.shape[number] for number in others):
        return array
    in_order = source.primitive == "reshape" or tuple(source.params["broadcast_dimensions"]) == others
    return source.inputs[0] if in_order else array


def _place(beats, dtype, arrays):
    """The number of the first of the extreme entries."""
    best, place = arrays[0], jnp.zeros(arrays[0].shape, dtype)
    for number, array in enumerate(arrays[1:], 1):
        wins = beats(array, best)
        best = lax.select_n(wins, best, array)
        place = lax.select_n(wins, place, jnp.full(array.shape, number, dtype))
    return place


def _running_sums(axis, arrays):
    sums = [arrays[0]]
    for array in arrays[1:]:
        sums.append(sums[-1] + array)
    return lax.concatenate([jnp.expand_dims(array, axis) for array in sums], axis)
