"""One step back: relevance through an affine operation by the terms of its rule, and through all others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from . import registry, rules
from ._jaxpr import Value
from .affine import Affine
from .analysis import Analysis
from .maxima import is_plain_pooling, pooling_gradient
from .operations import Operation
from .signs import UNKNOWN
from .stabilize import Stabilizer, as_stabilizer


@dataclasses.dataclass
class Kept:
    """What an operation kept of its relevance."""

    bias: jax.Array | float = 0.0
    epsilon: jax.Array | float = 0.0


def propagate(
    rule,
    operation: Operation,
    relevance: Sequence[jax.Array],
    values: Mapping[Value, jax.Array],
    facts: Analysis,
    kept: Kept | None = None,
) -> tuple[jax.Array, ...]:
    """Returns the relevance of the operation's inputs; what bias and stabiliser keep is added to `kept`, if there."""
    if hasattr(rule, "branches"):
        if operation.affine is not None:
            return (_through_affine(rule, operation, relevance[0], values, facts, kept),)
        if isinstance(rule, rules.Epsilon) and "sum" in operation.kinds:
            rule = rules.Norm(rule.epsilon)
        else:
            raise ValueError(
                f"{type(rule).__name__} is a rule for affine operations, and {operation.place} is of kind "
                f"{operation.kinds[0]}: use rules.Norm, Pass or Gradient there."
            )
    if isinstance(rule, rules.Gradient) and operation.affine is not None:
        return (_gradient_of_affine(operation, relevance[0], values, facts),)
    inputs = tuple(values[value] for value in operation.inputs)
    outputs = tuple(values[value] for value in operation.outputs)
    if isinstance(rule, rules.Gradient) and is_plain_pooling(operation.equations[0]):
        return (pooling_gradient(operation.equations[0], inputs[0], outputs[0], relevance[0]),)
    function = _of_affine(operation, values, facts) if operation.affine is not None else operation.function(values)
    if isinstance(rule, rules.Norm) and kept is not None:
        for r, z in zip(relevance, outputs, strict=True):
            stable = as_stabilizer(rule.stabilizer)(z)
            kept.epsilon += jnp.sum(rules.divided(r, stable) * (stable - z))
    if isinstance(rule, rules.SignalTakesAll):
        return rule.backward(relevance, inputs, outputs, function, _gates(operation, facts))
    if hasattr(rule, "backward"):
        return tuple(rule.backward(tuple(relevance), inputs, outputs, function))
    return _registered(rule, operation, tuple(relevance), inputs, outputs, function)


def _registered(rule, operation, relevance, inputs, outputs, function):
    single = len(outputs) == 1
    parts = rule(relevance[0] if single else relevance, inputs, outputs[0] if single else outputs, function)
    parts = tuple(parts) if isinstance(parts, (tuple, list)) else (parts,)
    shapes = [jnp.shape(part) for part in parts]
    if shapes != [jnp.shape(x) for x in inputs]:
        raise ValueError(
            f"the rule registered for {operation.equations[0].primitive!r} returned shapes {shapes}; expected one "
            f"relevance for each operand that relevance can reach, {[jnp.shape(x) for x in inputs]}."
        )
    return parts


def registered_rule(operation: Operation):
    """The rule that a user registered for the primitive."""
    return registry.REGISTERED[operation.equations[0].primitive]


def _gradient_of_affine(operation, relevance, values, facts):
    x = values[operation.inputs[0]]
    weight, _ = operation.affine.parameters(values, facts.varies)
    return operation.affine.transposed(relevance, weight, x.shape).astype(x.dtype)


def _of_affine(operation, values, facts):
    """The folded affine operation as a function of its input, for gradients; its derivative needs no bias."""
    weight, _ = operation.affine.parameters(values, facts.varies)
    return lambda x: (operation.affine.linear(x, weight).astype(values[operation.outputs[0]].dtype),)


def _gates(operation: Operation, facts: Analysis) -> tuple[int, ...]:
    """Which factors of a product come from a function with values between 0 and 1."""
    gates = []
    for index, value in enumerate(operation.inputs):
        while value in facts.producer and facts.producer[value].primitive in (
            "broadcast_in_dim",
            "reshape",
            "squeeze",
            "transpose",
        ):
            value = facts.producer[value].inputs[0]
        if value in facts.producer and facts.producer[value].primitive in ("logistic", "sigmoid", "hard_sigmoid"):
            gates.append(index)
    return tuple(gates)


