"""Equations become operations: what a rule is for. A convolution with its bias and its norm is one, a mean is one.

Every operation has kinds, the most specific first, by which composites choose rules:
conv_transpose, conv, dense, affine; norm_layer; bias, sum, avg_pool; max_pool, max; relu, activation; product;
embedding, layout;
attention_weights, softmax, attention, branch, recurrent, call and unknown have no rule of their own.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence

from .activations import is_relu
from .affine import Affine
from .analysis import Analysis, analyse
from .biases import Biases
from .canonical import canonicalise, rewrite
from .dependence import PARAMETERS
from .examples import Examples
from .folding import as_step, fold_after, fold_before
from .jaxpr import Equation, Graph, Value, passes_through
from .joined import join_products
from .layout import is_rearrangement
from .loops import Sides, keep_carries, results_of
from .naming import name_operations
from .norms import merge_norms
from .pooling import pooled_from_identity
from .primitives import AFFINE, CASTS, ELEMENTWISE, LAYOUT, MAXIMA, NESTED, SUMS
from .signs import NOT_NEGATIVE, signs_of
from .softmax import comes_from_softmax, is_softmax, logits_of, weighs_values
from .statistics import Held, hold_statistics


@dataclasses.dataclass(eq=False)
class Operation:
    """A node through which relevance goes back.

    Attributes:
        kinds: the most specific first.
        inputs: active values that get relevance; outputs: those that have it.
        equations: what computes outputs from inputs, in execution order.
        name: layer path, name stack, or kind and number; base is the same without what makes it unique.
        aliases: other layers whose parameters are folded in.
        affine: for affine operations.
        gates: which of the inputs of a product come from a function with values between 0 and 1.
        bodies: of a loop, the program of its step; of a choice, those of its branches.
    """

    kinds: tuple[str, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    equations: tuple[Equation, ...]
    name: str = ""
    base: str = ""
    aliases: tuple[str, ...] = ()
    affine: Affine | None = None
    gates: tuple[int, ...] = ()
    bodies: tuple[Program, ...] = ()

    def function(self, values: Mapping[Value, object], apply: Callable) -> Callable[..., tuple]:
        """Returns the function of its inputs alone, everything else taken from `values`.

        Args:
            apply: (equation, arrays) to its results.
        """
        return function_of(self.equations, self.inputs, self.outputs, values, apply)

    @property
    def place(self) -> str:
        """Where it stands in the program, for messages."""
        equation = self.equations[0]
        path, _, rest = equation.source.partition(":")
        scope = f" in {equation.scope}" if equation.scope else ""
        return f"{self.name}{scope}, at {os.path.basename(path)}:{rest}" if rest else f"{self.name}{scope}"


def function_of(
    equations: Sequence[Equation], inputs, outputs, values: Mapping, apply: Callable
) -> Callable[..., tuple]:
    """Returns what equations compute, as a function of `inputs`; everything else is taken from `values`."""

    def call(*arrays):
        local = dict(zip(inputs, arrays, strict=True))
        for equation in equations:
            operands = [local[v] if v in local else values[v] for v in equation.inputs]
            results = apply(equation, operands)
            local.update((v, r) for v, r in zip(equation.outputs, results, strict=True) if v not in inputs)
        return tuple(local[output] for output in outputs)

    return call


@dataclasses.dataclass(eq=False)
class Program:
    """A graph with its facts and its operations in execution order.

    Attributes:
        held: equations that read a statistic as a constant.
        notes: what a caller should be warned of.
    """

    graph: Graph
    facts: Analysis
    operations: list[Operation]
    held: Mapping[Equation, Held]
    notes: tuple[str, ...] = ()

    @property
    def output(self) -> Value:
        """The one output."""
        return self.graph.outputs[0]

    def flattened(self) -> list[Operation]:
        """Returns the operations, those inside of loops and branches in their place.

        In front of and behind these stand `links`, which say which of their values are which of the values outside.
        """
        result: list[Operation] = []
        for operation in self.operations:
            for body in operation.bodies:
                entries, exits = _links(operation.equations[-1], body.graph)
                result += [*entries, *body.flattened(), *exits]
            result.append(operation)
        return result

    def trail(self, value: Value) -> tuple[Value, list[Equation]] | None:
        """Returns the input that a value is, rearranged, and the equations that do it; None for another value."""
        steps: list[Equation] = []
        while value in self.facts.producer and is_rearrangement(self.facts.producer[value]):
            steps.insert(0, self.facts.producer[value])
            value = steps[0].inputs[0]
        return (value, steps) if value in self.graph.inputs else None


LINK = "link"  # the kind of what is no operation: a value outside of a body is one inside of it
CARRY = "carry"  # the same, of a value that comes from the step before


def _links(equation: Equation, body: Graph) -> tuple[list[Operation], list[Operation]]:
    """What enters a body, and what leaves it."""
    inputs, outputs = equation.inputs, equation.outputs
    if equation.primitive == "cond":
        inputs = inputs[1:]
    carries = set(Sides.operands(equation, body.inputs).carries) if equation.primitive == "scan" else set()
    entries = [
        Operation((CARRY if inner in carries else LINK,), (outer,), (inner,), ())
        for outer, inner in zip(inputs, body.inputs, strict=True)
        if inner.active
    ]
    exits = [
        Operation((LINK,), (inner,), (outer,), ())
        for inner, outer in zip(body.outputs, outputs, strict=True)
        if inner.active
    ]
    return entries, exits


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a graph is read.

    Attributes:
        fold_norm: True folds scales and shifts into affine operations, "after" and "before" only those that follow or
            precede them, False none but an operation's own bias; "apart" as False, and each norm is one operation.
        hold_means: whether means that norms take off are constants.
        join_products: whether products that are summed are one.
        registered: primitives that have a rule of the user's.
    """

    fold_norm: bool | str = True
    hold_means: bool = True
    join_products: bool = False
    registered: frozenset[str] = frozenset()


