"""The conservation report: what every operation got, passed on, and kept, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

COLUMNS = ("received", "passed", "bias", "epsilon", "constant", "other")
SHORTEST = 28  # the width of the column of names


@dataclasses.dataclass
class Report:
    """Relevance by operation in backward order, summed over the batch; a pytree whose names are static.

    Attributes:
        names, kinds, rules: of the operations.
        received, passed: relevance of the outputs, and of the inputs together, `[operations]`.
        bias, epsilon: what a bias and a stabiliser kept of the difference, `[operations]`.
        constant: what arrived at constants that stand beside values: padding, a token of parameters, the other side of
            a maximum or of a choice, `[operations]`.
        other: the rest of it: gradients, and rules that promise no conservation, `[operations]`.
        explained: relevance at the output. arrived: at the inputs.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    rules: tuple[str, ...]
    received: jax.Array
    passed: jax.Array
    bias: jax.Array
    epsilon: jax.Array
    constant: jax.Array
    other: jax.Array
    explained: jax.Array
    arrived: jax.Array

    @classmethod
    def of(cls, steps: Sequence, start: jax.Array, relevance) -> Report:
        """Returns the report of the steps of one way back; see `backward.Step`."""
        columns = [
            [step.received for step in steps], [step.passed for step in steps],
            [step.kept.bias for step in steps], [step.kept.epsilon for step in steps],
        ]  # fmt: skip
        received, passed, bias, epsilon = (
            jnp.stack([jnp.asarray(number, start.dtype) for number in column]) if column else jnp.zeros(0, start.dtype)
            for column in columns
        )
        rest = received - passed - bias - epsilon
        constant = jnp.where(np.array([_reaches_constants(step.operation) for step in steps], bool), rest, 0)
        return cls(
            tuple(step.operation.name for step in steps),
            tuple(step.operation.kinds[0] for step in steps),
            tuple(type(step.rule).__name__ for step in steps),
            received, passed, bias, epsilon, constant, rest - constant, jnp.sum(start),
            sum(jnp.sum(leaf) for leaf in jax.tree.leaves(relevance)),
        )  # fmt: skip

    def __str__(self) -> str:
        """A table."""
        short = _shortened(self.names)
        width = max(SHORTEST, *map(len, short.values())) if short else SHORTEST
        rows = [f"{'operation':<{width}} {'kind':<12} " + " ".join(f"{name:>11}" for name in COLUMNS)]
        columns = [np.asarray(getattr(self, name)) for name in COLUMNS]
        for index, (name, kind) in enumerate(zip(self.names, self.kinds, strict=True)):
            numbers = " ".join(f"{column[index]:>11.4g}" for column in columns)
            rows.append(f"{short[name]:<{width}} {kind:<12} {numbers}")
        rows.append(f"explained {float(self.explained):.6g}, arrived {float(self.arrived):.6g}")
        return "\n".join(rows)


def _shortened(names: Sequence[str]) -> dict[str, str]:
    """Returns the ends of long names, as short as different names stay different."""
    different = set(names)
    for width in range(SHORTEST, max(map(len, different), default=0) + 1):
        short = {name: name if len(name) <= width else "…" + name[1 - width :] for name in different}
        if len(set(short.values())) == len(different):
            return short
    return {name: name for name in different}


def _reaches_constants(operation) -> bool:
    """Whether what an operation does not pass on has gone to constants."""
    return operation.kinds[0] in ("layout", "max", "max_pool")


jax.tree_util.register_dataclass(
    Report,
    data_fields=[*COLUMNS, "explained", "arrived"],
    meta_fields=["names", "kinds", "rules"],
)
