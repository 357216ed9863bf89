"""What a value hangs on, and along which axis the examples lie: decided from the operations, not from sizes.

Parameters and constants are the same for every example. What is computed from an example lies along an axis of
examples, wherever reshapes and transposes move it, and does so in a batch of one too. What sums over that axis is a
statistic of the batch, shared by all; what mixes examples in another way hangs on all of them. A rule a primitive says
how.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from . import axes
from .axes import BATCH, Axes, Axis, Part
from .jaxpr import Equation, Value, body_of
from .primitives import DETACHED, ELEMENTWISE

CONSTANT, VARYING = "constant", "varying"  # labels of parts, beside BATCH

# What a value hangs on; of several operands the last in this order counts.
PARAMETERS, STATISTIC, EXAMPLE, MIXED = SOURCES = ("parameters", "statistic of the batch", "example", "mixed")


@dataclasses.dataclass(frozen=True)
class Dependence:
    """What a value hangs on.

    Attributes:
        source: one of SOURCES.
        axes: parts of each axis, labelled CONSTANT, VARYING, or BATCH for the axis of examples.
    """

    source: str
    axes: Axes

    @property
    def batch_axis(self) -> int | None:
        """The axis that the examples lie along, perhaps with other things; None where there is none."""
        return next((number for number, axis in enumerate(self.axes) if has_batch(axis)), None)

    @property
    def is_shared(self) -> bool:
        """Whether it is the same for all examples."""
        return self.source in (PARAMETERS, STATISTIC)


def has_batch(axis: Axis) -> bool:
    """Whether examples lie along an axis."""
    return any(part.label == BATCH for part in axis)


def varying(shape: Sequence[int]) -> Axes:
    """Returns axes along which entries can differ."""
    return axes.labelled(shape, [VARYING] * len(shape))


# A rule gets the equation and the dependences of its operands; it returns the axes of every result, None for one that
# mixes examples, or a whole Dependence where the source changes.
RULES: dict[str, Callable] = {}


def rule(*names: str):
    """Registers a rule for primitives."""

    def register(function):
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def follow(equation: Equation, operands: Sequence[Dependence]) -> list[Dependence]:
    """Returns the dependence of every result of an equation."""
    if equation.call == "opaque":
        body = body_of(equation)
        dependence = {value: Dependence(PARAMETERS, varying(value.shape)) for value in body.constants}
        dependence.update(zip(body.inputs, operands, strict=True))
        for inner in body.equations:
            dependence.update(
                zip(inner.outputs, follow(inner, [dependence[value] for value in inner.inputs]), strict=True)
            )
        return [dependence[output] for output in body.outputs]
    source = max((operand.source for operand in operands), key=SOURCES.index, default=PARAMETERS)
    function = RULES.get(equation.primitive)
    if function is None and (equation.primitive in ELEMENTWISE | DETACHED or equation.call == "entrywise"):
        function = _elementwise
    results = None if function is None else function(equation, operands)
    results = [None] * len(equation.outputs) if results is None else results
    return [_checked(source, result, output) for result, output in zip(results, equation.outputs, strict=True)]


def _checked(source: str, result, output: Value) -> Dependence:
    if isinstance(result, Dependence):
        return result
    if result is None or sum(has_batch(axis) for axis in result) > 1:
        return Dependence(PARAMETERS if source == PARAMETERS else MIXED, varying(output.shape))
    return Dependence(source, tuple(result))


def _both(left, right):
    for label in (BATCH, VARYING):
        if label in (left, right):
            return label
    return CONSTANT


def merged(operands: Sequence[Axis]) -> Axis | None:
    """Returns what becomes of an axis that several operands share entry by entry."""
    common: Axis | None
    common, *others = operands
    for other in others:
        if other != common:  # mostly they are the same
            common = None if common is None else axes.merge(common, other, _both)
    return common


def _stretched(axis: Axis, size: int, to: int) -> Axis:
    """An axis of length one that is repeated."""
    return axis if size == to else (*axis, Part(to, CONSTANT))


def _mixed_along(axis: Axis, size: int) -> Axis | None:
    """An axis whose entries are moved or combined along it; None where examples lie along it."""
    if has_batch(axis):
        return None
    label = VARYING if any(part.label == VARYING for part in axis) else CONSTANT
    return (Part(size, label),) if size != 1 else ()


def _each(result):
    """The axes of a result, None if one of them is."""
    return None if any(axis is None for axis in result) else tuple(result)


def _elementwise(equation, operands):
    output = equation.outputs[0]
    columns = []
    for number, size in enumerate(output.shape):
        sides = [
            _stretched(operand.axes[number], value.shape[number], size)
            for value, operand in zip(equation.inputs, operands, strict=True)
            if len(value.shape) == len(output.shape)
        ]
        columns.append(merged(sides))
    result = _each(columns)
    if any(value.shape and len(value.shape) != len(output.shape) for value in equation.inputs):
        result = None
    return [result] * len(equation.outputs)


@rule("optimization_barrier", "name", "sharding_constraint", "layout_constraint", "pvary", "reshard", "copy")
def _identity(equation, operands):
    return [operand.axes for operand in operands[: len(equation.outputs)]]


@rule("broadcast_in_dim")
def _broadcast(equation, operands):
    (value, operand), output = (equation.inputs[0], operands[0]), equation.outputs[0]
    result = [() if size == 1 else (Part(size, CONSTANT),) for size in output.shape]
    for old, new in enumerate(equation.params["broadcast_dimensions"]):
        result[new] = _stretched(operand.axes[old], value.shape[old], output.shape[new])
    return [tuple(result)]


@rule("tile")
def _tile(equation, operands):
    pairs = list(zip(operands[0].axes, equation.params["reps"], strict=True))
    return [_each([axis if n == 1 else None if has_batch(axis) else (Part(n, CONSTANT), *axis) for axis, n in pairs])]


@rule("reshape")
def _reshape(equation, operands):
    if equation.params.get("dimensions") is not None:
        return None
    return [axes.regroup(operands[0].axes, equation.outputs[0].shape)]


@rule("squeeze")
def _squeeze(equation, operands):
    return [_without(operands[0].axes, equation.params["dimensions"])]


def _without(operand, dimensions):
    return tuple(axis for number, axis in enumerate(operand) if number not in dimensions)


@rule("transpose")
def _transpose(equation, operands):
    return [tuple(operands[0].axes[old] for old in equation.params["permutation"])]


@rule(
    "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "argmax", "argmin"
)
def _reduce(equation, operands):
    dimensions = equation.params["axes"]
    over = any(has_batch(operands[0].axes[axis]) for axis in dimensions)
    result = _without(operands[0].axes, dimensions)
    return [Dependence(STATISTIC, result) if over else result]


@rule("reduce_window_sum", "reduce_window_max", "reduce_window_min")
def _reduce_window(equation, operands):
    params, value = equation.params, equation.inputs[0]
    still = [
        window == stride == base == dilation == 1 and tuple(padding) == (0, 0)
        for window, stride, padding, base, dilation in zip(
            params["window_dimensions"], params["window_strides"], params["padding"],
            params.get("base_dilation") or (1,) * len(value.shape),
            params.get("window_dilation") or (1,) * len(value.shape), strict=True,
        )
    ]  # fmt: skip
    sizes = equation.outputs[0].shape
    return [_each([a if s else _mixed_along(a, n) for a, s, n in zip(operands[0].axes, still, sizes, strict=True)])]


@rule("cumsum", "cummax", "cummin", "cumprod", "cumlogsumexp", "rev", "sort")
def _along_one_axis(equation, operands):
    params = equation.params
    axes = params["dimensions"] if equation.primitive == "rev" else [params.get("axis", params.get("dimension"))]
    shape = equation.outputs[0].shape
    columns = [merged([operand.axes[number] for operand in operands]) for number in range(len(shape))]
    if any(column is None for column in columns):
        return None
    result = _each([_mixed_along(a, shape[i]) if i in axes else a for i, a in enumerate(columns)])
    return [result] * len(equation.outputs)


@rule("fft")
def _fft(equation, operands):
    shape, lengths = equation.outputs[0].shape, equation.params["fft_lengths"]
    return [_each([_mixed_along(a, shape[i]) if i >= len(shape) - len(lengths) else a
                   for i, a in enumerate(operands[0].axes)])]  # fmt: skip


@rule("iota")
def _iota(equation, operands):
    shape, along = equation.outputs[0].shape, equation.params["dimension"]
    return [axes.labelled(shape, [VARYING if axis == along else CONSTANT for axis in range(len(shape))])]


@rule("conv_general_dilated")
def _convolution(equation, operands):
    params, output = equation.params, equation.outputs[0]
    numbers, (data, weight) = params["dimension_numbers"], operands
    batch = numbers.lhs_spec[0]
    mixes = any(has_batch(axis) for number, axis in enumerate(data.axes) if number != batch)
    if mixes or params["batch_group_count"] != 1 or any(map(has_batch, weight.axes)):
        return None
    result = list(varying(output.shape))
    result[numbers.out_spec[0]] = data.axes[batch]
    return [tuple(result)]


@rule("dot_general")
def _product(equation, operands):
    contracted, batched = equation.params["dimension_numbers"]
    for operand, dimensions in zip(operands, contracted, strict=True):
        if any(has_batch(operand.axes[axis]) for axis in dimensions):
            return None
    left, right = operands
    result = [merged([left.axes[a], right.axes[b]]) for a, b in zip(*batched, strict=True)]
    for operand, contraction, batch in zip(operands, contracted, batched, strict=True):
        result += [axis for number, axis in enumerate(operand.axes) if number not in (*contraction, *batch)]
    return [_each(result)]


@rule("concatenate")
def _concatenate(equation, operands):
    along, shape = equation.params["dimension"], equation.outputs[0].shape
    result = [merged([o.axes[number] for o in operands]) if number != along else () for number in range(len(shape))]
    sides = [operand.axes[along] for operand in operands]
    if any(map(has_batch, sides)):
        # Examples beside examples: which of the arrays, then which example.
        last = sides[0][-1] if sides[0] else None
        if any(not side or side[-1] != last or last.label != BATCH for side in sides):
            return None
        result[along] = (Part(shape[along] // last.size, VARYING), last)
    else:
        result[along] = (Part(shape[along], VARYING),)
    return [_each(result)]


@rule("stack")
def _stack(equation, operands):
    along, output = equation.params["axis"], equation.outputs[0]
    result = [merged([operand.axes[number] for operand in operands]) for number in range(len(output.shape) - 1)]
    result.insert(along, (Part(output.shape[along], VARYING),) if output.shape[along] != 1 else ())
    return [_each(result)]


@rule("unstack")
def _unstack(equation, operands):
    along = equation.params["axis"]
    if has_batch(operands[0].axes[along]):
        return None
    return [_without(operands[0].axes, [along])] * len(equation.outputs)


def _cut(axis: Axis, start: int, stop: int, step: int, size: int) -> Axis | None:
    """A stretch of an axis of length `size`."""
    if (start, stop, step) == (0, size, 1):
        return axis
    if has_batch(axis):
        if step != 1 or len(axis) != 2 or axis[-1].label != BATCH or start % axis[-1].size or stop % axis[-1].size:
            return None
        arrays = (stop - start) // axis[-1].size
        return (Part(arrays, VARYING), axis[-1]) if arrays != 1 else (axis[-1],)
    return _mixed_along(axis, -(-(stop - start) // step))


@rule("slice")
def _slice(equation, operands):
    params, value = equation.params, equation.inputs[0]
    steps = params["strides"] or (1,) * len(value.shape)
    limits = zip(operands[0].axes, params["start_indices"], params["limit_indices"], steps, value.shape, strict=True)
    return [_each([_cut(axis, *limit) for axis, *limit in limits])]


@rule("split")
def _split(equation, operands):
    along, value, start, results = equation.params["axis"], equation.inputs[0], 0, []
    for size in equation.params["sizes"]:
        result = list(operands[0].axes)
        result[along] = _cut(result[along], start, start + size, 1, value.shape[along])
        results.append(_each(result))
        start += size
    return results


@rule("pad")
def _pad(equation, operands):
    shape, result = equation.outputs[0].shape, []
    for axis, config, size in zip(operands[0].axes, equation.params["padding_config"], shape, strict=True):
        padded = None if has_batch(axis) else (Part(size, VARYING),)
        result.append(axis if tuple(config) == (0, 0, 0) else padded)
    return [_each(result)]


@rule("dynamic_slice")
def _dynamic_slice(equation, operands):
    if any(operand.source != PARAMETERS for operand in operands[1:]):
        return None
    old, new = equation.inputs[0].shape, equation.outputs[0].shape
    return [_each([a if n == m else _mixed_along(a, m) for a, n, m in zip(operands[0].axes, old, new, strict=True)])]


@rule("gather")
def _gather(equation, operands):
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    (data, index), output = operands, equation.outputs[0]
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    by_index = tuple(getattr(numbers, "start_indices_batching_dims", ()))
    shape = equation.inputs[0].shape
    result = [()] * len(output.shape)
    offsets = iter(numbers.offset_dims)
    for number, axis in enumerate(data.axes):
        if number in batching:
            continue
        if number in numbers.collapsed_slice_dims:
            if has_batch(axis):
                return None
            continue
        place = next(offsets)
        result[place] = axis if sizes[number] == shape[number] else _mixed_along(axis, output.shape[place])
    places = [axis for axis in range(len(output.shape)) if axis not in numbers.offset_dims]
    for number, place in enumerate(places):
        result[place] = index.axes[number]
        if number in by_index:
            result[place] = merged([index.axes[number], data.axes[batching[by_index.index(number)]]])
        elif not has_batch(index.axes[number]) and output.shape[place] != 1:
            result[place] = (Part(output.shape[place], VARYING),)
    return [_each(result)]


@rule("scatter", "scatter-add", "scatter-mul", "scatter-min", "scatter-max", "scatter-sub")
def _scatter(equation, operands):
    numbers = equation.params["dimension_numbers"]
    data, index, update = operands
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    by_index = tuple(getattr(numbers, "scatter_indices_batching_dims", ()))
    shape, result = equation.outputs[0].shape, []
    windows = iter(numbers.update_window_dims)
    scattered = [axis for axis in range(len(update.axes)) if axis not in numbers.update_window_dims]
    for number, axis in enumerate(data.axes):
        if number in batching:
            place = by_index[batching.index(number)]
            result.append(merged([axis, index.axes[place], update.axes[scattered[place]]]))
        elif number in numbers.inserted_window_dims:
            result.append(_mixed_along(axis, shape[number]) and (Part(shape[number], VARYING),))
        else:
            place = next(windows)
            whole = equation.inputs[2].shape[place] == shape[number]
            both = merged([axis, update.axes[place]]) if whole else None
            result.append(both if whole else None if has_batch(axis) else (Part(shape[number], VARYING),))
    lost = sum(has_batch(axis) for axis in update.axes) > sum(axis is not None and has_batch(axis) for axis in result)
    return [None if lost else _each(result)]


@rule("top_k")
def _top_k(equation, operands):
    *rest, last = operands[0].axes
    result = _each([*rest, _mixed_along(last, equation.outputs[0].shape[-1])])
    return [result] * len(equation.outputs)


@rule("random_bits", "random_seed", "random_wrap", "random_unwrap", "random_fold_in", "random_split", "threefry2x32")
def _random(equation, operands):
    if any(operand.source == EXAMPLE for operand in operands):
        return None
    return [varying(output.shape) for output in equation.outputs]
