"""One step back: relevance through an affine operation by the terms of its rule, and through all others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import rules
from .maxima import is_plain_pooling, pooling_gradient
from .precision import applied, widened
from .stabilize import Stabilizer, as_stabilizer
from .tracing.affine import Affine
from .tracing.axes import BATCH, Axes
from .tracing.jaxpr import Equation, Value, as_like
from .tracing.operations import Operation, Program, function_of
from .tracing.signs import UNKNOWN
from .tracing.softmax import normalised_axes

Shares = list[tuple[Value, jax.Array]]


@dataclasses.dataclass
class Kept:
    """What an operation kept of its relevance."""

    bias: jax.Array | float = 0.0
    epsilon: jax.Array | float = 0.0


def propagate(
    rule,
    operation: Operation,
    relevance: Sequence[jax.Array],
    values: Mapping[Value, Any],
    program: Program,
    store: Kept | None = None,
) -> Shares:
    """Returns the relevance of the operation's inputs; what bias and stabiliser keep is added to `store`, if there."""
    if not operation.inputs:
        return []  # an embedding: relevance of tokens is read off its output
    if hasattr(rule, "through"):  # of a whole norm, see `norm_rules`
        return list(zip(operation.inputs, rule.through(operation, relevance, values, program), strict=True))
    if hasattr(rule, "branches"):
        if operation.affine is not None:
            return [(operation.inputs[0], _through_affine(rule, operation, relevance[0], values, program, store))]
        if isinstance(rule, rules.Epsilon) and "sum" in operation.kinds:
            rule = rules.Norm(rule.epsilon)
        else:
            raise ValueError(
                f"{type(rule).__name__} is a rule for affine operations, and {operation.place} is of kind "
                f"{operation.kinds[0]}: use rules.Norm, Pass or Gradient there."
            )
    if operation.affine is not None:
        rules.check_affine(rule, f"{operation.place} has")
    if isinstance(rule, rules.Gradient):
        if any(equation in program.held or equation.passes_straight for equation in operation.equations):
            relevance_of = dict(zip(operation.outputs, relevance, strict=True))
            return through_equations(operation.equations, relevance_of, values, program)
        if operation.affine is not None:
            return [(operation.inputs[0], _gradient_of_affine(operation, relevance[0], values))]
    inputs = tuple(widened(values[value]) for value in operation.inputs)
    outputs = tuple(widened(values[value]) for value in operation.outputs)
    parts: Sequence[jax.Array]
    if isinstance(rule, rules.Gradient) and is_plain_pooling(operation.equations[0]):
        parts = (pooling_gradient(operation.equations[0], inputs[0], outputs[0], relevance[0]),)
        return list(zip(operation.inputs, parts, strict=True))
    function = operation.function(values, applied)
    if isinstance(rule, rules.Norm):
        rule = _with_batch_axis(rule, program.facts.depends[operation.outputs[0]].axes)
        if store is not None:
            for r, z in zip(relevance, outputs, strict=True):
                stable = as_stabilizer(rule.stabilizer)(z)
                store.epsilon += jnp.sum(rules.divided(r, stable) * (stable - z))
    if isinstance(rule, rules.Norm) and rule.bias_factor:
        parts = rule.backward(relevance, inputs, outputs, function)
        return list(zip(operation.inputs, _with_leak(rule, operation, relevance, parts, program), strict=True))
    if isinstance(rule, rules.Norm) and "bias" in operation.kinds:
        parts = rule.backward(relevance, inputs, outputs, function)
        if store is not None:
            stabilise = as_stabilizer(rule.stabilizer)
            shares = (jnp.sum(rules.divided(r, stabilise(z)) * z) for r, z in zip(relevance, outputs, strict=True))
            store.bias += sum(shares) - sum(jnp.sum(part) for part in parts)
        return list(zip(operation.inputs, parts, strict=True))
    if isinstance(rule, rules.OF_PRODUCTS):
        summed = operation.equations[0].primitive in ("dot_general", "conv_general_dilated")
        options = {}
        if isinstance(rule, rules.Proportional):
            options["before"] = tuple(widened(values[_before(value, program)]) for value in operation.inputs)
        parts = rule.backward(relevance, inputs, outputs, function, operation.gates, summed, **options)
        if isinstance(rule, rules.SignalTakesAll) and len(operation.gates) < len(parts):
            # What computes a gate has no part in the explanation, so it needs no rule either.
            return [
                (value, part)
                for index, (value, part) in enumerate(zip(operation.inputs, parts, strict=True))
                if index not in operation.gates
            ]
    elif isinstance(rule, rules.Softmax):
        axes = normalised_axes(operation.inputs[0], operation.equations)
        parts = rule.backward(tuple(relevance), inputs, outputs, function, axes)
    elif hasattr(rule, "backward"):
        parts = tuple(rule.backward(tuple(relevance), inputs, outputs, function))
    else:
        parts = _by_function(rule, operation, tuple(relevance), inputs, outputs, function)
    return list(zip(operation.inputs, parts, strict=True))


