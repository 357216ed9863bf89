"""Affine operations z = f(x; W) + b, with scales and shifts before and after them folded into W and b.

f is one convolution or one product, linear in x and in W. A scale and a shift by channel after it give W s and
b s + t (BatchNorm, for example); before it they give W s and f(t; W), which depends on the position where f pads.
Everything is computed in the arrangement of the core's own arrays; x and z may be arranged in another way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from .axes import Place
from .jaxpr import Equation, Value, applier, as_like, varies_manually
from .layout import undo


@dataclasses.dataclass(frozen=True)
class Step:
    """One equation on the way to or from the core.

    Attributes:
        kind: "add", "subtract", "subtract_from", "multiply", "divide", "negate", "cast" or "layout".
        parts: of the operand in row-major order: length, place in the core's array (None along an axis that is
            flipped), and whether the operand varies along that axis of it.
    """

    equation: Equation
    kind: str
    operand: Value | None = None
    parts: tuple[tuple[int, Place, bool], ...] = ()

    def after(self, scale, shift, values: Mapping, ndim: int):
        """Returns scale and shift of `step(scale * x + shift)`, along the axes of the core's array."""
        if self.kind in ("cast", "layout"):
            return scale, shift
        if self.kind == "negate":
            return -scale, -shift
        operand = self._thin(values[self.operand], ndim)
        return {
            "add": lambda: (scale, shift + operand),
            "subtract": lambda: (scale, shift - operand),
            "subtract_from": lambda: (-scale, operand - shift),
            "multiply": lambda: (scale * operand, shift * operand),
            "divide": lambda: (scale / operand, shift / operand),
        }[self.kind]()

    def _thin(self, array, ndim: int):
        """The operand with the `ndim` axes of the core's array, of size one where it does not vary."""
        array = jnp.asarray(array)
        shape = [1] * ndim
        for size, place, varies in self.parts:
            if varies:
                shape[place.axis] *= size
        if not all(varies for *_, varies in self.parts):
            array = array.reshape([size for size, *_ in self.parts])
            array = array[tuple(slice(None) if varies else 0 for *_, varies in self.parts)]
        parts = [(size, place) for size, place, varies in self.parts if varies]
        order = sorted(range(len(parts)), key=lambda n: (parts[n][1].axis, -parts[n][1].step))
        if order != list(range(len(parts))):
            array = array.reshape([size for size, _ in parts]).transpose(order)
        return array if array.shape == tuple(shape) else array.reshape(shape)


