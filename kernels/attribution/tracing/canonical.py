"""One form for what can be written in several: rewrites that change no result, before anything is decided.

Equal equations are one. Stacks that are reduced at once are entrywise. Sums over samples that are mapped are sums over
their axis. Zeros padded around the data of a convolution are its own padding. A product that sums over nothing is a
scale; a scale by parameters and a sum over it are a product.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import jax.numpy as jnp
from jax import lax

from .axes import places
from .dependence import CONSTANT, PARAMETERS
from .examples import Examples, dependences
from .jaxpr import Equation, Graph, Value, applier, written
from .layout import arrange, view_before
from .stacks import reduced_stack

# Calls whose result their operands do not determine, or that act beside it.
_EFFECTS = frozenset("io_callback pure_callback ffi_call debug_callback debug_print rng_uniform".split())


def canonicalise(graph: Graph, examples: Examples, registered: Collection[str] = ()) -> None:
    """Rewrites a graph in place.

    Args:
        examples: the inputs that hold examples.
        registered: primitives that have a rule of the user's: these stay as they are.
    """
    share(graph)
    for rewriting in (reduced_stack, _mapped_collective, _padding_of_convolution, _product_without_sum):
        rewrite(graph, rewriting, registered)
    producer = {output: equation for equation in graph.equations for output in equation.outputs}
    if "mul" not in registered and any(_scaled(equation, producer) is not None for equation in graph.equations):
        dependence = dependences(graph, examples)
        rewrite(graph, lambda graph, one, makers: _sum_of_scaled(graph, one, makers, dependence), registered)
    share(graph)


def share(graph: Graph) -> None:
    """Makes one of equations that do the same to the same operands."""
    same: dict[Value, Value] = {}
    representatives: dict[tuple, list[Equation]] = {}
    equations = []
    for equation in graph.equations:
        equation.inputs = tuple(same.get(value, value) for value in equation.inputs)
        key = (equation.primitive, equation.call, equation.regions, equation.inputs)
        twin = None
        if equation.primitive not in _EFFECTS:
            twin = next((other for other in representatives.get(key, ()) if _same_parameters(equation, other)), None)
        if twin is None:
            representatives.setdefault(key, []).append(equation)
            equations.append(equation)
        else:
            same.update(zip(equation.outputs, twin.outputs, strict=True))
    graph.equations = equations
    graph.outputs = [same.get(value, value) for value in graph.outputs]
    for region in dict.fromkeys(region for equation in equations for region in equation.regions):
        region.inputs = tuple(same.get(value, value) for value in region.inputs)
        region.outputs = tuple(same.get(value, value) for value in region.outputs)


def _same_parameters(one: Equation, other: Equation) -> bool:
    if one.params is other.params:
        return True
    if one.params.keys() != other.params.keys():
        return False
    if one.call:
        return one.call == "entrywise" and str(one.params) == str(other.params)
    try:
        return all(value is other.params[key] or bool(value == other.params[key]) for key, value in one.params.items())
    except (TypeError, ValueError):  # arrays among them
        return False


def rewrite(graph: Graph, rewriting: Callable, registered: Collection[str] = ()) -> None:
    """Replaces each equation for which `rewriting` gives others, of which the last has the same result."""
    producer = {output: equation for equation in graph.equations for output in equation.outputs}
    equations: list[Equation] = []
    for equation in graph.equations:
        others = None if equation.primitive in registered else rewriting(graph, equation, producer)
        if others:
            others[-1].outputs = equation.outputs
            producer.update({output: other for other in others for output in other.outputs})
        equations += others or [equation]
    graph.equations = equations


def _mapped_collective(graph: Graph, equation: Equation, producer) -> list[Equation] | None:
    """A sum over the samples that `jax.vmap` maps over, as of a norm over the batch: one over their axis."""
    reductions: dict[str, Callable] = {"psum": jnp.sum, "pmax": jnp.max, "pmin": jnp.min}
    along = equation.params.get("axes", ())
    if equation.primitive not in reductions or len(equation.inputs) != 1 or not all(isinstance(a, int) for a in along):
        return None
    return written(graph, lambda x: reductions[equation.primitive](x, along), list(equation.inputs), equation)


def _padding_of_convolution(graph: Graph, equation: Equation, producer) -> list[Equation] | None:
    """A convolution of data with zeros around it, between which axes were only rearranged."""
    if equation.primitive != "conv_general_dilated":
        return None
    result: list[Equation] = []
    while (others := _one_padding(graph, result[-1] if result else equation, producer)) is not None:
        result = [*result[:-1], *others]
        producer = producer | {output: other for other in others for output in other.outputs}
    return result or None


def _is_zero(value: Value, producer) -> bool:
    while value.known is None and (source := producer.get(value)) is not None and len(source.inputs) == 1:
        if source.primitive not in ("convert_element_type", "broadcast_in_dim", "reshape", "squeeze"):
            return False
        value = source.inputs[0]
    return value.known == 0


def _one_padding(graph: Graph, equation: Equation, producer) -> list[Equation] | None:
    """The same convolution with the padding that is nearest to it inside."""
    params, value = equation.params, equation.inputs[0]
    view = places(value.shape)
    while (source := producer.get(value)) is not None and (before := view_before(view, source)) is not None:
        view, value = before, source.inputs[0]
    if (
        source is None
        or source.primitive != "pad"
        or not _is_zero(source.inputs[1], producer)
        or not source.inputs[0].active
    ):
        return None
    spatial = params["dimension_numbers"].lhs_spec[2:]
    padding, spread = [list(pair) for pair in params["padding"]], list(params["lhs_dilation"])
    data, shape, sizes, labels = source.inputs[0], list(equation.inputs[0].shape), [], []
    for axis, (low, high, interior) in enumerate(source.params["padding_config"]):
        labels += [part.label for part in view[axis]]
        if not (low or high or interior):
            sizes += [part.size for part in view[axis]]
            continue
        # It has to be one of the axes that the window slides over, whole.
        if len(view[axis]) != 1 or view[axis][0].size != value.shape[axis] or min(low, high, interior) < 0:
            return None
        place = view[axis][0].label
        if place.axis not in spatial or shape[place.axis] != value.shape[axis]:
            return None
        window = spatial.index(place.axis)
        if interior and spread[window] != 1 or spread[window] != 1 and (low or high):
            return None
        padding[window] = [padding[window][0] + low, padding[window][1] + high]
        spread[window] *= interior + 1
        shape[place.axis] = data.shape[axis]
        sizes.append(data.shape[axis])
    changes = {"padding": tuple(map(tuple, padding)), "lhs_dilation": tuple(spread)}
    result = []
    if view != places(value.shape):
        result = written(graph, lambda x: arrange(x, sizes, labels, shape), [data], equation)
        data = result[-1].outputs[0] if result else data
    convolution = Equation(
        equation.primitive, (data, *equation.inputs[1:]), equation.outputs, params | changes,
        applier(equation.original, **changes), equation.scope, equation.source, "", equation.regions, equation.original,
        equation.changes | changes,
    )  # fmt: skip
    return [*result, convolution]


def _product_without_sum(graph: Graph, equation: Equation, producer) -> list[Equation] | None:
    """A dot_general that sums over nothing: entries times entries, unless a parameter repeats the data."""
    if equation.primitive != "dot_general":
        return None
    (contracted, _), batched = equation.params["dimension_numbers"]
    left, right = equation.inputs
    free = [
        [axis for axis in range(len(v.shape)) if axis not in b] for v, b in zip((left, right), batched, strict=True)
    ]
    repeats = [any(v.shape[axis] != 1 for axis in f) for v, f in zip((left, right), free, strict=True)]
    if (
        contracted
        or not (left.active or right.active)
        or (repeats[1] and not right.active and left.active)
        or (repeats[0] and not left.active and right.active)
    ):
        return None
    shape, dtype = equation.outputs[0].shape, equation.outputs[0].dtype
    shared = [left.shape[axis] for axis in batched[0]]

    def product(x, y):
        x = x.transpose((*batched[0], *free[0])).reshape(shared + [left.shape[a] for a in free[0]] + [1] * len(free[1]))
        y = y.transpose((*batched[1], *free[1])).reshape(
            shared + [1] * len(free[0]) + [right.shape[a] for a in free[1]]
        )
        return (x.astype(dtype) * y.astype(dtype)).reshape(shape)

    return written(graph, product, [left, right], equation)


def _sum_of_scaled(graph: Graph, equation: Equation, producer, dependence) -> list[Equation] | None:
    """A sum over entries that parameters scale one by one: a product, as of a dense layer."""
    source = _scaled(equation, producer)
    if source is None:
        return None
    data, factor = sorted(source.inputs, key=lambda value: not value.active)
    full, summed = source.outputs[0].shape, set(equation.params["axes"])
    if dependence[factor].source != PARAMETERS:
        return None
    by_data, by_factor = ([_varies(dependence[v].axes[axis]) for axis in range(len(full))] for v in (data, factor))
    if not any(by_data[axis] and by_factor[axis] for axis in summed):
        return None
    dtype = equation.outputs[0].dtype

    def product(x, w):
        x = x[tuple(slice(None) if varies else slice(0, 1) for varies in by_data)]
        w = jnp.broadcast_to(w, full)
        w = jnp.sum(w, [axis for axis in summed if not by_data[axis]], keepdims=True, dtype=dtype)
        remaining = [axis for axis in range(len(full)) if axis not in summed]
        both = [axis for axis in remaining if by_data[axis] and by_factor[axis]]
        only = [axis for axis in remaining if by_data[axis] and not by_factor[axis]]
        rest = [axis for axis in remaining if not by_data[axis]]
        over = [axis for axis in summed if by_data[axis]]
        x = jnp.squeeze(x, [axis for axis in range(len(full)) if not by_data[axis]])
        w = w[tuple(slice(0, 1) if axis in only else slice(None) for axis in range(len(full)))]
        w = jnp.squeeze(
            w, [axis for axis in range(len(full)) if axis in only or (axis in summed and not by_data[axis])]
        )
        left, right = (
            [a for a in range(len(full)) if a in group] for group in ((*both, *only, *over), (*both, *rest, *over))
        )
        numbers = tuple(
            tuple(tuple(side.index(axis) for axis in group) for side in (left, right)) for group in (over, both)
        )
        y = lax.dot_general(x, w, numbers, preferred_element_type=dtype)
        order = [*both, *[axis for axis in left if axis in only], *[axis for axis in right if axis in rest]]
        return y.transpose([order.index(axis) for axis in remaining]).astype(dtype)

    return written(graph, product, [data, factor], equation)


def _scaled(equation: Equation, producer) -> Equation | None:
    """The product, of an active value with a constant array, that an equation sums."""
    source = producer.get(equation.inputs[0]) if equation.primitive == "reduce_sum" else None
    if source is None or source.primitive != "mul" or not all(value.shape for value in source.inputs):
        return None
    return source if [value.active for value in source.inputs].count(True) == 1 else None


def _varies(axis) -> bool:
    return any(part.label != CONSTANT for part in axis)
