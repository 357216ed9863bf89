"""What a named layer has to do with the output: Grad-CAM, conductance, influence.

Grad-CAM and its guided form are of Selvaraju et al. (ICCV 2017, arXiv:1610.02391), conductance of Dhamdhere,
Sundararajan and Yan (ICLR 2019, arXiv:1805.12233), internal influence of Leino et al. (ITC 2018, arXiv:1802.03788).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...array_types import AnyArray, Array, Count, Float, Real
from .. import composites
from ..arguments import PyTree, as_array
from ..backward import backward
from ..conditions import channel_axis
from ..engine import attribute, forward, read
from ..places import find
from ..target import Target, marked
from ..tracing.operations import Program
from . import repeated
from .gradients import _baseline, _check_counts, _checked, _point, _prepare, _quadrature
from .repeated import Explainer, weights

METHODS = ("nearest", "linear", "cubic")


def grad_cam(
    fn: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    *,
    target: Target = None,
    at: str,
    relu: bool = True,
    size: Sequence[int] | None = None,
    method: str = "linear",
) -> tuple[PyTree, Float[Array, " batch *size"]]:
    """Returns the outputs, and where the layer's channels speak for the explained outputs: a map without channels.

    The activations of the layer, summed over channels with their mean gradients over all positions as weights.

    Args:
        fn: `fn(params, x)` -> outputs `[batch, classes]`; params: its parameters, a pytree.
        x: one array `[batch, ...]`.
        target: as for `gradient`.
        at: name of the layer, as for `attribute`: its output, with a norm that is folded into it; the output of its
            activation has a name of its own, see `describe`.
        relu: cut off what speaks against them, as in the paper.
        size: of the map. None: that of the positions of `x` where it has as many axes of these as the layer has, else
            that of the layer.
        method: "nearest", "linear" or "cubic", by which the map is resized.

    Raises:
        ValueError: as `gradient`; an unknown layer, or one whose channels cannot be told from its positions.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn = lambda w, x: jnp.mean((x @ w["a"]["kernel"]) ** 2, 1)
        >>> w, x = {"a": {"kernel": jnp.eye(2)}}, jnp.array([[[1.0, 0.0], [2.0, 0.0]]])  # two positions
        >>> y, cam = attribution.grad_cam(fn, w, x, target=0, at="a")
        >>> cam.tolist()  # activations 1 and 2, mean gradient 1.5
        [[1.5, 3.0]]
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: expected one of {', '.join(METHODS)}.")
    explain, arrays, y, target = _prepare(fn, params, x, target)
    x = as_array(x)
    axis, input_axis = _channel_axes(explain, arrays, x, at)
    activation, slope = _layer(explain, at, arrays, x, target)
    cam = _cam(activation, slope, axis, relu)
    if size is None:
        places = [n for place, n in enumerate(x.shape) if place not in (0, input_axis)]
        size = places if input_axis is not None and len(places) == cam.ndim - 1 else cam.shape[1:]
    if len(size) != cam.ndim - 1:
        raise ValueError(f"size={tuple(size)}: expected {cam.ndim - 1} lengths, for a layer of shape {cam.shape[1:]}.")
    if tuple(size) != cam.shape[1:]:
        cam = jax.image.resize(cam, (cam.shape[0], *size), method)
    return y, _checked(params, cam)


def guided_grad_cam(
    fn: Callable,
    params: PyTree,
    x: Real[AnyArray, " batch *shape"],
    *,
    target: Target = None,
    at: str,
    method: str = "linear",
) -> tuple[PyTree, Float[Array, " batch *shape"]]:
    """Returns the outputs, and guided backpropagation to `x` times the map of `grad_cam` at a layer.

    Args, Raises: as for `grad_cam`; a layer with as many axes of positions as `x`.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn = lambda w, x: jnp.mean(jax.nn.relu(x @ w["a"]["kernel"]) ** 2, 1)
        >>> w, x = {"a": {"kernel": jnp.eye(2)}}, jnp.array([[[1.0, 0.0], [2.0, 0.0]]])
        >>> y, share = attribution.guided_grad_cam(fn, w, x, target=0, at="a")
        >>> share[0, :, 0].tolist()  # gradients 1 and 2 times the map
        [1.5, 6.0]
    """
    y, cam = grad_cam(fn, params, x, target=target, at=at, method=method)
    explain, arrays, _, classes = _prepare(fn, params, x, target)
    x = as_array(x)
    _, axis = _channel_axes(explain, arrays, x, at)
    positions = [n for place, n in enumerate(x.shape) if place not in (0, axis)]
    if axis is None or list(cam.shape[1:]) != positions:
        raise ValueError(
            f"the map of {at!r} has shape {cam.shape[1:]} and x {x.shape}: expected a layer with the positions of x."
        )
    start = weights(jnp.asarray(y), explain.target or classes, explain.one_value)
    guided = attribute(fn, params, x, target=start, rules=composites.guided_backprop())[1]
    return y, _checked(params, guided * jnp.expand_dims(cam, axis).astype(guided.dtype))


