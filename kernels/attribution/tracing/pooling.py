"""Maximum pooling from another number than -inf, where that number makes no difference.

`lax.reduce_window(x, 0.0, lax.max, ...)` behind a ReLU, and from `jnp.finfo(dtype).min` anywhere, is a maximum over
windows; JAX has a primitive for it that starts from -inf alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import lax

from .activations import number_of
from .jaxpr import Equation, Graph, Value, written
from .signs import UNKNOWN

_COMPUTATIONS = {"max": (lax.max, -1), "min": (lax.min, 1)}


def pooled_from_identity(
    graph: Graph, equation: Equation, producer: Mapping[Value, Equation], signs: Mapping[Value, frozenset[int]]
) -> list[Equation] | None:
    """Returns a maximum (or minimum) over windows for a `reduce_window` that is one; None for another equation.

    Args:
        signs: what is certain of the sign of each value, see `signs`.
    """
    if equation.primitive != "reduce_window" or len(equation.inputs) != 2:
        return None
    body = equation.params["jaxpr"]
    body = getattr(body, "jaxpr", body)
    names = [inner.primitive.name for inner in body.eqns]
    if len(names) != 1 or names[0] not in _COMPUTATIONS or set(body.eqns[0].invars) != set(body.invars):
        return None
    data, start = equation.inputs
    number = number_of(start, graph.constants, producer)
    if number is None or not jnp.issubdtype(data.dtype, jnp.floating) or not _holds_data(equation):
        return None
    function, end = _COMPUTATIONS[names[0]]
    is_beyond = number * end >= float(jnp.finfo(data.dtype).max)  # as far as numbers go
    if not is_beyond and not (number == 0 and -end in signs.get(data, UNKNOWN)):
        return None
    keys = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    options = {key: equation.params[key] for key in keys}
    return written(graph, lambda x: lax.reduce_window(x, np.array(end * np.inf, x.dtype), function, **options), [data],
                   equation)  # fmt: skip


def _holds_data(equation: Equation) -> bool:
    """Whether each window has an entry of the data in it, and not padding alone."""
    params = equation.params
    if not set(params["base_dilation"]) | set(params["window_dilation"]) <= {1}:
        return False
    sides = zip(
        equation.inputs[0].shape, equation.outputs[0].shape, params["window_dimensions"], params["window_strides"],
        params["padding"], strict=True,
    )  # fmt: skip
    for size, count, window, stride, (low, _) in sides:
        firsts = np.arange(count) * stride - low
        if not np.all((firsts < size) & (firsts + window > 0)):
            return False
    return True