def program_of(graph: Graph, examples: Examples, paths: Sequence[str], reading: Reading = Reading()) -> Program:
    """Returns the operations of a graph.

    Args:
        examples: the inputs of the graph that hold examples.
        paths: of every input of the graph, "layer/parameter".
    """
    fold_norm, registered = reading.fold_norm, reading.registered
    canonicalise(graph, examples, registered)
    if reading.join_products:
        join_products(graph, registered)
    _rewrite_pools(graph, examples, registered)
    facts, statistics, notes = hold_statistics(graph, examples, reading.hold_means)
    grouped: dict[Equation, Operation] = {}
    candidates = (_affine(equation, facts, registered) for equation in graph.equations)
    affines = [affine for affine in candidates if affine is not None]
    biases = Biases(facts, paths, {affine.core: affine for affine in affines})
    kinds = _Kinds(graph, facts, registered, biases)
    relus = {equation: relu for equation in graph.equations if (relu := kinds.relu(equation)) is not None}
    inside = {equation for relu in relus.values() for equation in relu.equations}
    folded: set[Equation] = set()
    for affine in affines:
        fold_after(affine, facts, paths, inside, everything=fold_norm in (True, "after"), biases=fold_norm == "apart")
        folded.update(step.equation for step in affine.after)
    cores = {affine.core for affine in affines}
    for equation in graph.equations:
        sums = equation.primitive in ("reduce_sum", "reduce_window_sum") or _is_weighted_sum(equation, cores)
        if sums and equation.primitive not in registered and equation.outputs[0] in facts.live:
            operation = _sum(equation, facts)
            grouped[operation.equations[-1]] = operation
            folded.update(operation.equations)
    for affine in affines:
        if fold_norm in (True, "before"):
            fold_before(affine, facts, folded | inside)
            folded.update(step.equation for step in affine.before)
        operation = _affine_operation(affine)
        grouped[operation.equations[-1]] = operation
        folded.update(operation.equations)
    grouped |= relus
    operations = []
    for equation in graph.equations:
        if equation in grouped:
            operations.append(grouped[equation])
        elif equation not in folded and any(value in facts.live for value in equation.outputs):
            operations.append(kinds.operation(equation))
    operations = merge_norms(operations, facts) if fold_norm == "apart" else operations
    operations = _reachable(operations, graph.outputs, statistics)
    for operation in operations:
        if operation.equations[-1].bodies and "registered" not in operation.kinds:
            operation.bodies = _bodies(operation.equations[-1], facts, paths, reading)
            notes += tuple(note for body in operation.bodies for note in body.notes if note not in notes)
    name_operations(operations, facts, paths)
    return Program(graph, facts, operations, statistics, notes)


