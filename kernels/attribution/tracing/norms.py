"""Norms that stand for themselves: what subtracts, scales and shifts in a row is one operation.

Batch normalisation is a subtraction, one or two scales and an addition. A rule for it as a whole needs them together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .analysis import Analysis
from .primitives import CASTS

SHIFTS = frozenset(("add", "add_any", "sub"))
SCALES = frozenset(("mul", "div", "neg"))


def merge_norms(operations: Sequence[Any], facts: Analysis) -> list[Any]:
    """Returns the operations with those of kind "norm_layer" that follow each other, and nothing else, made one.

    The one stands where the last of them stood.
    """
    result: list[Any] = []
    ends: dict[Any, Any] = {}
    for operation in operations:
        is_step = _is_step(operation)
        before = ends.pop(operation.inputs[0], None) if is_step else None
        if before is not None and facts.only_consumer(before.outputs[0]) is operation.equations[0]:
            result.remove(before)
            equations = (*before.equations, *operation.equations)
            operation = dataclasses.replace(operation, inputs=before.inputs, equations=equations)
        if is_step:
            ends[operation.outputs[0]] = operation
        result.append(operation)
    return result


def _is_step(operation) -> bool:
    if operation.kinds[0] != "norm_layer" or len(operation.inputs) != 1:
        return False
    return all(equation.primitive in SHIFTS | SCALES | CASTS for equation in operation.equations)
