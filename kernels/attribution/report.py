"""The conservation report: what every operation got, passed on, and kept, and why."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np


@dataclasses.dataclass
class Report:
    """Relevance by operation in backward order, summed over the batch; a pytree whose names are static.

    Attributes:
        names, kinds, rules: of the operations.
        received, passed: relevance of the outputs, and of the inputs together, `[operations]`.
        bias, epsilon: what a bias and a stabiliser kept of the difference, `[operations]`.
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
    other: jax.Array
    explained: jax.Array
    arrived: jax.Array

    def __str__(self) -> str:
        """A table."""
        rows = [
            f"{'operation':<28} {'kind':<12} {'received':>12} {'passed':>12} {'bias':>11} {'epsilon':>11} {'other':>11}"
        ]
        columns = [np.asarray(c) for c in (self.received, self.passed, self.bias, self.epsilon, self.other)]
        for index, (name, kind) in enumerate(zip(self.names, self.kinds, strict=True)):
            numbers = [column[index] for column in columns]
            rows.append(
                f"{name[-28:]:<28} {kind:<12} {numbers[0]:>12.5g} {numbers[1]:>12.5g} "
                + " ".join(f"{number:>11.3g}" for number in numbers[2:])
            )
        rows.append(f"explained {float(self.explained):.6g}, arrived {float(self.arrived):.6g}")
        return "\n".join(rows)


jax.tree_util.register_dataclass(
    Report,
    data_fields=["received", "passed", "bias", "epsilon", "other", "explained", "arrived"],
    meta_fields=["names", "kinds", "rules"],
)
