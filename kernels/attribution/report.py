"""The conservation report: what every operation got, passed on, and kept, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .caller import warn_caller
from .rules import Gradient

COLUMNS = ("received", "passed", "bias", "epsilon", "constant", "other")
SHORTEST = 28  # the width of the column of names
EXPLODED = 1e3  # times the output that maps of relevance hold: rules whose parts cancel, layer after layer
SAME = 1e-5  # of the largest relevance of a sample: a map that spreads less is constant but for rounding


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
        constant_maps: samples whose inputs all have the same relevance, so that their map tells nothing.
        exploded_maps: samples whose relevance grew to over a thousand times what is explained.
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
    constant_maps: jax.Array | int = 0
    exploded_maps: jax.Array | int = 0

    @classmethod
    def of(cls, steps: Sequence, start: jax.Array, relevance, exploded: jax.Array | int = 0) -> Report:
        """Returns the report of the steps of one way back; see `backward.Step` and `exploded_maps`."""
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
            jnp.asarray(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(relevance))), jnp.sum(constant_maps(relevance)),
            jnp.sum(jnp.asarray(exploded)),
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
        if self.constant_maps:
            rows.append(f"constant maps: {int(self.constant_maps)}, where every input has the same relevance")
        if self.exploded_maps:
            rows.append(
                f"exploded maps: {int(self.exploded_maps)}, whose relevance is over {EXPLODED:g} times the output"
            )
        return "\n".join(rows)


def constant_maps(relevance) -> jax.Array:
    """Returns whether all inputs of a sample have the same relevance, bool `[batch]`; `[0]` where there are no maps.

    Flat gives such maps to a first layer that sees all inputs at once. One input alone is no map.
    """
    leaves = [leaf for leaf in jax.tree.leaves(relevance) if leaf.ndim and jnp.issubdtype(leaf.dtype, jnp.floating)]
    if len({leaf.shape[0] for leaf in leaves}) != 1 or sum(leaf[0].size for leaf in leaves) < 2:
        return jnp.zeros(0, bool)
    largest, least = (
        jnp.stack([kind(leaf.reshape(len(leaf), -1), axis=1) for leaf in leaves if leaf.size])
        for kind in (jnp.max, jnp.min)
    )
    largest, least = largest.max(0), least.min(0)
    return largest - least <= SAME * jnp.maximum(jnp.abs(largest), jnp.abs(least))


def warn_of_constant_maps(relevance) -> None:
    """Warns where every map of a batch is constant and not zero; in a `jax.jit` nothing can be looked at."""
    constant = constant_maps(relevance)
    if isinstance(constant, jax.core.Tracer) or not constant.size or not constant.all():
        return
    if any(np.asarray(leaf).any() for leaf in jax.tree.leaves(relevance)):
        warn_caller(
            "every input has the same relevance: the map is constant and does not tell which of them matter. The Flat "
            "rule does this to a first layer that sees all inputs at once, such as a dense one: take a composite "
            "without it, epsilon_plus for one."
        )


def exploded_maps(relevance, start: jax.Array, composite: Any) -> jax.Array:
    """Returns whether the relevance of a sample sums to over a thousand times what is explained, bool `[batch]`.

    None does for gradients, which are no shares of an output; `[0]` where outputs or inputs have no axis of samples.
    """
    leaves = [leaf for leaf in jax.tree.leaves(relevance) if leaf.ndim and jnp.issubdtype(leaf.dtype, jnp.floating)]
    is_gradient = isinstance(getattr(composite, "default", None), Gradient)
    if not leaves or not start.ndim or {len(leaf) for leaf in leaves} != {len(start)}:
        return jnp.zeros(0, bool)
    if is_gradient:
        return jnp.zeros(len(start), bool)
    arrived = jnp.abs(sum(leaf.reshape(len(leaf), -1).sum(1) for leaf in leaves))
    return arrived > EXPLODED * jnp.abs(start).reshape(len(start), -1).sum(1)


def warn_of_explosion(exploded: jax.Array, composite: Any) -> None:
    """Warns where most maps of a batch exploded; in a `jax.jit` nothing can be looked at."""
    if isinstance(exploded, jax.core.Tracer) or not exploded.size or 2 * int(exploded.sum()) <= exploded.size:
        return
    warn_caller(
        f"relevance grows on its way: at the input it sums to over {EXPLODED:g} times the output that is explained, in "
        f"{int(exploded.sum())} of {exploded.size} samples, and the maps show what cancels. Rules with a part that is "
        "taken off, AlphaBeta(2, 1) for one, do this in deep networks: take epsilon_plus, or Gamma."
    )


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
    data_fields=[*COLUMNS, "explained", "arrived", "constant_maps", "exploded_maps"],
    meta_fields=["names", "kinds", "rules"],
)