def _bodies(equation: Equation, facts: Analysis, paths: Sequence[str], reading: Reading) -> tuple[Program, ...]:
    """The programs of the step of a loop, or of the branches of a choice."""
    operands, depends = equation.inputs, [facts.depends[value] for value in equation.inputs]
    if equation.primitive == "scan":
        keep_carries(equation)
        depends, _ = results_of(equation, depends)
    else:
        operands, depends = operands[1:], depends[1:]
    programs = []
    for body in equation.bodies:
        examples = {
            inner: one
            for inner, outer, one in zip(body.inputs, operands, depends, strict=True)
            if one.source != PARAMETERS or not facts.leaves[outer]
        }
        names = [_path(facts.leaves[outer], paths) for outer in operands]
        programs.append(program_of(body, examples, names, reading))
    return tuple(programs)


def _path(leaves: Collection[int], paths: Sequence[str]) -> str:
    """The path of a parameter that a body gets, or what the paths of several have in common."""
    names = [paths[leaf] for leaf in sorted(leaves) if leaf >= 0]
    return os.path.commonpath(names) if names and all(names) else ""


def _rewrite_pools(graph: Graph, examples: Examples, registered: Collection[str]) -> None:
    """Rewrites maxima over windows from other numbers than -inf; which these may be is a matter of signs."""
    if not any(equation.primitive == "reduce_window" for equation in graph.equations):
        return
    facts = analyse(graph, examples)
    kinds = _Kinds(graph, facts, registered, Biases(facts, (), {}))
    relus = {equation.outputs[0]: NOT_NEGATIVE for equation in graph.equations if kinds.relu(equation) is not None}
    signs = signs_of(graph, relus)
    rewrite(graph, lambda graph, one, makers: pooled_from_identity(graph, one, makers, signs), registered)


def _reachable(
    operations: Sequence[Operation], outputs: Sequence[Value], statistics: Mapping[Equation, Held]
) -> list[Operation]:
    """The operations that relevance can come to: what lies inside of an activation of several equations does not."""
    live = set(outputs)
    result: list[Operation] = []
    for operation in reversed(operations):
        if not any(output in live for output in operation.outputs):
            continue
        result.insert(0, operation)
        live.update(operation.inputs)
        for equation in operation.equations:
            live.update(value for region in equation.regions for value in region.inputs)
            live.update([statistics[equation].root] if equation in statistics else ())
    return result


def _affine(equation: Equation, facts: Analysis, registered: Collection[str]) -> Affine | None:
    """The affine operation of a convolution or product with one active operand and one that hangs on parameters."""
    if equation.primitive not in AFFINE or equation.primitive in registered:
        return None
    active = [position for position, value in enumerate(equation.inputs) if value.active]
    if len(active) != 1 or equation.outputs[0] not in facts.live:
        return None
    weight = equation.inputs[1 - active[0]]
    # Weights that hang on the example, and constants of no parameter, make weighted sums.
    if not facts.leaves[weight] or not facts.depends[weight].is_shared:
        return None
    return Affine(equation, active[0])


def _affine_operation(affine: Affine) -> Operation:
    kinds: tuple[str, ...] = ("dense", "affine")
    if affine.core.primitive == "conv_general_dilated":
        spread = max(affine.core.params["lhs_dilation"], default=1) > 1
        kinds = ("conv_transpose", "conv", "affine") if spread else ("conv", "affine")
    steps = [step.equation for step in affine.before]
    equations = (*steps, affine.core, *(step.equation for step in affine.after))
    start = next(value for value in equations[0].inputs if value.active) if steps else affine.data
    return Operation(kinds, (start,), equations[-1].outputs, equations, affine=affine)