@dataclasses.dataclass(eq=False)
class Affine:
    """The affine operation around one convolution or product.

    Attributes:
        core: its equation.
        position: which operand of it relevance goes to.
        before, after: steps folded into it, in execution order.
    """

    core: Equation
    position: int
    before: list[Step] = dataclasses.field(default_factory=list)
    after: list[Step] = dataclasses.field(default_factory=list)

    @property
    def data(self) -> Value:
        """The operand of the core that relevance goes to."""
        return self.core.inputs[self.position]

    @property
    def weight(self) -> Value:
        """The other operand of the core."""
        return self.core.inputs[1 - self.position]

    @property
    def dtype(self):
        """In which it is computed: that of the result, or float32 where that is a half precision."""
        dtype = self.core.outputs[0].dtype
        return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits == 16 else dtype

    def linear(self, x: jax.Array, weight: jax.Array) -> jax.Array:
        """Returns f(x; W) in `dtype`."""
        x, weight = x.astype(self.dtype), weight.astype(self.dtype)
        apply = self.core.apply
        preferred = self.core.params.get("preferred_element_type")
        if preferred is not None and preferred != self.dtype:
            apply = applier(self.core.original, **self.core.changes, preferred_element_type=self.dtype)
        return apply(*((x, weight) if self.position == 0 else (weight, x)))[0]

    def transposed(self, relevance: jax.Array, weight: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Returns fT(s; W), the vector-Jacobian product of f in x, for an x of `shape`."""
        like = _like(shape, self.dtype, relevance)
        (result,) = jax.linear_transpose(lambda x: self.linear(x, weight), like)(relevance.astype(self.dtype))
        return result

    def enter(self, x: jax.Array) -> jax.Array:
        """Returns the operation's input in the arrangement of the core's data."""
        for step in self.before:
            if step.kind == "layout":
                x = step.equation.apply(x)[0]
        return x

    def leave(self, relevance: jax.Array) -> jax.Array:
        """Returns relevance of the core's data in the arrangement of the operation's input."""
        for step in reversed(self.before):
            if step.kind == "layout":
                relevance = undo(step.equation, relevance)
        return relevance

    def returned(self, array: jax.Array) -> jax.Array:
        """Returns what is arranged like the operation's output in the arrangement of the core's."""
        for step in reversed(self.after):
            if step.kind == "layout":
                array = undo(step.equation, array)
        return array

    def output_axes(self) -> dict[int, int]:
        """Axes of the output that an axis of the weight runs along."""
        return _axes(self.core, self.position)[0]

    def data_axes(self) -> dict[int, int]:
        """Axes of the data that an axis of the weight runs along; grouped convolutions have the channel axis too."""
        return _axes(self.core, self.position)[1]

    def parameters(self, values: Mapping) -> tuple[jax.Array, jax.Array | None]:
        """Returns the folded W and b; b broadcasts against the core's output and is None without any shift."""
        weight = values[self.weight]
        weight = weight if weight.dtype == self.dtype else weight.astype(self.dtype)
        ndim = len(self.core.outputs[0].shape)
        scale: jax.Array | float = 1.0
        shift: jax.Array | float = 0.0
        for step in self.after:
            scale, shift = step.after(scale, shift, values, ndim)
        if not _is_number(scale):
            weight = weight * _along(scale, self.output_axes(), weight.ndim)
        elif scale != 1.0:
            weight = weight * scale
        if self.before:
            data = self.data
            scale_in, shift_in = 1.0, 0.0
            for step in self.before:
                scale_in, shift_in = step.after(scale_in, shift_in, values, len(data.shape))
            if not _is_number(shift_in):
                # One sample of the shifts, through the folded output scale but not the input scale.
                sample = jnp.broadcast_to(shift_in, self.sample_shape(data.shape))
                shift = shift + self.linear(as_like(sample, weight), weight)
            if not _is_number(scale_in):
                weight = weight * self._on_input(scale_in, weight)
            elif scale_in != 1.0:
                weight = weight * scale_in
        return weight, None if _is_number(shift) else jnp.asarray(shift, self.dtype)

    def _on_input(self, scale, weight):
        groups = self.core.params.get("feature_group_count", 1)
        if groups == 1 or jnp.size(scale) == 1:
            return _along(scale, self.data_axes(), weight.ndim)
        out_axis, in_axis, *_ = self.core.params["dimension_numbers"].rhs_spec
        by_output = jnp.repeat(scale.reshape(groups, -1), weight.shape[out_axis] // groups, axis=0)
        shape = [1] * weight.ndim
        shape[out_axis], shape[in_axis] = by_output.shape
        return (by_output if out_axis < in_axis else by_output.T).reshape(shape)

    def has_one_group(self) -> bool:
        """Whether the core is a convolution of which every output sees every channel."""
        params = self.core.params
        if self.core.primitive != "conv_general_dilated" or self.position != 0:
            return False
        return params["feature_group_count"] == params["batch_group_count"] == 1

    def sample_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`shape` of the data with size one along its batch axes, which no weight runs along and no window covers."""
        if self.core.primitive == "dot_general":
            contracted, batched = (axes[self.position] for axes in self.core.params["dimension_numbers"])
            return tuple(n if axis in (*contracted, *batched) else 1 for axis, n in enumerate(shape))
        sizes = list(shape)
        if self.position == 0 and self.core.params["batch_group_count"] == 1:
            sizes[self.core.params["dimension_numbers"].lhs_spec[0]] = 1
        return tuple(sizes)


def _like(shape, dtype, array):
    """Shape and dtype of an array that varies along the same axes of a `shard_map` as another one."""
    if not varies_manually(array):
        return jax.ShapeDtypeStruct(shape, dtype)
    return jax.eval_shape(lambda array: as_like(jnp.zeros(shape, dtype), array), array)


def _axes(core: Equation, position: int) -> tuple[dict[int, int], dict[int, int]]:
    numbers = core.params["dimension_numbers"]
    if core.primitive == "dot_general":
        contracted, batched = numbers
        data, weight = (core.inputs[position], core.inputs[1 - position])
        free = [
            [axis for axis in range(len(v.shape)) if axis not in (*contracted[side], *batched[side])]
            for side, v in ((position, data), (1 - position, weight))
        ]
        start = len(batched[0]) + (len(free[0]) if position == 0 else 0)
        output = {start + index: axis for index, axis in enumerate(free[1])}
        output |= dict(enumerate(batched[1 - position]))
        inputs = dict(zip(contracted[position], contracted[1 - position], strict=True))
        inputs |= dict(zip(batched[position], batched[1 - position], strict=True))
        return output, inputs
    if position != 0 or core.params["batch_group_count"] != 1:
        return {}, {}
    return {numbers.out_spec[1]: numbers.rhs_spec[0]}, {numbers.lhs_spec[1]: numbers.rhs_spec[1]}


def _along(array, axes: Mapping[int, int], ndim: int):
    """Moves the axes of an array to those of the weight that run along them; the others have size one."""
    order = sorted(axes, key=lambda axis: axes[axis])
    rest = [axis for axis in range(array.ndim) if axis not in axes]
    shape = [1] * ndim
    for axis in order:
        shape[axes[axis]] = array.shape[axis]
    return jnp.transpose(array, (*rest, *order)).reshape(shape)


def _is_number(x) -> bool:
    return isinstance(x, float)
