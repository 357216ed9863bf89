"""Patterns: which direction in a layer's input makes a neuron respond, beside its weights, which also cancel noise.

Kindermans et al., Learning how to explain neural networks: PatternNet and PatternAttribution (ICLR 2018,
arXiv:1705.05598), with the estimators of iNNvestigate (arXiv:1808.04260). For a neuron y = w x and a mask m of samples

    cov = E_m[x y] - E_m[x] E[y],    A = cov / (w cov),    so that w A = 1,

where E_m is over the samples that m lets through and E over all. PatternNet goes back with A in place of W, and
PatternAttribution with W times A. No patches are made: sums over all positions of a convolution are gradients of the
sum of its outputs, times m, with respect to W.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import finite
from ..arguments import Parameters, PyTree, Structure, as_array, check_examples, plain
from ..backward import backward
from ..caller import warn_caller
from ..engine import forward, has_one_value, read, reading_of
from ..precision import widened
from ..rules import Gradient
from ..target import Target, marked, starting_relevance
from ..tracing.affine import Affine
from ..tracing.operations import Operation, Program

KINDS = ("relu", "relu.positive", "relu.negative", "linear")


@dataclasses.dataclass(frozen=True)
class Patterns:
    """A pattern for each affine operation of a network; a pytree.

    `np.savez(file, **patterns.arrays)` saves them and `Patterns(dict(np.load(file)))` loads them.

    Attributes:
        arrays: name of the operation, as in `describe`, to an array of the shape of its weight as folded: for each
            unit the direction A, with w A = 1.
        counts: name to the samples (and positions) that each unit's means are over, `[units]`; may be empty. A unit
            with none has a pattern of zeros.
    """

    arrays: Mapping[str, Any]
    counts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


jax.tree_util.register_dataclass(Patterns, data_fields=["arrays", "counts"], meta_fields=[])


@dataclasses.dataclass(frozen=True)
class Moments:
    """Running means of one operation over samples and positions.

    Attributes:
        count, mean_x, mean_y, product: of what the mask lets through: numbers by unit, means of x and of y, mean
            product of x and y less its mean. Of the shape of the weight, or broadcast to it.
        total, mean_all: number of all samples, and the mean of y over them.
    """

    count: jax.Array
    mean_x: jax.Array
    mean_y: jax.Array
    product: jax.Array
    total: jax.Array
    mean_all: jax.Array


jax.tree_util.register_dataclass(
    Moments, data_fields=["count", "mean_x", "mean_y", "product", "total", "mean_all"], meta_fields=[]
)


def fit_patterns(
    fn: Callable,
    params: PyTree,
    batches: Iterable[PyTree],
    *,
    pattern: str = "relu",
    fold_norm: bool | str = True,
) -> Patterns:
    """Returns the patterns of all affine operations of a network, from one pass over data.

    Moments are running means, merged without cancellation, in the dtype of the network (float32 for a half precision);
    patches are never made, and memory is that of a gradient of one batch.

    Args:
        fn: `fn(params, x)`, as for `attribute`; params: its parameters.
        batches: an iterable of inputs as `fn` takes them, of one size if possible: another size is compiled anew.
        pattern: which samples count for a unit, by its output z with the bias: "relu", the same as "relu.positive":
            z > 0; "relu.negative": z <= 0; "linear": all.
        fold_norm: as for `attribute`; `pattern_net` and `pattern_attribution` need the same.

    Raises:
        ValueError: an unknown pattern, no batches, moments that are not finite.
        NotImplementedError: a convolution whose kernel hangs on the input, or with groups of the batch.

    Warns:
        UserWarning: units without a pattern, because no sample counts for them or none of those varies.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> w, x = jnp.array([[1.0], [-1.0]]), jnp.array([[1.0, 0.0], [3.0, 1.0], [4.0, 3.0]])
        >>> patterns = attribution.fit_patterns(lambda w, x: x @ w, w, [x], pattern="linear")
        >>> [round(float(jnp.sum(w * pattern)), 3) for pattern in patterns.arrays.values()]
        [1.0]
    """
    if pattern not in KINDS:
        raise ValueError(f"pattern={pattern!r}: expected one of {', '.join(KINDS)}.")
    parameters, state = Parameters.of(params), None
    for x in batches:
        check_examples(x)
        arrays = jax.tree.map(as_array, x)
        state = _add_batch((plain(fn), parameters.structure), (pattern, fold_norm), parameters.arrays, arrays, state)
    if state is None:
        raise ValueError("batches is empty: patterns are moments of data, and there is none.")
    return _patterns(*state)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=4)
def _add_batch(network, settings, arrays, x, state):
    """Returns the moments of every operation, and its weight, after a batch more."""
    (fn, structure), (pattern, fold_norm) = network, settings
    program, values = _run(fn, structure, arrays, x, fold_norm)
    moments, weights = {}, {}
    for operation in _affine_operations(program):
        weight, _ = operation.affine.parameters(values)
        moments[operation.name] = _moments(operation, weight, values, pattern)
        weights[operation.name] = weight
    if state is not None:
        moments = {name: merged(state[0][name], one) for name, one in moments.items()}
    return moments, weights


def _run(fn: Callable, structure: Structure, arrays: Sequence, x: PyTree, fold_norm) -> tuple[Program, dict]:
    program = read(fn, structure.with_arrays(arrays), x, reading=reading_of(None, fold_norm))
    for note in program.notes:
        warn_caller(note)
    return program, forward(program, [*arrays, *jax.tree.leaves(x)])


def _affine_operations(program: Program) -> list[Operation]:
    operations = [operation for operation in program.operations if operation.affine is not None]
    if not operations:
        raise ValueError("fn has no affine operation of params outside of loops: there is nothing to have patterns.")
    inside = [o.place for o in program.flattened() if o.affine is not None and o not in operations]
    if inside:
        raise NotImplementedError(
            f"no patterns for {inside[0]}: it is inside of a loop or a branch. Write the loop out in Python, or take "
            "the branch there."
        )
    for operation in operations:
        assert operation.affine is not None
        if not operation.affine.output_axes():
            raise NotImplementedError(
                f"no patterns for {operation.place}: a convolution whose kernel hangs on x, or with groups of the "
                "batch, or a product without units of its own. Write it with x as the data and params as the kernel."
            )
    return operations


def _moments(operation: Operation, weight: jax.Array, values: Mapping, pattern: str) -> Moments:
    """The moments of one batch."""
    affine = operation.affine
    assert affine is not None
    x = affine.enter(widened(values[operation.inputs[0]])).astype(affine.dtype)
    y = affine.linear(x, weight)
    z = affine.returned(widened(values[operation.outputs[0]]))
    rest = tuple(axis for axis in range(y.ndim) if axis not in affine.output_axes())
    mask = {"linear": jnp.ones_like(z, bool), "relu.negative": z <= 0}.get(pattern, z > 0).astype(y.dtype)
    count = jnp.sum(mask, rest, keepdims=True)
    mean_y = jnp.sum(mask * y, rest, keepdims=True) / jnp.maximum(count, 1)
    _, pull = jax.vjp(lambda weight: affine.linear(x, weight), weight)
    sums, products = pull(mask)[0], pull(mask * (y - mean_y))[0]
    by_unit = functools.partial(_on_weight, affine=affine, like=weight)
    safe = by_unit(jnp.maximum(count, 1))
    total = jnp.asarray(np.prod([y.shape[axis] for axis in rest], dtype=float), y.dtype)
    return Moments(
        by_unit(count), sums / safe, by_unit(mean_y), products / safe, total,
        by_unit(jnp.mean(y, rest, keepdims=True)),
    )  # fmt: skip


def _on_weight(array: jax.Array, affine: Affine, like: jax.Array) -> jax.Array:
    """An array by unit, with the axes of the output, on the axes of the weight along which the units lie."""
    axes = affine.output_axes()
    order = sorted(axes, key=lambda axis: axes[axis])
    rest = [axis for axis in range(array.ndim) if axis not in axes]
    shape = [size if axis in axes.values() else 1 for axis, size in enumerate(like.shape)]
    return jnp.transpose(array, (*rest, *order)).reshape(shape)


def merged(one: Moments, other: Moments) -> Moments:
    """Returns the moments of two sets of samples together, without cancellation (Chan, Golub and LeVeque, 1983)."""
    count, total = one.count + other.count, one.total + other.total
    share = other.count / jnp.maximum(count, 1)
    step_x, step_y = other.mean_x - one.mean_x, other.mean_y - one.mean_y
    product = one.product + share * (other.product - one.product) + share * (1 - share) * step_x * step_y
    return Moments(
        count, one.mean_x + share * step_x, one.mean_y + share * step_y, product, total,
        one.mean_all + other.total / total * (other.mean_all - one.mean_all),
    )  # fmt: skip


def _patterns(moments: Mapping[str, Moments], weights: Mapping[str, jax.Array]) -> Patterns:
    """The patterns of these moments; says which units have none."""
    arrays, counts, without = {}, {}, []
    for name, one in moments.items():
        covariance = one.product + one.mean_x * (one.mean_y - one.mean_all)
        if not np.isfinite(np.asarray(covariance)).all():
            raise ValueError(f"the moments of {name!r} are not finite: see the data, or give a wider dtype.")
        inner = tuple(axis for axis, size in enumerate(one.mean_y.shape) if size == 1)
        scale = jnp.sum(weights[name] * covariance, inner, keepdims=True)
        arrays[name] = covariance / jnp.where(scale == 0, jnp.ones((), scale.dtype), scale)
        counts[name] = one.count.reshape(-1)
        if missing := int(jnp.sum(scale == 0)):
            without.append(f"{missing} of {scale.size} units of {name!r}")
    if without:
        warn_caller(f"{', '.join(without)} have no pattern: no sample counts for them, or their output is constant.")
    return Patterns(arrays, counts)


@dataclasses.dataclass(frozen=True)
class _Replacing:
    """The gradient through an affine operation with another weight."""

    affine: Affine
    weight: jax.Array

    def backward(self, relevance, inputs, outputs, function):
        """Returns the relevance of the one input."""
        affine = self.affine
        return (affine.leave(affine.transposed(affine.returned(relevance[0]), self.weight, affine.data.shape)),)


@dataclasses.dataclass(frozen=True)
class _PatternComposite:
    """Another weight in each affine operation, the gradient elsewhere; `weights` by name."""

    weights: Mapping[str, jax.Array]

    def assign(self, operations: Sequence[Operation]) -> list[object | None]:
        """Returns a rule for every operation."""
        return [
            Gradient() if operation.affine is None and "unknown" not in operation.kinds
            else None if operation.affine is None
            else _Replacing(operation.affine, self.weights[operation.name])
            for operation in operations
        ]  # fmt: skip


def pattern_net(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    patterns: Patterns,
    *,
    target: Target = None,
    project: bool = False,
    fold_norm: bool | str = True,
) -> tuple[PyTree, PyTree]:
    """Returns the outputs, and an estimate of the signal in `x` that they respond to.

    The gradient with the patterns A in place of the weights; it starts at the explained outputs.

    Args:
        fn, params, x, target: as for `attribute`.
        patterns: of `fit_patterns`, for this network.
        project: divide by the largest absolute value of each sample wherever all that is explained goes through one
            tensor, and at `x`: the result lies in [-1, 1] and is then defined up to its scale. As in iNNvestigate.
        fold_norm: as `fit_patterns` had it.

    Raises:
        ValueError: as `attribute`; patterns of another network, by the name of what differs.
        NotImplementedError: an operation without a gradient of its own that counts as one, see `attribute`.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: x @ w, jnp.array([[1.0], [-1.0]]), jnp.array([[1.0, 0.0], [3.0, 1.0], [4.0, 3.0]])
        >>> patterns = attribution.fit_patterns(fn, w, [x], pattern="linear")
        >>> y, signal = attribution.pattern_net(fn, w, x, patterns, target=0)
        >>> [round(float(part), 3) for part in signal @ w[:, 0]]  # what it is a signal of
        [1.0, 2.0, 1.0]
    """
    return _explain(fn, params, x, patterns, target, project, fold_norm, lambda weight, pattern: pattern)


def pattern_attribution(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    patterns: Patterns,
    *,
    target: Target = None,
    project: bool = False,
    fold_norm: bool | str = True,
) -> tuple[PyTree, PyTree]:
    """Returns the outputs, and how much each input's signal adds to them.

    The gradient with the weights times the patterns, W A, in place of the weights; it starts at the explained outputs.

    Args, Raises: as for `pattern_net`.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn, w, x = lambda w, x: x @ w, jnp.array([[1.0], [-1.0]]), jnp.array([[1.0, 0.0], [3.0, 1.0], [4.0, 3.0]])
        >>> patterns = attribution.fit_patterns(fn, w, [x], pattern="linear")
        >>> y, share = attribution.pattern_attribution(fn, w, x, patterns, target=0)
        >>> [round(float(total), 3) for total in share.sum(-1)]  # the outputs, as there is no bias
        [1.0, 2.0, 1.0]
    """
    return _explain(fn, params, x, patterns, target, project, fold_norm, lambda weight, pattern: weight * pattern)


def _explain(fn, params, x, patterns, target, project, fold_norm, combined) -> tuple[PyTree, PyTree]:
    parameters, (leaves, tree) = Parameters.of(params), jax.tree.flatten(jax.tree.map(as_array, x))
    check_examples(x)
    program, values = _run(
        plain(fn), parameters.structure, parameters.arrays, jax.tree.unflatten(tree, leaves), fold_norm
    )
    weights = {}
    for operation, array in _matched(program, patterns):
        assert operation.affine is not None
        weight, _ = operation.affine.parameters(values)
        weights[operation.name] = combined(weight, jnp.asarray(array, weight.dtype))
    y = values[program.output]
    start = widened(starting_relevance(y, target, has_one_value(program)))
    change = lambda relevance, _: _projected(relevance)  # noqa: E731
    conditions = dict.fromkeys(_bottlenecks(program), change) if project else None
    by_value = backward(program, _PatternComposite(weights), values, start, conditions=conditions)
    finite.check(program, parameters, values, by_value)
    by_sample = program.facts.depends[program.output].batch_axis == 0
    relevance = []
    for value, leaf in zip(program.graph.inputs[len(parameters.arrays) :], leaves, strict=True):
        part = by_value[value].astype(leaf.dtype) if value in by_value else jnp.zeros_like(leaf)
        relevance.append(marked(_projected(part) if project else part, start, by_sample))
    return jax.tree.unflatten(program.graph.output_tree, [y]), jax.tree.unflatten(tree, relevance)


def _matched(program: Program, patterns: Patterns) -> list[tuple[Operation, Any]]:
    """The affine operations with their patterns; raises ValueError where these are another network's."""
    if not isinstance(patterns, Patterns):
        raise ValueError(f"patterns is {type(patterns).__name__}; expected Patterns, as of fit_patterns.")
    operations = _affine_operations(program)
    names, others = {operation.name for operation in operations}, set(patterns.arrays)
    if names != others:
        lacking, more = sorted(names - others), sorted(others - names)
        raise ValueError(
            "patterns are of another network, or of this one with another fold_norm: "
            + "; ".join(
                f"{what} {', '.join(map(repr, some))}"
                for what, some in (("there is none for", lacking), ("fn has no", more))
                if some
            )
            + "."
        )
    for operation in operations:
        assert operation.affine is not None
        shape, array = tuple(operation.affine.weight.shape), patterns.arrays[operation.name]
        if tuple(np.shape(array)) != shape:
            raise ValueError(
                f"the pattern of {operation.name!r} has shape {tuple(np.shape(array))} and the weight {shape}: the "
                "patterns are of another network."
            )
    return [(operation, patterns.arrays[operation.name]) for operation in operations]


def _bottlenecks(program: Program) -> list:
    """Values between operations through which everything that is explained goes."""
    waiting, alone = {program.output}, []
    for operation in reversed(program.operations):
        if not waiting & set(operation.outputs):
            continue
        if len(waiting) == 1 and not any(equation.regions for equation in operation.equations):
            alone += list(waiting)
        waiting -= set(operation.outputs)
        waiting |= set(operation.inputs)
    return alone


def _projected(relevance: jax.Array) -> jax.Array:
    """Relevance of each sample divided by its largest absolute value; zeros stay."""
    largest = jnp.max(jnp.abs(relevance), tuple(range(1, relevance.ndim)), keepdims=True)
    return relevance / jnp.where(largest == 0, jnp.ones((), largest.dtype), largest)
