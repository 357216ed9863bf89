"""Affine operations z = f(x; W) + b, with scales and shifts before and after them folded into W and b.

f is one convolution or one product, linear in x and in W. A scale and a shift by channel after it give W s and
b s + t (BatchNorm, for example); before it they give W s and f(t; W), which depends on the position where f pads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ._jaxpr import Equation, Value


@dataclasses.dataclass(frozen=True)
class Step:
    """One entrywise equation on the way.

    `kind` is "add", "subtract", "subtract_from", "multiply", "divide", "negate" or "cast".
    """

    equation: Equation
    kind: str
    operand: Value | None

    def after(self, scale, shift, values: Mapping, varies: Mapping, ndim: int):
        """Returns scale and shift of `step(scale * x + shift)`."""
        if self.kind == "cast":
            return scale, shift
        if self.kind == "negate":
            return -scale, -shift
        operand = _thin(values[self.operand], varies[self.operand], ndim)
        return {
            "add": lambda: (scale, shift + operand),
            "subtract": lambda: (scale, shift - operand),
            "subtract_from": lambda: (-scale, operand - shift),
            "multiply": lambda: (scale * operand, shift * operand),
            "divide": lambda: (scale / operand, shift / operand),
        }[self.kind]()


def _thin(array, varies, ndim: int):
    """The array with every axis along which it is constant cut to size one, `ndim` axes in all."""
    array = jnp.reshape(array, (1,) * ndim) if jnp.ndim(array) == 0 else jnp.asarray(array)
    return array[tuple(slice(None) if axis in varies else slice(0, 1) for axis in range(ndim))]


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
        """Of the result, which may be wider than that of the operands (`preferred_element_type`)."""
        return self.core.outputs[0].dtype

    def linear(self, x: jax.Array, weight: jax.Array) -> jax.Array:
        """Returns f(x; W), in the dtype of the traced result."""
        x, weight = x.astype(self.dtype), weight.astype(self.dtype)
        return self.core.apply(*((x, weight) if self.position == 0 else (weight, x)))[0]

    def transposed(self, relevance: jax.Array, weight: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Returns fT(s; W), the vector-Jacobian product of f in x, for an x of `shape`."""
        like = jax.ShapeDtypeStruct(shape, self.dtype)
        (result,) = jax.linear_transpose(lambda x: self.linear(x, weight), like)(relevance.astype(self.dtype))
        return result

    def output_axes(self) -> dict[int, int]:
        """Axes of the output that an axis of the weight runs along."""
        return _axes(self.core, self.position)[0]

    def data_axes(self) -> dict[int, int]:
        """Axes of the data that an axis of the weight runs along; grouped convolutions have the channel axis too."""
        return _axes(self.core, self.position)[1]

    def parameters(self, values: Mapping, varies: Mapping) -> tuple[jax.Array, jax.Array | None]:
        """Returns the folded W and b; b broadcasts against the output and is None without any shift."""
        weight = values[self.weight]
        ndim = len(self.core.outputs[0].shape)
        scale, shift = 1.0, 0.0
        for step in self.after:
            scale, shift = step.after(scale, shift, values, varies, ndim)
        if not _is_number(scale):
            weight = weight * _along(scale, self.output_axes(), weight.ndim)
        elif scale != 1.0:
            weight = weight * scale
        if self.before:
            data = self.data
            scale_in, shift_in = 1.0, 0.0
            for step in self.before:
                scale_in, shift_in = step.after(scale_in, shift_in, values, varies, len(data.shape))
            if not _is_number(shift_in):
                # One sample of the shifts, through the folded output scale but not the input scale.
                sample = jnp.broadcast_to(shift_in, self.sample_shape(data.shape))
                shift = shift + self.linear(sample, weight)
            if not _is_number(scale_in):
                weight = weight * self._on_input(scale_in, weight)
            elif scale_in != 1.0:
                weight = weight * scale_in
        return weight, None if _is_number(shift) else shift

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
        shape = list(shape)
        if self.core.primitive == "dot_general":
            contracted, batched = (axes[self.position] for axes in self.core.params["dimension_numbers"])
            return tuple(n if axis in (*contracted, *batched) else 1 for axis, n in enumerate(shape))
        if self.position == 0 and self.core.params["batch_group_count"] == 1:
            shape[self.core.params["dimension_numbers"].lhs_spec[0]] = 1
        return tuple(shape)


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
    moved = sorted(axes, key=lambda axis: axes[axis])
    rest = [axis for axis in range(array.ndim) if axis not in axes]
    shape = [1] * ndim
    for axis in moved:
        shape[axes[axis]] = array.shape[axis]
    return jnp.transpose(array, (*rest, *moved)).reshape(shape)


def _is_number(x) -> bool:
    return isinstance(x, float)