def _with_leak(rule, operation: Operation, relevance, parts, program: Program):
    """What a sum passes on, with a share of what its stabiliser, or a bias beside it, kept: even over a sample."""
    axes = [program.facts.depends[value].batch_axis for value in (*operation.outputs, *operation.inputs)]

    def by_sample(array, axis):
        return jnp.sum(array, [other for other in range(array.ndim) if other != axis])

    arrived = sum(by_sample(r, axis) for r, axis in zip(relevance, axes, strict=False))
    inner = axes[len(operation.outputs) :]
    passed = sum(by_sample(part, axis) for part, axis in zip(parts, inner, strict=True))
    units = sum(part.size // (1 if axis is None else part.shape[axis]) for part, axis in zip(parts, inner, strict=True))
    leak = rule.bias_factor * (arrived - passed) / units
    return tuple(
        part + (leak if axis is None else leak.reshape([-1 if n == axis else 1 for n in range(part.ndim)]))
        for part, axis in zip(parts, inner, strict=True)
    )


def _before(value: Value, program: Program) -> Value:
    """What a value is an activation of; the value itself where it is of nothing in its own shape."""
    return program.facts.dominator.get(value, value)


def through_equations(
    equations: Sequence[Equation], relevance: Mapping[Value, jax.Array], values: Mapping[Value, Any], program
) -> Shares:
    """Returns the gradient through equations one by one, through the statistics that some of them hold, too."""
    local, shares = dict(relevance), []
    outputs = {output for equation in equations for output in equation.outputs}
    for equation in reversed(equations):
        if not any(output in local for output in equation.outputs):
            continue
        statistic = program.held.get(equation)
        inputs = [value for value in dict.fromkeys(equation.inputs) if value.active]
        inputs += [statistic.root] if statistic is not None and statistic.root not in inputs else []
        if equation.passes_straight:
            parts = (local[equation.outputs[0]],)
        else:
            steps = (equation,) if statistic is None else (*statistic.equations, equation)
            function = function_of(steps, inputs, equation.outputs, values, applied)
            y, pull = jax.vjp(function, *(widened(values[value]) for value in inputs))
            received = [local[v].astype(z.dtype) if v in local else jnp.zeros_like(z) for v, z in _pairs(equation, y)]
            parts = pull(tuple(received))
        for value, part in zip(inputs, parts, strict=True):
            if value in outputs and value not in relevance:
                local[value] = local[value] + part if value in local else part
            else:
                shares.append((value, part))
    return shares


def through_region(region, relevance: Sequence[jax.Array], values: Mapping[Value, Any]) -> Shares:
    """Returns the gradient through a call by the derivative that is its own."""
    active = [value for value in dict.fromkeys(region.inputs) if value.active]

    def function(*arrays):
        local = dict(zip(active, arrays, strict=True))
        return region.apply(*(local.get(value, values[value]) for value in region.inputs))

    y, pull = jax.vjp(function, *(values[value] for value in active))
    return list(zip(active, pull(tuple(r.astype(z.dtype) for r, z in zip(relevance, y, strict=True))), strict=True))


def _pairs(equation: Equation, arrays):
    return zip(equation.outputs, arrays, strict=True)


def _by_function(rule, operation, relevance, inputs, outputs, function):
    """By a function of the user's, see `primitive_rules` of `attribute`."""
    single = len(outputs) == 1
    parts = rule(relevance[0] if single else relevance, inputs, outputs[0] if single else outputs, function)
    parts = tuple(parts) if isinstance(parts, (tuple, list)) else (parts,)
    shapes = [jnp.shape(part) for part in parts]
    if shapes != [jnp.shape(x) for x in inputs]:
        raise ValueError(
            f"the rule given for {operation.equations[0].primitive!r} returned shapes {shapes}; expected one "
            f"relevance for each operand that relevance can reach, {[jnp.shape(x) for x in inputs]}."
        )
    return parts


def _gradient_of_affine(operation, relevance, values):
    affine = operation.affine
    weight, _ = affine.parameters(values)
    return affine.leave(affine.transposed(affine.returned(relevance), weight, affine.data.shape))


def _through_affine(rule, operation: Operation, relevance, values, program: Program, store: Kept | None) -> jax.Array:
    """R' of a rule's branches; see the formula in `rules`."""
    affine = operation.affine
    assert affine is not None
    x = affine.enter(widened(values[operation.inputs[0]]))
    z = affine.returned(widened(values[operation.outputs[0]]))
    relevance = affine.returned(relevance)
    sign = program.facts.signs.get(operation.inputs[0], UNKNOWN)
    weight, bias = affine.parameters(values)
    rounded = values[operation.outputs[0]].dtype != z.dtype  # a half precision: sums have to be taken again
    zeroed = rules._zeroed(rule.zero_params)
    if "weight" in zeroed:
        weight = jnp.zeros_like(weight)
    bias = None if "bias" in zeroed else bias
    rule = _with_batch_axis(rule, program.facts.depends[affine.core.outputs[0]].axes)
    stable = as_stabilizer(rule.stabilizer)
    if isinstance(rule, rules.Flat) and "weight" not in zeroed and affine.has_one_group():
        return affine.leave(_flat_convolution(affine, x, relevance, stable, store))
    total = jnp.zeros((), x.dtype)
    for branch in rule.branches():
        terms = [term for term in branch.terms if not _vanishes(term, sign)]
        data = [_data(term, x, sign, operation, program) for term in terms]
        modified = [term.weight(weight) for term in terms]
        if not zeroed and not rounded and branch.terms is rules.WHOLE:
            denominator, shift = z, bias
        else:
            parts = [term.sign * affine.linear(d, w) for term, d, w in zip(terms, data, modified, strict=True)]
            shifts = [t.sign * t.bias(bias) for t in branch.terms if t.bias is not None and bias is not None]
            shift = sum(shifts) if shifts else None
            denominator = sum(parts, jnp.zeros((), z.dtype)) + (0 if shift is None else shift)
        stabilised = stable(denominator)
        masked = relevance if not branch.mask else jnp.where(branch.mask * z > 0, relevance, 0)
        # Only epsilon = 0 and functions of the user can leave a zero.
        careful = not isinstance(stable, Stabilizer) or not stable.epsilon or stable.norm_scale
        share = rules.divided(masked, stabilised) if careful else masked / stabilised
        if store is not None:
            store.epsilon += branch.coefficient * jnp.sum(share * (stabilised - denominator))
            store.bias += 0.0 if shift is None else branch.coefficient * jnp.sum(share * shift)
        for term, d, w in zip(terms, data, modified, strict=True):
            part = affine.transposed(share, w, x.shape).astype(x.dtype)
            part = d.astype(x.dtype) * part if term.factor else part
            total = total + branch.coefficient * term.sign * part
        if factor := getattr(rule, "bias_factor", 0.0):
            ones = as_like(jnp.ones_like(weight), weight)
            inputs = affine.linear(as_like(jnp.ones(affine.sample_shape(x.shape), x.dtype), x), ones)
            leak = factor * share * (stabilised - denominator + (0 if shift is None else shift)) / inputs
            total = total + affine.transposed(leak, ones, x.shape).astype(x.dtype)
    return affine.leave(jnp.broadcast_to(total, x.shape))


def _with_batch_axis(rule, axes: Axes):
    """The rule with a stabiliser whose units are a sample's, wherever the samples lie; see `Stabilizer`."""
    stabilizer = rule.stabilizer
    if not (isinstance(stabilizer, Stabilizer) and stabilizer.norm_scale and stabilizer.axis is None):
        return rule
    if not any(part.label == BATCH for axis in axes for part in axis):
        return rule
    field = "epsilon" if isinstance(rule, rules.Epsilon) else "stabilizer"
    return dataclasses.replace(rule, **{field: dataclasses.replace(stabilizer, parts=axes)})


def _flat_convolution(affine: Affine, x, relevance, stable, store: Kept | None) -> jax.Array:
    """Flat at a convolution: all channels of the input get the same, so that one of them is computed."""
    numbers = affine.core.params["dimension_numbers"]
    narrow, out_axis, in_axis = list(x.shape), numbers.out_spec[1], numbers.lhs_spec[1]
    narrow[in_axis] = 1
    window = [1 if axis in numbers.rhs_spec[:2] else size for axis, size in enumerate(affine.weight.shape)]
    window = as_like(jnp.ones(window, affine.dtype), x)
    sample = as_like(jnp.ones(affine.sample_shape(tuple(narrow)), x.dtype), x)
    inputs = x.shape[in_axis] * affine.linear(sample, window)
    stabilised = stable(inputs)
    share = relevance / stabilised
    if store is not None:
        store.epsilon += jnp.sum(share * (stabilised - inputs))
    part = affine.transposed(jnp.sum(share, out_axis, keepdims=True), window, tuple(narrow))
    return jnp.broadcast_to(part.astype(x.dtype), x.shape)


def _vanishes(term: rules.Term, sign: frozenset[int]) -> bool:
    if isinstance(term.data, str):
        return (term.data == "x-" and 1 in sign) or (term.data == "x+" and -1 in sign)
    return isinstance(term.data, (int, float)) and term.data == 0


def _data(term: rules.Term, x: jax.Array, sign: frozenset[int], operation: Operation, program: Program) -> jax.Array:
    """The data of a term; what does not depend on the sample has one sample."""
    assert operation.affine is not None
    if not isinstance(term.data, str):
        return as_like(_bound(term.data, x, operation, program), x)
    if term.data == "1":
        return as_like(jnp.ones(operation.affine.sample_shape(x.shape), x.dtype), x)
    if term.data == "x" or (term.data == "x+" and 1 in sign) or (term.data == "x-" and -1 in sign):
        return x
    return jnp.maximum(x, 0) if term.data == "x+" else jnp.minimum(x, 0)


def _bound(bound, x: jax.Array, operation: Operation, program: Program) -> jax.Array:
    """A bound of ZBox for one sample, or for all: a number, by channel in any layout, or of a sample's shape."""
    affine, bound = operation.affine, jnp.asarray(bound, x.dtype)
    assert affine is not None
    sample = affine.sample_shape(x.shape)
    (channel,) = list(affine.data_axes())[:1] or [x.ndim - 1]
    wide = [size for size in bound.shape if size > 1]
    if len(wide) <= 1 and (not wide or wide[0] == x.shape[channel]):
        shape = [1] * x.ndim
        shape[channel] = bound.size
        return jnp.broadcast_to(bound.reshape(shape), sample)
    trail = program.trail(operation.inputs[0])
    if trail is not None:  # of the shape of what fn gets, however its axes are rearranged on the way
        source, steps = trail
        if (everywhere := _padded_to(bound, source.shape)) is not None:
            shared = everywhere.shape[0] == 1
            everywhere = jnp.broadcast_to(everywhere, source.shape)
            for step in steps:
                everywhere = step.apply(everywhere)[0]
            everywhere = affine.enter(everywhere)
            return everywhere[tuple(slice(0, size) for size in sample)] if shared else everywhere
    for whole in (sample, x.shape):
        if (everywhere := _padded_to(bound, whole)) is not None:
            return jnp.broadcast_to(everywhere, whole)
    raise ValueError(
        f"a bound of ZBox has shape {tuple(np.shape(bound))}; expected a number, {x.shape[channel]} channels or the "
        f"shape of a sample of {tuple(x.shape)}."
    )


def _padded_to(bound: jax.Array, shape: tuple[int, ...]) -> jax.Array | None:
    """The bound with as many axes as `shape`, None where it does not broadcast to it."""
    padded = (1,) * (len(shape) - bound.ndim) + bound.shape
    fits = len(padded) == len(shape) and all(size in (1, of) for size, of in zip(padded, shape, strict=True))
    return bound.reshape(padded) if fits else None
