"""Explanations as functions `explain(params, x) -> relevance`, for measures that explain again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...array_types import Array, Float
from ..arguments import Parameters, PyTree, Same, Structure, hashable
from . import scoring


@dataclasses.dataclass(frozen=True)
class Explaining:
    """`explaining(arrays, x) -> relevance`, static under jit.

    Attributes:
        explain: `explain(params, x)`.
        structure: of params, whose arrays are an argument of each call.
    """

    explain: Any
    structure: Structure

    def __call__(self, arrays, x):
        """Returns the relevance, `[batch, ...]`."""
        explain = self.explain.value if isinstance(self.explain, Same) else self.explain
        return of_samples(explain(self.structure.with_arrays(arrays), x), x)


def explaining(explain: Callable, params: PyTree) -> tuple[Explaining, list]:
    """Returns an explanation that can be compiled, and the arrays of params."""
    if not callable(explain):
        raise ValueError(f"explain={explain!r:.60}: expected a function (params, x) -> relevance")
    parameters = Parameters.of(params)
    return Explaining(hashable(explain), parameters.structure), parameters.arrays


def of_samples(relevance: Any, x: Any) -> Float[Array, " batch *shape"]:
    """Returns an explanation as an array of JAX; raises ValueError unless it is a map for each sample, finite."""
    maps = scoring.as_maps("the explanation", relevance)
    if maps.shape[0] != jnp.shape(x)[0]:
        raise ValueError(f"the explanation has shape {maps.shape} for {jnp.shape(x)[0]} samples: expected one for each")
    return maps


@functools.partial(jax.jit, static_argnums=0)
def compiled(explain: Explaining, arrays: Any, x: Any) -> Float[Array, " batch *shape"]:
    """Returns the relevance, compiled."""
    return explain(arrays, x)
