"""Equations become operations: what a rule is for. A convolution with its bias and its norm is one, a mean is one.

Every operation has kinds, the most specific first, by which composites choose rules:
conv_transpose, conv, dense, affine; norm_layer; sum, avg_pool; max_pool, max; relu, activation; product; layout;
softmax, attention, recurrent and unknown are named, and have no rule of their own.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

from . import registry
from ._jaxpr import Equation, Graph, Value
from .affine import Affine
from .analysis import Analysis
from .folding import as_step, fold_after, fold_before, path_of
from .primitives import AFFINE, CASTS, ELEMENTWISE, LAYOUT, MAXIMA, SUMS
from .statistics import hold_statistics

FOLDING = (True, False, "after", "before")


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
    """

    kinds: tuple[str, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    equations: tuple[Equation, ...]
    name: str = ""
    base: str = ""
    aliases: tuple[str, ...] = ()
    affine: Affine | None = None

    def function(self, values: Mapping[Value, object]) -> Callable[..., tuple]:
        """Returns the function of its inputs alone, everything else taken from `values`."""

        def call(*inputs):
            local = dict(zip(self.inputs, inputs, strict=True))
            for equation in self.equations:
                arrays = [local[v] if v in local else values[v] for v in equation.inputs]
                local.update(zip(equation.outputs, equation.apply(*arrays), strict=True))
            return tuple(local[output] for output in self.outputs)

        return call

    @property
    def place(self) -> str:
        """Where it stands in the program, for messages."""
        equation = self.equations[0]
        scope = f" in {equation.scope}" if equation.scope else ""
        return f"{self.name}{scope}, at {_short(equation.source)}"


@dataclasses.dataclass(eq=False)
class Program:
    """A graph with its facts and its operations in execution order."""

    graph: Graph
    facts: Analysis
    operations: list[Operation]


def program_of(graph: Graph, paths: Sequence[str], fold_norm: bool | str) -> Program:
    """Returns the operations of a graph.

    Args:
        paths: of every input of the graph, "layer/parameter".
        fold_norm: True folds scales and shifts into affine operations, "after" and "before" only those that follow or
            precede them, False none but an operation's own bias.
    """
    facts = hold_statistics(graph)
    grouped: dict[Equation, Operation] = {}
    affines = [_affine(equation, facts) for equation in graph.equations]
    affines = [affine for affine in affines if affine is not None]
    taken: set[Equation] = set()
    for affine in affines:
        fold_after(affine, facts, paths, everything=fold_norm in (True, "after"))
        taken.update(step.equation for step in affine.after)
    for equation in graph.equations:
        if equation.primitive in ("reduce_sum", "reduce_window_sum") and equation.outputs[0] in facts.live:
            operation = _sum(equation, (equation.inputs[0],), facts)
            grouped[operation.equations[-1]] = operation
            taken.update(operation.equations)
    for affine in affines:
        if fold_norm in (True, "before"):
            fold_before(affine, facts, taken)
            taken.update(step.equation for step in affine.before)
        operation = _affine_operation(affine)
        grouped[operation.equations[-1]] = operation
        taken.update(operation.equations)
    operations = []
    for equation in graph.equations:
        if equation in grouped:
            operations.append(grouped[equation])
        elif equation not in taken and any(value in facts.live for value in equation.outputs):
            operations.append(_operation(equation, facts))
    _name(operations, facts, paths)
    return Program(graph, facts, operations)


def _affine(equation: Equation, facts: Analysis) -> Affine | None:
    """The affine operation of a convolution or product with one active operand and one that hangs on parameters."""
    if equation.primitive not in AFFINE or equation.primitive in registry.REGISTERED:
        return None
    active = [position for position, value in enumerate(equation.inputs) if value.active]
    if len(active) != 1 or equation.outputs[0] not in facts.live or not facts.leaves[equation.inputs[1 - active[0]]]:
        return None
    return Affine(equation, active[0])


def _affine_operation(affine: Affine) -> Operation:
    kinds = ("dense", "affine")
    if affine.core.primitive == "conv_general_dilated":
        spread = max(affine.core.params["lhs_dilation"], default=1) > 1
        kinds = ("conv_transpose", "conv", "affine") if spread else ("conv", "affine")
    steps = [step.equation for step in affine.before]
    equations = (*steps, affine.core, *(step.equation for step in affine.after))
    start = next(value for value in equations[0].inputs if value.active) if steps else affine.data
    return Operation(kinds, (start,), equations[-1].outputs, equations, affine=affine)


def _operation(equation: Equation, facts: Analysis) -> Operation:
    """The operation of an equation that is no affine one."""
    inputs = tuple(dict.fromkeys(value for value in equation.inputs if value.active))
    name = equation.primitive

    def plain(*kinds):
        return Operation(kinds, inputs, equation.outputs, (equation,))

    if name in registry.REGISTERED:
        return plain("registered")
    if name in AFFINE:
        return plain("sum") if len(inputs) == 1 and len(equation.inputs) == 2 else plain("attention", "unknown")
    if name in ("scan", "while", "cond"):
        return plain("recurrent", "unknown")
    whole = name not in ELEMENTWISE and equation.outputs[0] in facts.dominator
    if len(inputs) == 1 and (name in ELEMENTWISE or whole) and name not in LAYOUT:
        if name in ("neg", "add", "sub", "mul") or (name == "div" and equation.inputs[0] is inputs[0]):
            return plain("norm_layer")
        return plain("relu", "activation") if _is_relu(equation, facts) else plain("activation")
    if name in ELEMENTWISE and name not in CASTS | SUMS and equation.outputs[0] in facts.dominator:
        # A mask that does not hang on the value itself only drops entries.
        if name != "select_n" or equation.inputs[0] in facts.dominator:
            return _merged(equation, facts)
    if name in SUMS:
        return plain("sum")
    if name in MAXIMA:
        return plain("max_pool", "max") if name in ("reduce_window_max", "reduce_window_min") else plain("max")
    if name in LAYOUT:
        return plain("layout")
    if name in ("max", "min"):
        return plain("max")
    if name == "mul":
        return plain("product")
    if name == "div" and _is_softmax(equation, facts):
        return plain("softmax", "unknown")
    return plain("unknown")


def _merged(equation: Equation, facts: Analysis) -> Operation:
    """An activation of several equations: everything between its result and the value it is a function of."""
    output = equation.outputs[0]
    root = facts.dominator[output]
    needed, stack = set(), [equation]
    while stack:
        current = stack.pop()
        needed.add(current)
        for value in current.inputs:
            producer = facts.producer.get(value)
            if value is not root and value in facts.dominator and producer not in needed:
                stack.append(producer)
    order = [e for e in dict.fromkeys(facts.producer.values()) if e in needed]
    return Operation(("activation",), (root,), (output,), tuple(order))


def _sum(equation: Equation, inputs: tuple[Value], facts: Analysis) -> Operation:
    """A sum, together with the division by a constant that makes it a mean: the rule's epsilon belongs to the mean."""
    equations, value = [equation], equation.outputs[0]
    best = 1
    while len(facts.consumers.get(value, ())) == 1:
        following = facts.consumers[value][0]
        if following is None:
            break
        step = as_step(following, value)
        constant = step is not None and (step.operand is None or not facts.leaves[step.operand])
        scales = constant and step.kind in ("multiply", "divide")
        reshapes = following.primitive in ("broadcast_in_dim", "reshape", "squeeze", "expand_dims") and _size(
            following.outputs[0]
        ) == _size(value)
        if not (scales or reshapes or (constant and step.kind == "cast")):
            break
        equations.append(following)
        value = following.outputs[0]
        best = len(equations) if scales else best
    equations = equations[:best]
    kinds = ("avg_pool", "sum") if best > 1 else ("sum",)
    return Operation(kinds, inputs, equations[-1].outputs, tuple(equations))


def _is_relu(equation: Equation, facts: Analysis) -> bool:
    if equation.primitive == "relu":
        return True
    if equation.primitive != "max" or not any(_number(value, facts) == 0 for value in equation.inputs):
        return False
    # Cut from above by what follows, it is a ReLU6.
    following = facts.consumers.get(equation.outputs[0], [None])
    return not (len(following) == 1 and following[0] is not None and following[0].primitive == "min")


def _number(value: Value, facts: Analysis) -> float | None:
    while value.known is None and value in facts.producer:
        equation = facts.producer[value]
        if equation.primitive not in ("broadcast_in_dim", "convert_element_type"):
            return None
        value = equation.inputs[0]
    return value.known


def _is_softmax(equation: Equation, facts: Analysis) -> bool:
    numerator, denominator = equation.inputs
    while denominator in facts.producer and facts.producer[denominator].primitive in LAYOUT:
        denominator = facts.producer[denominator].inputs[0]
    made = facts.producer.get(denominator)
    return made is not None and made.primitive == "reduce_sum" and made.inputs[0] is numerator


def _size(value: Value) -> int:
    size = 1
    for n in value.shape:
        size *= n
    return size


def _name(operations: Sequence[Operation], facts: Analysis, paths: Sequence[str]) -> None:
    """Gives every operation a unique name, and the layers whose parameters it uses."""
    counts: collections.Counter = collections.Counter()
    nameless: set[Operation] = set()
    for operation in operations:
        layers: dict[str, None] = {}
        if operation.affine is not None:
            layers |= dict.fromkeys(_layers(operation.affine.weight, facts, paths))
        for equation in operation.equations:
            for value in equation.inputs:
                if not value.active:
                    layers |= dict.fromkeys(_layers(value, facts, paths))
        scope = operation.equations[0].scope
        operation.base = next(iter(layers), "") or scope or operation.kinds[0]
        if not layers and not scope:
            nameless.add(operation)
        if operation.equations[0].primitive == "name":
            operation.base = operation.equations[0].params["name"]
            nameless.discard(operation)
        operation.aliases = tuple(layer for layer in layers if layer and layer != operation.base)
    # The one affine operation of a layer has its plain name, whatever else uses the layer's parameters.
    affine = collections.Counter(operation.base for operation in operations if operation.affine is not None)
    for operation in sorted(operations, key=lambda o: o.affine is None or affine[o.base] > 1):
        key = (operation.base, operation in nameless)
        counts[key] += 1
        numbered = counts[key] > 1 or operation in nameless or affine[operation.base] > 1
        operation.name = f"{operation.base}#{counts[key]}" if numbered else operation.base


def _layers(value: Value, facts: Analysis, paths: Sequence[str]) -> list[str]:
    """Layers of the parameters a value is computed from, the common one first; a parameter at the top is its own."""
    parents = [path_of(paths[leaf]) or paths[leaf] for leaf in sorted(facts.leaves[value]) if leaf >= 0]
    if len(set(parents)) > 1:
        common = os.path.commonprefix([parent.split("/") + [""] for parent in parents])
        parents.insert(0, "/".join(part for part in common if part))
    return list(dict.fromkeys(parents))


def _short(source: str) -> str:
    """The file's name and line instead of its whole path."""
    path, _, rest = source.partition(":")
    return f"{os.path.basename(path)}:{rest}" if rest else source