def _sum(equation: Equation, facts: Analysis) -> Operation:
    """A sum, together with the division by a constant that makes it a mean: the rule's epsilon belongs to the mean."""
    equations, value, best = [equation], equation.outputs[0], 1
    while (following := facts.only_consumer(value)) is not None:
        step = as_step(following, value)
        constant = step is not None and (step.operand is None or _is_constant(step.operand, facts))
        kind = step.kind if constant and step is not None else ""
        scales = kind in ("multiply", "divide")
        if not (scales or is_rearrangement(following) or kind == "cast"):
            break
        equations.append(following)
        value = following.outputs[0]
        best = len(equations) if scales else best
    equations = equations[:best]
    kinds = ("avg_pool", "sum") if best > 1 else ("sum",)
    inputs = tuple(value for value in equation.inputs if value.active)
    return Operation(kinds, inputs, equations[-1].outputs, tuple(equations))


def _is_weighted_sum(equation: Equation, cores: Collection[Equation]) -> bool:
    """Whether a product is a sum with weights that are no parameters, as a mean by a matrix of ones."""
    one = sum(value.active for value in equation.inputs) == 1
    return equation.primitive in AFFINE and equation not in cores and one


def _is_constant(value: Value, facts: Analysis) -> bool:
    return not facts.leaves[value] and facts.depends[value].is_shared


_LONGEST_RELU = 24  # equations that one is written with
GATES = ("logistic", "sigmoid", "hard_sigmoid")  # functions with values between 0 and 1


