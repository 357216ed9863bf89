"""Constants that are added to what products and convolutions give, but not to one of them alone.

`x A + h B + b`, halves of a product that are put together before the bias, a bias behind a flip: such a b is no part
of one affine operation, and yet a bias. It is a summand that keeps its share of the relevance, as the bias of a layer
does. It is a parameter beside the weight of one of them; other shifts, and what is added to activations, are those of
norms, which pass everything on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from .affine import Affine
from .analysis import Analysis
from .dependence import CONSTANT, has_batch
from .folding import stands_beside
from .jaxpr import Equation, Value
from .primitives import LAYOUT

_SUMS = frozenset("add add_any sub reduce_sum reduce_window_sum cumsum scatter-add neg".split())
_SCALES = frozenset(("mul", "div"))


@dataclasses.dataclass
class Biases:
    """Tells which additions of constants are biases.

    Attributes:
        cores: affine operations by their convolution or product.
    """

    facts: Analysis
    paths: Sequence[str]
    cores: Mapping[Equation, Affine]
    _found: dict[Value, frozenset[Equation] | None] = dataclasses.field(default_factory=dict)

    def is_bias(self, equation: Equation) -> bool:
        """Whether an addition or subtraction with one active operand adds a bias."""
        if equation.primitive not in ("add", "add_any", "sub", "scatter-add"):
            return False
        data = next(value for value in equation.inputs if value.active)
        if equation.primitive == "sub" and equation.inputs[0] is not data:
            return False
        addend = equation.inputs[-1] if equation.inputs[0] is data else equation.inputs[0]
        if addend is data or not self._summed(data):
            return False
        return self._is_own(addend, data)

    def _is_own(self, addend: Value, data: Value) -> bool:
        """Whether what is added is a parameter beside one of the weights, and varies along no more axes than they do:
        an embedding of positions varies along tokens, too."""
        leaves, cores = self.facts.leaves, self._found[data] or ()  # `data` was found to be a sum of these
        if any(leaves[addend] & leaves[self.cores[core].weight] for core in cores):
            return False  # a statistic of the weights themselves
        return any(
            stands_beside(addend, self.cores[core].weight, self.facts, self.paths)
            and self._axes(addend, data) <= len(self.cores[core].output_axes())
            for core in cores
        )

    def _axes(self, addend: Value, data: Value) -> int:
        """Along how many axes a constant varies, that of the examples apart."""
        ends = [self.facts.depends[value].axes for value in (addend, data)]
        axes = ends[0] if len(ends[0]) < len(ends[1]) else [a for a, b in zip(*ends, strict=True) if not has_batch(b)]
        return sum(any(part.label != CONSTANT and part.size > 1 for part in axis) for axis in axes)

    def _summed(self, value: Value) -> frozenset[Equation] | None:
        """The products and convolutions that a value is a linear function of; None where it hangs on anything else."""
        stack = [value]
        while stack:
            current = stack[-1]
            if current in self._found:
                stack.pop()
                continue
            source = self.facts.producer.get(current)
            active = self._linear(source) if source is not None and source not in self.cores else None
            waiting = [operand for operand in active or () if operand not in self._found]
            if waiting:
                stack += waiting
                continue
            if source is not None and source in self.cores:
                self._found[current] = frozenset((source,))
            else:
                parts = [self._found[operand] for operand in active or ()]
                linear = [part for part in parts if part is not None]
                self._found[current] = frozenset().union(*linear) if linear and len(linear) == len(parts) else None
            stack.pop()
        return self._found[value]

    def _linear(self, equation: Equation) -> list[Value] | None:
        """The active operands of which an equation is linear, apart from constants; None for another equation."""
        active = [value for value in dict.fromkeys(equation.inputs) if value.active]
        name = equation.primitive
        if name in ("sort", "top_k") or equation.call == "opaque":
            return None
        if name in LAYOUT or name in _SUMS:
            return active
        if name in _SCALES and len(active) == 1 and equation.inputs.count(active[0]) == 1:
            return active if name == "mul" or equation.inputs[0] is active[0] else None
        return None