def _through_affine(rule, operation: Operation, relevance, values, facts: Analysis, kept: Kept) -> jax.Array:
    """R' of a rule's branches; see the formula in `rules`."""
    affine, x, z = operation.affine, values[operation.inputs[0]], values[operation.outputs[0]]
    sign = facts.signs.get(operation.inputs[0], UNKNOWN)
    weight, bias = affine.parameters(values, facts.varies)
    zeroed = rules._zeroed(rule.zero_params)
    if "weight" in zeroed:
        weight = jnp.zeros_like(weight)
    bias = None if "bias" in zeroed else bias
    stable = as_stabilizer(rule.stabilizer)
    if isinstance(rule, rules.Flat) and "weight" not in zeroed and affine.has_one_group():
        return _flat_convolution(affine, x, relevance, stable, kept)
    total = jnp.zeros((), x.dtype)
    for branch in rule.branches():
        terms = [term for term in branch.terms if not _vanishes(term, sign)]
        data = [_data(term, x, sign, affine) for term in terms]
        modified = [term.weight(weight) for term in terms]
        if not zeroed and len(terms) == 1 and terms[0].data == "x" and terms[0].weight is rules._same:
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
        if kept is not None:
            kept.epsilon += branch.coefficient * jnp.sum(share * (stabilised - denominator))
            kept.bias += 0.0 if shift is None else branch.coefficient * jnp.sum(share * shift)
        for term, d, w in zip(terms, data, modified, strict=True):
            part = affine.transposed(share, w, x.shape).astype(x.dtype)
            part = d.astype(x.dtype) * part if term.factor else part
            total = total + branch.coefficient * term.sign * part
    return jnp.broadcast_to(total, x.shape)


def _flat_convolution(affine: Affine, x, relevance, stable, kept: Kept | None) -> jax.Array:
    """Flat at a convolution: all channels of the input get the same, so that one of them is computed."""
    numbers = affine.core.params["dimension_numbers"]
    narrow, out_axis, in_axis = list(x.shape), numbers.out_spec[1], numbers.lhs_spec[1]
    narrow[in_axis] = 1
    window = [1 if axis in numbers.rhs_spec[:2] else size for axis, size in enumerate(affine.weight.shape)]
    window = jnp.ones(window, affine.weight.dtype)
    sample = jnp.ones(affine.sample_shape(tuple(narrow)), x.dtype)
    inputs = x.shape[in_axis] * affine.linear(sample, window)
    stabilised = stable(inputs)
    share = relevance / stabilised
    if kept is not None:
        kept.epsilon += jnp.sum(share * (stabilised - inputs))
    part = affine.transposed(jnp.sum(share, out_axis, keepdims=True), window, tuple(narrow))
    return jnp.broadcast_to(part.astype(x.dtype), x.shape)


def _vanishes(term: rules.Term, sign: frozenset[int]) -> bool:
    if isinstance(term.data, str):
        return (term.data == "x-" and 1 in sign) or (term.data == "x+" and -1 in sign)
    return isinstance(term.data, (int, float)) and term.data == 0


def _data(term: rules.Term, x: jax.Array, sign: frozenset[int], affine: Affine) -> jax.Array:
    """The data of a term; what does not depend on the sample has one sample."""
    if not isinstance(term.data, str):
        return _bound(term.data, x, affine)
    if term.data == "1":
        return jnp.ones(affine.sample_shape(x.shape), x.dtype)
    if term.data == "x" or (term.data == "x+" and 1 in sign) or (term.data == "x-" and -1 in sign):
        return x
    return jnp.maximum(x, 0) if term.data == "x+" else jnp.minimum(x, 0)


def _bound(bound, x: jax.Array, affine: Affine) -> jax.Array:
    """A bound of ZBox for one sample, or for all: a number, by channel in any layout, or of a sample's shape."""
    bound = jnp.asarray(bound, x.dtype)
    sample = affine.sample_shape(x.shape)
    (channel,) = list(affine.data_axes())[:1] or [x.ndim - 1]
    wide = [size for size in bound.shape if size > 1]
    if len(wide) <= 1 and (not wide or wide[0] == x.shape[channel]):
        shape = [1] * x.ndim
        shape[channel] = bound.size
        return jnp.broadcast_to(bound.reshape(shape), sample)
    for shape in (sample, x.shape):
        padded = (1,) * (x.ndim - bound.ndim) + bound.shape
        if len(padded) == x.ndim and all(size in (1, of) for size, of in zip(padded, shape, strict=True)):
            return jnp.broadcast_to(bound.reshape(padded), shape)
    raise ValueError(
        f"a bound of ZBox has shape {tuple(np.shape(bound))}; expected a number, {x.shape[channel]} channels or the "
        f"shape of a sample of {tuple(x.shape)}."
    )
