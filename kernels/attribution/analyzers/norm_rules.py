"""Rules for a whole norm y = s x + t, in the semantics of iNNvestigate: its own, and those of affine layers.

They need the norms as operations of their own: `fold_norm="apart"` of `attribute`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..precision import applied, widened
from ..rules import Branch, Term, divided
from ..stabilize import stabilize
from ..tracing.jaxpr import Equation, Value
from ..tracing.norms import SCALES, SHIFTS
from ..tracing.operations import Operation, Program, function_of


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """R' = x (y - beta) R / ((x - mu) y), the denominator moved away from zero by epsilon.

    beta is what is added after the last scale, mu what is subtracted before the first. A scale without any shift
    passes relevance on.
    """

    epsilon: float = 1e-7

    def through(
        self, operation: Operation, relevance: Sequence[jax.Array], values: Mapping[Value, Any], program: Program
    ) -> tuple[jax.Array, ...]:
        """Returns the relevance of the norm's input."""
        if not _shifts(operation):
            return (relevance[0],)
        x, y = widened(values[operation.inputs[0]]), widened(values[operation.outputs[0]])
        scale, _ = slope_and_offset(operation, values)
        scaled = _before_last_shift(operation, values)
        centred = divided(scaled, scale)
        return (x * scaled * relevance[0] / stabilize(centred * y, self.epsilon),)


@dataclasses.dataclass(frozen=True)
class ScaleLayer:
    """A rule of affine layers at y = k x + b, entry by entry, or at two such layers one after the other.

    Args:
        rule: has branches, see `rules`.
        two: y = gamma (x / tau - mu / tau) + beta as two layers.
    """

    rule: Any
    two: bool = False

    def layers(self, operation: Operation, values: Mapping[Value, Any], program: Program) -> list[tuple]:
        """Returns (k, b) of the layers, the first one first."""
        if not self.two:
            return [slope_and_offset(operation, values)]
        parts = norm_parts(operation, values, program)
        inverse = parts.inverse_deviation(parts.variance)
        return [(inverse, -parts.mean * inverse), (parts.gamma, parts.beta)]

    def through(
        self, operation: Operation, relevance: Sequence[jax.Array], values: Mapping[Value, Any], program: Program
    ) -> tuple[jax.Array, ...]:
        """Returns the relevance of the norm's input."""
        if not _shifts(operation):
            return (relevance[0],)
        layers, inputs = self.layers(operation, values, program), [widened(values[operation.inputs[0]])]
        for weight, bias in layers[:-1]:
            inputs.append(inputs[-1] * weight + bias)
        (result,) = relevance
        for (weight, bias), x in zip(reversed(layers), reversed(inputs), strict=True):
            result = entrywise(self.rule, x, weight, bias, result)
        return (result,)


def entrywise(rule: Any, x: jax.Array, weight: jax.Array, bias: jax.Array, relevance: jax.Array) -> jax.Array:
    """Returns R' of a rule's branches at x * weight + bias, all of one shape; see the formula in `rules`."""
    z, total = x * weight + bias, jnp.zeros_like(x)
    for branch in rule.branches():
        stable = rule.stabilizer if callable(rule.stabilizer) else _Added(rule.stabilizer)
        data = [_data(term, x) for term in branch.terms]
        weights = [term.weight(weight) for term in branch.terms]
        denominator = sum((t.sign * d * w for t, d, w in zip(branch.terms, data, weights, strict=True)), 0 * z)
        denominator += sum((t.sign * t.bias(bias) for t in branch.terms if t.bias is not None), 0 * z)
        share = divided(_masked(branch, z, relevance), stable(denominator))
        for term, d, w in zip(branch.terms, data, weights, strict=True):
            part = share * w * d if term.factor else share * w
            total = total + branch.coefficient * term.sign * part
    return total


class _Added(NamedTuple):
    epsilon: float

    def __call__(self, z):
        return stabilize(z, self.epsilon)


def _masked(branch: Branch, z, relevance):
    return relevance if not branch.mask else jnp.where(branch.mask * z > 0, relevance, 0)


