"""The decoder as a program of XLA: for `jax.jit`, `jax.vmap` and `jax.grad`, and for devices without a compiled core.

Words lie innermost. What a loop carries is the posteriors [n, words] and the messages of each segment of layers
[layers, degree, checks, words]; edges that only fill a segment up read a certain bit and write nowhere.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import messages
from .codes import Code
from .layers import Segment, segments


class Rule(NamedTuple):
    """What does not change from call to call: static for `jax.jit`."""

    iterations: int
    update: str
    schedule: str
    early_stop: bool
    statistics: bool


class State(NamedTuple):
    """Of the words, between two iterations.

    Attributes:
      posterior: [n, words].
      messages: of each segment.
      active: bool [words], whose checks have not been satisfied.
      iterations: int32 [words].
    """

    posterior: jax.Array
    messages: tuple[jax.Array, ...]
    active: jax.Array
    iterations: jax.Array


@functools.partial(jax.jit, static_argnames=("code", "rule"))
def decode(code: Code, llr, scale, offset, clip, rule: Rule):
    """(posterior [words, n], satisfied [words], iterations [words], reliability and unsatisfied [iterations + 1, words]
    or None), of llr [words, n], scale and offset [iterations, rows]."""
    channel = llr.T
    parts = segments(code, rule.schedule == "layered")
    words = channel.shape[1]
    state = State(
        channel,
        tuple(jnp.zeros((*part.places.shape, words), channel.dtype) for part in parts),
        jnp.ones(words, bool),
        jnp.zeros(words, jnp.int32),
    )
    step = functools.partial(_iterate, code, rule, parts, channel, clip)
    if rule.early_stop:
        state, trace = _until_satisfied(step, state, scale, offset, functools.partial(_measure, code, parts), rule)
    else:
        one = lambda state, row: (after := step(state, *row), _measure(code, parts, after) if rule.statistics else None)  # noqa: E731
        begin = _measure(code, parts, state) if rule.statistics else None
        state, rest = jax.lax.scan(one, state, (scale, offset))
        trace = jax.tree.map(lambda first, other: jnp.concatenate([first[None], other]), begin, rest)
    satisfied = unsatisfied_count(code, parts, state.posterior) == 0
    return state.posterior.T, satisfied, state.iterations, *(trace or (None, None))


def _until_satisfied(step, state: State, scale, offset, measure, rule: Rule):
    """(state, trace) after as many iterations as the slowest word needs."""
    shape = (rule.iterations + 1, state.posterior.shape[1])
    trace = (jnp.zeros(shape, state.posterior.dtype),) * 2 if rule.statistics else None
    put = lambda trace, state, at: jax.tree.map(lambda rows, row: rows.at[at].set(row), trace, measure(state))  # noqa: E731
    trace = put(trace, state, 0) if rule.statistics else None

    def body(carry):
        iteration, state, trace = carry
        state = step(state, scale[iteration], offset[iteration])
        return iteration + 1, state, put(trace, state, iteration + 1) if rule.statistics else None

    go_on = lambda carry: (carry[0] < rule.iterations) & jnp.any(carry[1].active)  # noqa: E731
    _, state, trace = jax.lax.while_loop(go_on, body, (jnp.int32(0), state, trace))
    if rule.statistics:  # what was measured last stays
        last = jnp.minimum(jnp.arange(rule.iterations + 1)[:, None], state.iterations)
        trace = jax.tree.map(lambda rows: jnp.take_along_axis(rows, last, 0), trace)
    return state, trace


def _iterate(code: Code, rule: Rule, parts: tuple[Segment, ...], channel, clip, state: State, scale, offset) -> State:
    """One iteration of the words that are active."""
    posterior, news = (state.posterior if rule.schedule == "layered" else channel), []
    update = getattr(messages, rule.update)

    def layer(onto, row):
        """Layered, reads and writes the posteriors; flooding, reads the last ones and adds to the next."""
        places, rows, old = row
        source = onto if rule.schedule == "layered" else state.posterior
        entering = source.at[places].get(mode="fill", fill_value=messages.UNKNOWN) - old
        is_edge = (places < code.n)[..., None]
        leaving = update(entering, is_edge, scale[rows][:, None], offset[rows][:, None], clip)
        if rule.schedule == "layered":
            return onto.at[places].set(entering + leaving, mode="drop", unique_indices=True), leaving
        return onto.at[places].add(leaving, mode="drop", unique_indices=True), leaving

    for part, old in zip(parts, state.messages, strict=True):
        posterior, leaving = jax.lax.scan(layer, posterior, (jnp.asarray(part.places), jnp.asarray(part.rows), old))
        news.append(leaving)
    iterations = state.iterations + state.active
    active = state.active
    if rule.early_stop:
        posterior = jnp.where(active, posterior, state.posterior)
        active = active & (unsatisfied_count(code, parts, posterior) > 0)
    return State(posterior, tuple(news), active, iterations)


def unsatisfied_count(code: Code, parts: tuple[Segment, ...], posterior):
    """int32 [words], how many checks are violated."""
    total = jnp.zeros(posterior.shape[1], jnp.int32)
    for part in parts:

        def layer(total, places):
            negative = posterior.at[places].get(mode="fill", fill_value=1) < 0
            odd = jnp.sum(negative, axis=0, dtype=jnp.int32) & 1
            return total + jnp.sum(odd, axis=0, dtype=jnp.int32), None

        total, _ = jax.lax.scan(layer, total, jnp.asarray(part.places))
    return total


def _measure(code: Code, parts: tuple[Segment, ...], state: State):
    """(mean magnitude of the posteriors, share of violated checks), each [words]."""
    reliability = jnp.mean(jnp.abs(state.posterior), axis=0)
    return reliability, unsatisfied_count(code, parts, state.posterior).astype(reliability.dtype) / code.checks