def layer_conductance(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    *,
    target: Target = None,
    at: str,
    baseline: PyTree | Callable = None,
    n: Count = 20,
    at_once: Count = 1,
) -> tuple[PyTree, Float[Array, " batch ..."]]:
    """Returns the outputs, and how much of their rise from a baseline goes through each unit of a layer.

    On the line from the baseline to `x`, the sum over steps of what the unit rises by times the gradient in the middle
    of the step. Over all units it is the rise of the output, for the exact integral and a layer that all goes through.

    Args:
        fn, params, x, target, baseline, at_once: as for `integrated_gradients`.
        at: name of the layer, as for `attribute`.
        n: steps.

    Raises:
        ValueError: as `integrated_gradients`; an unknown layer.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn = lambda w, x: jnp.sum((x @ w["a"]["kernel"]) ** 2, -1, keepdims=True)
        >>> w = {"a": {"kernel": jnp.eye(2)}}
        >>> y, share = attribution.layer_conductance(fn, w, jnp.ones((1, 2)), target=0, at="a")
        >>> [round(float(part), 3) for part in share[0]]
        [1.0, 1.0]
    """
    return _along(_Conductance(at), fn, params, x, target, baseline, n, at_once)


def internal_influence(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    *,
    target: Target = None,
    at: str,
    baseline: PyTree | Callable = None,
    n: Count = 20,
    at_once: Count = 1,
) -> tuple[PyTree, Float[Array, " batch ..."]]:
    """Returns the outputs, and their mean gradient in a layer on the line from a baseline to `x`, amid each of n steps.

    Args, Raises: as for `layer_conductance`.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn = lambda w, x: jnp.sum((x @ w["a"]["kernel"]) ** 2, -1, keepdims=True)
        >>> w = {"a": {"kernel": jnp.eye(2)}}
        >>> y, mean = attribution.internal_influence(fn, w, jnp.ones((1, 2)), target=0, at="a")
        >>> [round(float(part), 3) for part in mean[0]]
        [1.0, 1.0]
    """
    return _along(_Influence(at), fn, params, x, target, baseline, n, at_once)


def _along(step, fn, params, x, target, baseline, n, at_once):
    """The sum of a step's results over the line to `x`."""
    _check_counts(n=n, at_once=at_once)
    explain, arrays, y, target = _prepare(fn, params, x, target)
    x = jax.tree.map(as_array, x)
    origin = _baseline(baseline, x)
    places, _ = _quadrature("midpoint", n)
    operands = {"origin": origin, "difference": jax.tree.map(jnp.subtract, x, origin), "places": places}
    program, _ = _program(explain, arrays, x)
    value = find(program, step.at)
    like = jax.ShapeDtypeStruct(value.shape, value.dtype)
    total = repeated.total(explain, step, arrays, target, operands, n, at_once, like)
    return y, _checked(params, total)


@dataclasses.dataclass(frozen=True)
class _Influence:
    """One point's share of the mean gradient at a layer; static under jit."""

    at: str

    def __call__(self, explain, params, target, operands, index):
        x = _point(operands, operands["places"][index])
        return _layer_at(explain, self.at, params, x, target)[1] / len(operands["places"])


@dataclasses.dataclass(frozen=True)
class _Conductance:
    """One step's conductance of a layer; static under jit."""

    at: str

    def __call__(self, explain, params, target, operands, index):
        places = operands["places"]
        before, middle, behind = (_point(operands, places[index] + k / (2 * len(places))) for k in (-1, 0, 1))
        low, high = (
            _layer_at(explain, self.at, params, point, target, only_value=True)[0] for point in (before, behind)
        )
        return _layer_at(explain, self.at, params, middle, target)[1] * (high - low)


def _program(explain: Explainer, arrays, x) -> tuple[Program, list]:
    return read(explain.fn, explain.structure.with_arrays(arrays), x), [*arrays, *jax.tree.leaves(x)]


def _layer_at(explain: Explainer, at: str, arrays, x, target, only_value: bool = False) -> tuple[jax.Array, Any]:
    """A layer's output, and the gradient of the explained outputs in it."""
    program, leaves = _program(explain, arrays, x)
    values = forward(program, leaves)
    value = find(program, at)
    if only_value:
        return values[value], None
    start = weights(values[program.output], explain.target or target, explain.one_value)
    slope = backward(program, composites.gradient(), values, start).get(value)
    slope = jnp.zeros(value.shape, value.dtype) if slope is None else slope.astype(value.dtype)
    by_sample = program.facts.depends[program.output].batch_axis == 0
    return values[value], marked(slope, start, by_sample)


_layer = functools.partial(jax.jit, static_argnums=(0, 1))(_layer_at)


def _channel_axes(explain: Explainer, arrays, x, at: str) -> tuple[int, int | None]:
    """The axis of channels of a layer, and that of `x`."""
    program, _ = _program(explain, arrays, x)
    value = find(program, at)
    axis = channel_axis(program, value)
    if axis is None or len(value.shape) < 3:
        raise ValueError(
            f"at={at!r} has shape {value.shape}: expected a layer with samples, positions and channels, and channels "
            "on an axis that can be told."
        )
    return axis, channel_axis(program, program.graph.inputs[len(arrays)])


@functools.partial(jax.jit, static_argnums=(2, 3))
def _cam(activation, slope, axis: int, relu: bool) -> jax.Array:
    positions = tuple(place for place in range(1, slope.ndim) if place != axis)
    cam = jnp.sum(activation * jnp.mean(slope, positions, keepdims=True), axis)
    return jnp.maximum(cam, 0) if relu else cam