def _data(term: Term, x: jax.Array) -> jax.Array:
    if not isinstance(term.data, str):
        return jnp.broadcast_to(jnp.asarray(term.data, x.dtype), x.shape)
    return {
        "x": lambda: x, "x+": lambda: jnp.maximum(x, 0), "x-": lambda: jnp.minimum(x, 0), "1": lambda: jnp.ones_like(x)
    }[term.data]()  # fmt: skip


def slope_and_offset(operation: Operation, values: Mapping[Value, Any]) -> tuple[jax.Array, jax.Array]:
    """Returns s and t of y = s x + t, in the shape of x."""
    return _slope_and_offset(operation, values, {})


def _slope_and_offset(operation, values, others):
    function = function_of(operation.equations, operation.inputs, operation.outputs, {**values, **others}, applied)
    x = widened(values[operation.inputs[0]])
    (offset,), pull = jax.vjp(function, jnp.zeros_like(x))
    return pull((jnp.ones_like(offset),))[0], offset


def _shifts(operation: Operation) -> bool:
    return any(equation.primitive in SHIFTS for equation in operation.equations)


def _before_last_shift(operation: Operation, values: Mapping[Value, Any]):
    """y - beta: what the last scale gives."""
    last = next((e for e in reversed(operation.equations) if e.primitive in SCALES), None)
    return widened(values[last.outputs[0] if last is not None else operation.inputs[0]])


@dataclasses.dataclass(frozen=True)
class NormParts:
    """Batch normalisation (x - mean) gamma / sqrt(variance + epsilon) + beta, taken apart; arrays in the shape of x.

    Attributes:
        variance: with epsilon in it, as it stands under the root.
        epsilon: the number that is added to it, 0 where none is.
        operation, values, root: what `inverse_deviation` computes from.
    """

    mean: jax.Array
    gamma: jax.Array
    beta: jax.Array
    variance: jax.Array
    epsilon: Any
    operation: Operation
    values: Mapping[Value, Any]
    root: Value
    between: tuple[Equation, ...]

    def inverse_deviation(self, variance: jax.Array) -> jax.Array:
        """Returns 1 / sqrt(variance) for a variance in the place of the norm's own."""
        slope, _ = self._with(variance)
        return divided(slope, self.gamma)

    def _with(self, variance):
        return _with_variance(self.operation, self.values, self.root, self.between, variance)


def _with_variance(operation, values, root, between, variance):
    others = {root: variance}
    for equation in between:
        results = applied(equation, [others.get(value, values[value]) for value in equation.inputs])
        others.update(zip(equation.outputs, results, strict=True))
    return _slope_and_offset(operation, values, others)


def norm_parts(operation: Operation, values: Mapping[Value, Any], program: Program) -> NormParts:
    """Returns mean, gamma, beta and variance of a norm that divides by a root.

    Raises:
        ValueError: there is no root in what it scales by.
    """
    root, between = _root(operation, program)
    own = widened(values[root])
    gamma, at_one = _with_variance(operation, values, root, between, jnp.ones_like(own))
    _, beta = _with_variance(operation, values, root, between, jnp.full_like(own, jnp.inf))
    source = program.facts.producer.get(root)
    epsilon: Any = 0.0
    if source is not None and source.primitive in ("add", "add_any"):
        known = [value for value in source.inputs if value.known is not None or not value.shape]
        epsilon = jnp.sum(jnp.asarray([values[value] for value in known], own.dtype)) if known else 0.0
    mean = divided(beta - at_one, gamma)
    return NormParts(mean, gamma, beta, own, epsilon, operation, values, root, between)


def _root(operation: Operation, program: Program) -> tuple[Value, tuple[Equation, ...]]:
    """The value under the root that a norm scales by, and the equations from it to the operands of the norm."""
    producer = program.facts.producer
    for equation in operation.equations:
        for operand in equation.inputs:
            if operand.active or equation.primitive not in SCALES:
                continue
            stack, reached = [operand], []
            while stack:
                source = producer.get(stack.pop())
                if source is None or source in reached:
                    continue
                reached.append(source)
                if source.primitive in ("rsqrt", "sqrt", "pow"):
                    place = program.graph.equations.index
                    return source.inputs[0], tuple(sorted(reached, key=place))
                stack += [value for value in source.inputs if not value.active]
    raise ValueError(
        f"{operation.place} scales by no root of a variance, so that it cannot be taken apart as batch normalisation."
    )
