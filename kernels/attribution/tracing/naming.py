"""Names of operations: the layers whose parameters they use, else the name stack, else their kind and a number."""

from __future__ import annotations

import collections
import os
from collections.abc import Sequence

from .analysis import Analysis
from .dependence import PARAMETERS
from .folding import path_of
from .jaxpr import Value


def name_operations(operations: Sequence, facts: Analysis, paths: Sequence[str]) -> None:
    """Gives every operation a unique name, and the layers whose parameters it uses."""
    counts: collections.Counter = collections.Counter()
    nameless = set()
    for operation in operations:
        layers: dict[str, None] = {}
        if operation.affine is not None:
            layers |= dict.fromkeys(_layers(operation.affine.weight, facts, paths))
        for equation in () if operation.bodies else operation.equations:
            for value in equation.inputs:
                if not value.active and facts.depends[value].source == PARAMETERS:
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
