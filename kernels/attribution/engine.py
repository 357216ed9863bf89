"""`attribute`: one forward pass of a traced function, then relevance backwards through it, rule by rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import plain_operations
from ..array_types import Count
from . import finite
from .arguments import Parameters, PyTree, as_array, check_examples, not_relevant, plain
from .assignment import READING, Composite, check_rule
from .backward import Step, backward
from .caller import warn_caller
from .chunks import check_batch_size, in_chunks
from .composites import as_composite
from .conditions import Condition, conditions_of
from .places import bodies_of, place_of, watched_of
from .precision import widened
from .report import Report, exploded_maps, warn_of_constant_maps, warn_of_explosion
from .rules import OF_RELUS, Gradient
from .target import Target, marked, starting_relevance
from .tokens import relevance_of_tokens
from .tracing.dependence import EXAMPLE
from .tracing.examples import constants_by_example
from .tracing.jaxpr import Value, trace
from .tracing.loops import run_graph
from .tracing.operations import Program, Reading, program_of
from .tracing.signs import UNKNOWN


def attribute(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    *,
    target: Target = None,
    rules: Any = "epsilon_plus_flat",
    at: str | Sequence[str] | None = None,
    return_report: bool = False,
    fold_norm: bool | str | None = None,
    batch_size: Count | None = None,
    primitive_rules: Mapping[str, Any] | None = None,
    condition: Condition | None = None,
) -> tuple[PyTree, PyTree] | tuple[PyTree, PyTree, Any]:
    """Returns the output of a function and the relevance of its input for this output.

    The function stays as it is: it is traced, and rules are applied to the operations that it is made of, whatever the
    way in which it is written. Scales and shifts by channel, BatchNorm for one, are folded into the convolution or
    product beside them. Wrap the call in `jax.jit` to compile it; it can be mapped by `jax.vmap` and differentiated.

    Args:
        fn: `fn(params, x)`, an array or a pytree with one; samples on the first axis of inputs and output. A function
            of one sample is mapped inside: `lambda params, x: jax.vmap(lambda sample: one(params, sample))(x)`.
        params: pytree of weights, an Equinox module for one; leaves that are no arrays stay as they are. Paths of its
            leaves name the layers: "conv1" for params["conv1"]["kernel"].
        x: array or pytree of arrays that gets relevance. Tokens, integers by which parameters are looked up, get that
            of what is looked up, summed over its features; other integers get none (zeros).
        target: what of the output is explained. None: all of it. An integer, or integers `[batch]`: this value of the
            last axis. "argmax": the largest. Floats of the output's shape: the relevance to start from. A function:
            of the output, gives the same. Outputs `[batch]` have one value a sample.
        rules: a composite of `composites`, its name, or a rule for all affine operations. A list or a dict of them
            gives a list or a dict of relevances from one forward pass.
        at: name of a layer or an operation (see `describe`): relevance of its output instead of that of x; with
            ":input" appended, of its input. What is folded into a layer belongs to it: its output is then the norm's.
            Several names give a dict, in which "x" is the input. A name inside of a loop, as of a `lax.scan` over
            layers, gives the relevance of all steps, with an axis of steps first; "layers/dense[3]" that of step 3,
            from 0. Where names are used in two loops they begin with the loop's: "recurrent#1/layers/dense".
        return_report: give a conservation report too, of each of the `rules`.
        fold_norm: True, "after", "before": fold scales and shifts around affine operations, only those that follow or
            that precede them; False: none of them, they pass relevance on; "apart": none, and all of a norm is one
            operation, for which `norm_rules` has rules. None: as the composite says, which is True for most of them.
        batch_size: samples at a time; bounds the memory.
        primitive_rules: name of a primitive of JAX to its rule in this call, before all composites: an instance from
            `rules`, or `rule(relevance, inputs, outputs, function)`. It gets the relevance of every output, the arrays
            of the operands that relevance can reach, the outputs, and the primitive as a function of these operands
            that returns a tuple of outputs; it returns one relevance for each operand. A name that is no primitive of
            `fn`, nested functions included, is an error: give each function the rules for what it is made of.
        condition: name, as for `at`, to what of the relevance there goes on: channels (an integer or several), a mask
            that broadcasts to the tensor, or a function of the relevance. One channel of a layer makes the explanation
            that of a concept; what a mask drops stands in the report as "other" of the operation. Inside of a loop it
            holds for every step, or for the one that is named.

    Returns:
        (y, relevance), or (y, relevance, report). Relevance has the structure and the dtypes of x; of half-precision
        networks it is computed in float32.

    Raises:
        ValueError: for a target out of range, an unknown name, kind or option, an empty batch, a NaN in x; for
            relevance that is not finite, with the layer where that begins. Inside of a `jax.jit`, where arrays cannot
            be looked at, a sample whose target is out of range, or not finite, has relevance NaN.
        NotImplementedError: for a primitive without a rule; the message has its place and the remedy.

    Warns:
        UserWarning: a norm by statistics of the batch; a constant of `fn` that differs from sample to sample; a rule
            for first layers that applies to none, as in a scan over stacked weights; maps that are constant, as those
            of Flat on a dense first layer; relevance that grows to over a thousand times the output. Under `jax.jit`
            only the report counts the last two.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn = lambda params, x: jax.nn.relu(x @ params[0]) @ params[1]
        >>> params, x = [jnp.eye(4), jnp.ones((4, 3))], jnp.arange(8.0).reshape(2, 4)
        >>> y, relevance = attribution.attribute(fn, params, x, target=0, rules="epsilon_plus")
        >>> [round(float(part), 3) for part in relevance[0]]  # their sum is y[0, 0]
        [0.0, 1.0, 2.0, 3.0]
    """
    leaves, tree = jax.tree.flatten(rules, is_leaf=_is_composite)
    composites = [as_composite(leaf) for leaf in leaves]
    said: set[str] = set()

    def programs(x):
        result = {}
        for reading in dict.fromkeys(reading_of(rule, fold_norm) for rule in composites):
            result[reading] = program = read(fn, params, x, reading=reading, primitive_rules=primitive_rules)
            mine = [rule for rule in composites if reading_of(rule, fold_norm) == reading]
            for note in (*program.notes, *_remarks(mine, program)):
                if note not in said:  # two sizes of chunks have the same to say
                    said.add(note)
                    warn_caller(note)
        return result

    def explain(by_reading, x, target):
        pairs = [(rule, by_reading[reading_of(rule, fold_norm)]) for rule in composites]
        y, results, grown, *report = _explain(
            pairs, params, x, target, at, return_report, primitive_rules, condition, batch_size is not None
        )
        return (y, grown, *(jax.tree.unflatten(tree, column) for column in (results, *report)))

    if batch_size is None:
        y, grown, relevances, *report = explain(programs(x), x, target)
    else:
        check_examples(x)
        check_batch_size(batch_size, x)
        _check_output_by_sample(fn, params, x)
        by_size: dict[int, dict] = {}

        def of_chunk(x, target):
            size = jax.tree.leaves(x)[0].shape[0]
            if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x)):
                program = programs(x)  # may hold what belongs to a trace that ends
            else:
                program = by_size[size] = by_size[size] if size in by_size else programs(x)
            y, grown, relevances, *report = explain(program, x, target)
            return (y, grown, relevances), report

        (y, grown, relevances), report = in_chunks(of_chunk, jax.tree.map(as_array, x), target, batch_size)
    for relevance in tree.flatten_up_to(relevances) if at is None else ():  # type: ignore[attr-defined]  # JAX's own
        warn_of_constant_maps(relevance)
    for one, composite in zip(grown, composites, strict=True):
        warn_of_explosion(one, composite)
    return y, relevances, *report


def _is_composite(node) -> bool:
    """Whether a node of `rules` is one choice of rules, not a list or a dict of some."""
    return not isinstance(node, (list, tuple, dict))


def _remarks(composites: Sequence, program: Program) -> list[str]:
    """What is to be said of composites for a function: a sign is lost at its end, or rules apply to nothing."""
    operations = program.flattened()
    parts = [part for one in composites for part in getattr(one, "composites", (one,)) if isinstance(part, Composite)]
    of_first = [text for part in parts if (text := part.idle_first(operations))]
    return [*_positive_end(composites, program), *_idle(composites, program), *of_first]


def _positive_end(composites: Sequence, program: Program) -> list[str]:
    """Where the output is a sigmoid and the like: relevance is taken for that of its positive values."""
    value = program.output
    for operation in reversed(program.operations):
        entrywise = {"activation", "norm_layer"} & set(operation.kinds) and "relu" not in operation.kinds
        if value in operation.outputs:
            if not entrywise:
                break
            value = operation.inputs[0]
    signs = program.facts.signs
    hides = 1 in signs.get(program.output, UNKNOWN) and 1 not in signs.get(value, UNKNOWN)
    if not hides or all(isinstance(getattr(one, "default", None), Gradient) for one in composites):
        return []
    return [
        "the output of fn is positive whatever goes into its last function, such as a sigmoid: relevance of a negative "
        "logit comes out with its sign changed. Explain the logit: leave that function out."
    ]


def _idle(composites: Sequence, program: Program) -> list[str]:
    """Where composites are a gradient but for rules of ReLUs, and there is no ReLU."""
    if any("relu" in operation.kinds for operation in program.flattened()):
        return []
    kinds = {kind for one in composites for kind, rule in getattr(one, "layer_map", ()) if isinstance(rule, OF_RELUS)}
    return [
        "fn has no ReLU, and the composite has rules for ReLUs alone: what comes out is the gradient. ReLU6 and other "
        'activations are none, as in Zennit; a pair ("activation", rule) in a layer_map is for all of them.'
    ] * ("relu" in kinds)


def reading_of(composite: Any, fold_norm: bool | str | None = None) -> Reading:
    """Returns how a function is read for a composite; `fold_norm` counts before its own unless it is None."""
    if fold_norm not in (None, True, False, "after", "before", "apart"):
        raise ValueError(f"fold_norm is {fold_norm!r}; expected True, False, 'after', 'before', 'apart' or None.")
    fields = {name: getattr(composite, name, getattr(Reading, name)) for name in READING}
    return Reading(**fields | ({} if fold_norm is None else {"fold_norm": fold_norm}))


def _explain(
    pairs: Sequence[tuple], params, x, target, at, return_report, primitive_rules, condition, is_chunk
) -> tuple:
    """Returns (y, relevances, maps that grew), perhaps with reports, of one batch, one for each (composite, program).

    Other arguments as of `attribute`.
    """
    parameters, (x_leaves, x_tree) = Parameters.of(params), jax.tree.flatten(x)
    arrays = [as_array(leaf) for leaf in (*parameters.arrays, *x_leaves)]
    forwards = {program: forward(program, arrays) for program in dict.fromkeys(program for _, program in pairs)}
    results = []
    for composite, program in pairs:
        values = forwards[program]
        y = values[program.output]
        start = widened(starting_relevance(y, target, has_one_value(program)))
        by_sample = program.facts.depends[program.output].batch_axis == 0
        steps: list[Step] | None = [] if return_report else None
        conditions = conditions_of(program, condition) if condition is not None else None
        watched = watched_of(program, at)
        by_value = backward(program, composite, values, start, steps, primitive_rules, conditions, watched)
        finite.check(program, parameters, values, by_value)

        def part(value, relevance, start=start, by_sample=by_sample):
            return marked(relevance.astype(value.dtype), start, by_sample)

        def of_leaf(value, leaf, by_value=by_value, values=values, program=program, start=start, by_sample=by_sample):
            if value.tokens:
                of_tokens = relevance_of_tokens(program.graph, value, values, by_value)
                return not_relevant(leaf) if of_tokens is None else marked(of_tokens, start, by_sample)
            return part(value, by_value[value]) if value in by_value else not_relevant(leaf)

        relevance = x_tree.unflatten(  # type: ignore[attr-defined]  # as annotated by JAX a tree has no methods
            of_leaf(value, leaf)
            for value, leaf in zip(program.graph.inputs[len(parameters.arrays) :], x_leaves, strict=True)
        )
        result = relevance if at is None else _at(program, by_value, part, relevance, at, is_chunk)
        grown = exploded_maps(relevance, start, composite)
        results.append((result, grown, Report.of(steps or (), start, relevance, grown) if return_report else None))
    y = jax.tree.unflatten(program.graph.output_tree, [y])
    relevances, growth, reports = map(list, zip(*results, strict=True))
    return (y, relevances, growth, reports) if return_report else (y, relevances, growth)


def _check_output_by_sample(fn: Callable, params: Any, x: Any) -> None:
    """Raises ValueError where the output of `fn` has no axis of samples, so that `x` cannot be cut along one."""
    arrays = jax.tree.map(as_array, x)
    parameters, batch = Parameters.of(params), jnp.shape(jax.tree.leaves(arrays)[0])[0]
    shapes = jax.eval_shape(
        lambda arrays_, x: plain(fn)(parameters.structure.with_arrays(arrays_), x), parameters.arrays, arrays
    )
    for leaf in jax.tree.leaves(shapes):
        one = len(leaf.shape) == 1 and not has_one_value(read(fn, params, x))
        if leaf.shape[:1] != (batch,) or one:
            raise ValueError(
                f"batch_size cuts x along its first axis, of {batch} samples, and fn gives an output of shape "
                f"{leaf.shape} for it: x is one sample (give it an axis of samples, x[None]), or fn mixes samples. "
                "Without batch_size fn is explained as it is."
            )


def read(
    fn: Callable,
    params: Any,
    x: Any,
    *,
    reading: Reading | None = None,
    primitive_rules: Mapping[str, Any] | None = None,
) -> Program:
    """Returns the operations of `fn(params, x)`; only shapes and dtypes of `params` and `x` matter.

    What a caller is to be warned of stands in the program's `notes`.
    """
    for name, rule in (primitive_rules or {}).items():
        if not callable(rule) or isinstance(rule, type):
            check_rule(rule, f"primitive_rules[{name!r}]")
    check_examples(x)
    fn, parameters, x_leaves = plain(fn), Parameters.of(params), jax.tree.leaves(x)
    active = [False] * len(parameters.arrays) + [True] * len(x_leaves)
    with plain_operations.asked():
        # A function of its own each time: JAX would otherwise give back what it traced of `fn` for speed.
        graph = trace(lambda arrays, x: fn(parameters.structure.with_arrays(arrays), x), (parameters.arrays, x), active)
    if len(graph.outputs) != 1:
        raise ValueError(
            f"fn returns {len(graph.outputs)} arrays; expected one: wrap it so that it returns what to explain."
        )
    if not graph.outputs[0].active:
        raise ValueError(
            "the output of fn does not hang on floating-point numbers in x by anything that has a derivative, nor on "
            "integers by which parameters are looked up: there is no relevance. Counts and pixels become floats first."
        )
    examples = graph.inputs[len(parameters.arrays) :]
    paths = [*parameters.paths, *["x"] * len(x_leaves)]
    traced = graph.primitives
    reading = dataclasses.replace(reading or Reading(), registered=frozenset(primitive_rules or ()))
    program = program_of(graph, examples, paths, reading)
    _check_primitives(primitive_rules or {}, traced | {equation.primitive for equation in graph.equations})
    notes = [
        f"a constant of fn, or a parameter, differs from sample to sample at {equation.source}: it is explained as "
        "one that does not. Make it a part of x."
        for equation in constants_by_example(graph, program.facts.depends)[:1]
    ]
    notes += [
        f"integers in x go into a loop or a branch at {line}, where they get no relevance: look them up before it."
        for line in graph.lost[:1]
    ]
    return dataclasses.replace(program, notes=(*program.notes, *notes))


def _check_primitives(primitive_rules: Mapping[str, Any], names: frozenset[str]) -> None:
    for name in primitive_rules:
        if name not in names:
            raise ValueError(
                f"primitive_rules has {name!r}, which is no primitive of fn; there are {', '.join(sorted(names))}."
            )


def has_one_value(program: Program) -> bool:
    """Whether the output is `[batch]`: one value for each sample, and not the values of one sample."""
    depends = program.facts.depends[program.output]
    return len(program.output.shape) == 1 and depends.source == EXAMPLE and depends.batch_axis == 0


def forward(program: Program, leaves: Sequence) -> dict[Value, Any]:
    """Returns every value of the program for these inputs."""
    return run_graph(program.graph, leaves)


def _at(program: Program, by_value: Mapping, part: Callable, relevance, at: str | Sequence[str], is_chunk: bool):
    """The relevance at one name, or at several as a dict; `part` gives that of a value which has some."""
    if not isinstance(at, (str, Sequence)) or not all(isinstance(name, str) for name in at):
        raise ValueError(f"at={at!r}: expected the name of a layer or an operation, or a list of names.")
    if not isinstance(at, str):
        return {name: _at(program, by_value, part, relevance, name, is_chunk) for name in at}
    if at == "x":
        return relevance
    place = place_of(program, at)
    value, loops = place.value, place.loops[len(place.steps) :]
    if loops and is_chunk:
        raise ValueError(
            f"at={at!r} lies inside of a loop, and has the steps on its first axis, where batch_size has samples: name "
            f"one step, {at}[0] for the first, or leave batch_size out."
        )
    if value not in by_value:
        return jnp.zeros((*loops, *value.shape), value.dtype)

    def of_steps(relevance, depth):
        if depth:
            return jax.vmap(lambda one: of_steps(one, depth - 1))(relevance)
        return part(value, relevance)

    return of_steps(by_value[value][place.steps], len(loops))


def describe(
    fn: Callable,
    params: PyTree,
    x: PyTree,
    *,
    rules: Any = "epsilon_plus_flat",
    fold_norm: bool | str | None = None,
    primitive_rules: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Returns what `attribute` sees: of every operation name, kinds, output shape, rule, folded layers, loop, source.

    Args: as for `attribute`; nothing is computed, `params` and `x` may be shapes (`jax.ShapeDtypeStruct`).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> rows = attribution.describe(lambda w, x: jax.nn.relu(x @ w), jnp.ones((4, 3)), jnp.ones((2, 4)))
        >>> [(row["kinds"][0], row["rule"]) for row in rows]
        [('dense', 'Flat(stabilizer=1e-06, zero_params=None)'), ('relu', 'Pass()')]
    """
    composite = as_composite(rules)
    program = read(fn, params, x, reading=reading_of(composite, fold_norm), primitive_rules=primitive_rules)
    for note in (*program.notes, *_remarks([composite], program)):
        warn_caller(note)
    operations, loops, rows = program.flattened(), bodies_of(program), []
    for operation, rule in zip(operations, composite.assign(operations), strict=True):
        if not operation.equations:  # a link
            continue
        if "registered" in operation.kinds:
            rule = (primitive_rules or {})[operation.equations[0].primitive]
        rows.append({
            "name": operation.name,
            "kinds": operation.kinds,
            "shape": operation.outputs[0].shape,
            "rule": repr(rule) if rule is not None else _without_rule(operation),
            "folded": operation.aliases,
            "inside": loops.get(operation, ""),
            "source": operation.equations[-1].source,
        })  # fmt: skip
    return rows


def _without_rule(operation) -> str:
    """What happens at an operation that a composite has no rule for."""
    if "unknown" in operation.kinds:
        return "none"
    return "those inside" if operation.bodies else "Gradient()"
