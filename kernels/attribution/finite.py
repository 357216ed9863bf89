"""Relevance that is not finite is an error that says where it begins. In a `jax.jit` nothing can be looked at."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from .arguments import Parameters, is_floating
from .tracing.jaxpr import Value
from .tracing.operations import Program


def check(program: Program, parameters: Parameters, values: Mapping[Value, object], relevance: Mapping) -> None:
    """Raises ValueError where the output or the relevance of an input is not finite.

    Args:
        values: of the program. relevance: by value, as `backward` gives it.
    """
    results = [relevance[value] for value in program.graph.inputs if value in relevance]
    if any(isinstance(array, jax.core.Tracer) for array in (*results, values[program.output])):
        return
    if not np.isnan(_read(values[program.output])).any() and all(map(_is_finite, results)):
        return
    _check_parameters(parameters)
    for operation in program.operations:
        if not all(_is_finite(values[output]) for output in operation.outputs):
            raise ValueError(f"the outputs of {operation.place} are not finite; there is no relevance through them.")
    for operation in reversed(program.operations):
        for value in operation.inputs:
            if value in relevance and not _is_finite(relevance[value]):
                raise ValueError(
                    f"relevance is not finite from {operation.place} on: a larger epsilon (stabilizer) of its rule, or "
                    "inputs and parameters of a wider dtype, keep it in range."
                )
    raise ValueError("the relevance to start from is not finite: see target.")


def check_outputs(parameters: Parameters, y: jax.Array) -> None:
    """Raises ValueError for outputs that are NaN."""
    if isinstance(y, jax.core.Tracer) or not np.isnan(_read(y)).any():
        return
    _check_parameters(parameters)
    raise ValueError(
        "the outputs of fn are NaN for inputs and parameters that are finite; there is nothing to explain."
    )


def check_explanation(parameters: Parameters, explanation) -> None:
    """Raises ValueError for an explanation that is not finite."""
    leaves = jax.tree.leaves(explanation)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) or all(map(_is_finite, leaves)):
        return
    _check_parameters(parameters)
    raise ValueError("the explanation is not finite, though inputs and parameters are: use a wider dtype.")


def _check_parameters(parameters: Parameters) -> None:
    for path, array in zip(parameters.paths, parameters.arrays, strict=True):
        concrete = not isinstance(array, jax.core.Tracer)
        if concrete and is_floating(array) and not np.isfinite(np.asarray(array, np.float64)).all():
            raise ValueError(
                f"params at {path!r} have NaN or infinite values: the explanation would have them everywhere."
            )


def _is_finite(array) -> bool:
    return bool(np.isfinite(_read(array)).all())


def _read(array) -> np.ndarray:
    """As NumPy has it: half precisions of JAX are none of its own."""
    return np.asarray(array if array.dtype in (jnp.float32, jnp.float64) else array.astype(jnp.float32))
