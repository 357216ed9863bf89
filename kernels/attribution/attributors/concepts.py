"""The samples, and the places in them, that a channel of a layer stands for.

Relevance maximisation of Achtibat et al., From attribution maps to human-understandable explanations through concept
relevance propagation (Nature Machine Intelligence 2023, arXiv:2206.03208), and activation maximisation beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import Count, Float, Int
from ...scalars import whole
from ..arguments import Parameters, PyTree, Structure, as_array, check_examples, hashable, plain
from ..backward import backward
from ..composites import as_composite
from ..conditions import channel_axis
from ..engine import forward, has_one_value, read, reading_of
from ..places import find
from ..precision import widened
from ..target import Target, starting_relevance
from .repeated import Same

MEASURES = ("relevance", "activation")


class Maximisers(NamedTuple):
    """The samples that excite a channel most, the first before all others.

    Attributes:
        scores: `[n]`, of all channels `[channels, n]`.
        samples: their numbers in the order in which they came, int of the same shape.
        positions: where the largest entry of the channel lies, int `[..., axes]`, on the axes of the layer that are not
            those of samples and channels.
    """

    scores: Float[np.ndarray, " ..."]
    samples: Int[np.ndarray, " ..."]
    positions: Int[np.ndarray, " ... axes"]


def relevance_maximisation(
    fn: Callable,
    params: PyTree,
    batches: Iterable[PyTree],
    *,
    at: str,
    channel: Count | None = None,
    n: Count = 8,
    by: str = "relevance",
    target: Target = "argmax",
    rules: Any = "epsilon_plus",
) -> Maximisers:
    """Returns the samples of a data set that excite a channel of a layer most, and where; one pass over the data.

    Args:
        fn: `fn(params, x)`, as for `attribute`; params: its parameters.
        batches: an iterable of inputs as `fn` takes them, of one size if possible: another size is compiled anew.
        at: name of the layer, as for `attribute`.
        channel: its number, None: all of them.
        n: samples for each channel; there must be as many.
        by: "relevance": the sum of the channel's relevance over all positions, for the explained output of the sample;
            "activation": the largest of its values.
        target: as for `attribute`; of each sample's own output unless it is one class for all.
        rules: a composite, its name or a rule.

    Raises:
        ValueError: as `attribute`; fewer samples than n; an unknown measure; a layer whose channels cannot be told.

    Example:
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn = lambda w, x: jnp.maximum(x @ w["a"]["kernel"], 0) @ jnp.ones((2, 1))
        >>> w, batches = {"a": {"kernel": jnp.eye(2)}}, [jnp.array([[1.0, 0.0], [3.0, 5.0]]), jnp.array([[2.0, 7.0]])]
        >>> best = attribution.relevance_maximisation(fn, w, batches, at="a", channel=0, n=2)
        >>> best.samples.tolist(), best.scores.round(3).tolist()
        ([1, 2], [3.0, 2.0])
    """
    if by not in MEASURES:
        raise ValueError(f"by={by!r}: expected one of {', '.join(MEASURES)}.")
    whole("n", n, 1)
    if target is not None and not callable(target) and not isinstance(target, str) and np.ndim(target) > 0:
        raise ValueError("target is an array: expected one class for all samples, 'argmax', None or a function.")
    parameters, best, count = Parameters.of(params), None, 0
    network, static_rules = (plain(fn), parameters.structure), hashable(rules)
    for x in batches:
        check_examples(x)
        x = jax.tree.map(as_array, x)
        scores, positions = _scores(network, at, by, hashable(target), static_rules, parameters.arrays, x)
        samples = count + np.arange(scores.shape[1])
        count += scores.shape[1]
        best = _merged(best, (np.asarray(scores), samples, np.asarray(positions)), int(n))
    if best is None or count < n:
        raise ValueError(f"batches has {count} samples: expected at least n={n} of them.")
    scores, samples, positions = best
    if not np.isfinite(scores).all():
        raise ValueError(f"the {by} of {at!r} is not finite for some samples: see the data and the rules.")
    if channel is None:
        return Maximisers(*best)
    whole("channel", channel, -len(scores), len(scores) - 1, why=f", a channel of {at!r}")
    return Maximisers(scores[channel], samples[channel], positions[channel])


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _scores(network, at: str, by: str, target, rules, arrays, x):
    """Scores `[channels, samples]` and positions `[channels, samples, axes]` of one batch."""
    (fn, structure), target, rules = network, _plain(target), _plain(rules)
    assert isinstance(structure, Structure)
    composite = as_composite(rules)
    program = read(fn, structure.with_arrays(arrays), x, reading=reading_of(composite))
    value = find(program, at)
    axis = channel_axis(program, value)
    if axis is None:
        raise ValueError(f"at={at!r} has shape {value.shape}, of which no axis can be told to be that of channels.")
    values = forward(program, [*arrays, *jax.tree.leaves(x)])
    if by == "activation":
        measure = widened(values[value])
    else:
        start = widened(starting_relevance(values[program.output], target, has_one_value(program)))
        measure = backward(program, composite, values, start).get(value)
        measure = jnp.zeros(value.shape) if measure is None else measure
    measure = jnp.moveaxis(measure, axis, 0)  # [channels, samples, ...]
    flat = measure.reshape(*measure.shape[:2], -1)
    scores = jnp.max(flat, -1) if by == "activation" else jnp.sum(flat, -1)
    places = jnp.unravel_index(jnp.argmax(flat, -1), measure.shape[2:]) if measure.ndim > 2 else ()
    positions = jnp.stack(places, -1) if places else jnp.zeros((*scores.shape, 0), jnp.int32)
    return scores, positions


def _plain(value):
    return value.value if isinstance(value, Same) else value


def _merged(best, batch, n: int):
    """The n best of those before and of a batch; of equal scores the earlier ones."""
    scores, samples, positions = batch
    samples = np.broadcast_to(samples, scores.shape)
    if best is not None:
        scores, samples, positions = (
            np.concatenate([old, new], 1) for old, new in zip(best, (scores, samples, positions), strict=True)
        )
    order = np.argsort(-scores, 1, kind="stable")[:, :n]
    return (
        np.take_along_axis(scores, order, 1), np.take_along_axis(samples, order, 1),
        np.take_along_axis(positions, order[..., None], 1),
    )  # fmt: skip