@dataclasses.dataclass
class _Kinds:
    """Tells what an equation that is no affine operation is."""

    graph: Graph
    facts: Analysis
    registered: Collection[str]
    biases: Biases
    place: dict[Equation, int] = dataclasses.field(init=False)

    def __post_init__(self):
        self.place = {equation: number for number, equation in enumerate(self.graph.equations)}

    def operation(self, equation: Equation) -> Operation:
        inputs = tuple(dict.fromkeys(value for value in equation.inputs if value.active))
        name, facts = equation.primitive, self.facts

        def plain(*kinds, **fields):
            return Operation(kinds, inputs, equation.outputs, (equation,), **fields)

        if equation in self.graph.lookups:
            return plain("embedding", "layout")
        if name in self.registered:
            return plain("registered")
        if equation.call == "opaque":
            return plain("activation") if passes_through(equation) else plain("call", "unknown")
        if name in AFFINE:
            return self._product(equation, inputs)
        if name in NESTED:
            return plain("branch" if name == "cond" else "recurrent")
        if name == "while":
            return plain("recurrent", "unknown")
        if is_softmax(equation, facts):
            return self._softmax(equation, plain)
        entrywise = name in ELEMENTWISE or equation.call == "entrywise" or equation.passes_straight
        if len(inputs) == 1 and entrywise and name not in LAYOUT:
            if name in ("neg", "add", "add_any", "sub", "mul") or (name == "div" and equation.inputs[0] is inputs[0]):
                if equation.inputs.count(inputs[0]) > 1:
                    return self._merged(equation)
                return plain("bias", "sum") if self.biases.is_bias(equation) else plain("norm_layer")
            return plain("activation")
        if entrywise and name not in CASTS and equation.outputs[0] in facts.dominator:
            # A mask that does not hang on the value itself only drops entries.
            if name != "select_n" or equation.inputs[0] in facts.dominator:
                return self._merged(equation)
        if name == "scatter-add" and inputs == equation.inputs[:1]:
            return plain("bias", "sum") if self.biases.is_bias(equation) else plain("norm_layer")
        for group, kinds in (
            (SUMS, ("sum",)), (MAXIMA, ("max",)), (LAYOUT, ("layout",)), (("max", "min"), ("max",)),
        ):  # fmt: skip
            if name in group:
                return plain("max_pool", "max") if name in ("reduce_window_max", "reduce_window_min") else plain(*kinds)
        if name == "mul":
            return plain("product", gates=self._gates(inputs))
        return plain("unknown")

    def _product(self, equation: Equation, inputs) -> Operation:
        """A product of two values that both hang on the input."""
        is_attention = any(comes_from_softmax(value, self.facts) for value in inputs)
        kinds = ("attention", "unknown") if is_attention else ("product",)
        return Operation(kinds, inputs, equation.outputs, (equation,), gates=self._gates(inputs))

    def _softmax(self, equation: Equation, plain: Callable[..., Operation]) -> Operation:
        """A softmax from its logits on; one that weighs values is of another kind than one that makes the output."""
        kinds: tuple[str, ...] = ("softmax", "unknown")
        if weighs_values(equation, self.facts):
            kinds = ("attention_weights", *kinds)
        whole = logits_of(equation, self.graph, self.facts)
        if whole is None:
            return plain(*kinds)
        logits, equations = whole
        return Operation(kinds, (logits,), equation.outputs, equations)

    def _merged(self, equation: Equation) -> Operation:
        """An activation of several equations: everything between its result and the value it is a function of."""
        root = self.facts.dominator[equation.outputs[0]]
        return Operation(("activation",), (root,), equation.outputs, self._between(root, equation))

    def _between(self, root: Value, equation: Equation, longest: float = math.inf) -> tuple[Equation, ...]:
        """The equations that compute an entrywise function of `root`; only some of more than `longest`."""
        path: set[Equation] = set()
        stack = [equation]
        while stack and len(path) <= longest:
            current = stack.pop()
            path.add(current)
            for value in current.inputs:
                producer = self.facts.producer.get(value)
                if value is root or value not in self.facts.dominator or producer is None:
                    continue
                if producer not in path:
                    stack.append(producer)
        return tuple(sorted(path, key=self.place.__getitem__))

    def relu(self, equation: Equation) -> Operation | None:
        """The ReLU that an equation ends, however it is written; None where it ends none."""
        if (
            len(equation.outputs) != 1
            or equation.outputs[0] not in self.facts.live
            or equation.primitive in self.registered
        ):
            return None
        root = self.facts.dominator.get(equation.outputs[0])
        for _ in range(_LONGEST_RELU):
            if root is None:
                return None
            equations = self._between(root, equation, _LONGEST_RELU)
            if len(equations) > _LONGEST_RELU:
                return None
            if is_relu(equations, root, self.graph.constants, self.facts.producer):
                # Cut from above, before or after, it is a ReLU6.
                after, before = self.facts.only_consumer(equation.outputs[0]), self.facts.producer.get(root)
                if self._cuts(after) or (self._only(root) and self._cuts(before)):
                    return None
                return Operation(("relu", "activation"), (root,), equation.outputs, equations)
            root = self.facts.dominator.get(root)
        return None

    def _only(self, value: Value) -> bool:
        return self.facts.only_consumer(value) is not None

    def _cuts(self, equation: Equation | None) -> bool:
        if equation is None or equation.primitive not in ("min", "clamp"):
            return False
        return sum(value.active for value in equation.inputs) == 1

    def _gates(self, inputs: Sequence[Value]) -> tuple[int, ...]:
        return tuple(i for i, value in enumerate(inputs) if self._is_gate(value))

    def _is_gate(self, value: Value) -> bool:
        """Whether a value lies between 0 and 1 by what it is computed with; 1 less a gate is one, too."""
        if self._moved(value, GATES) is not None or comes_from_softmax(value, self.facts):
            return True
        rest = self._moved(value, ("sub",))
        return rest is not None and rest.inputs[0].known == 1 and self._is_gate(rest.inputs[1])

    def _moved(self, value: Value, primitives: Collection[str]) -> Equation | None:
        """The equation of one of `primitives` that a value is the result of, perhaps moved and cast."""
        while (source := self.facts.producer.get(value)) is not None:
            if source.primitive in primitives:
                return source
            if source.primitive not in LAYOUT or sum(operand.active for operand in source.inputs) != 1:
                return None
            value = next(operand for operand in source.inputs if operand.active)
        return None
