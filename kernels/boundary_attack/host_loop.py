"""Queries to a callable of the host, which sees the images that a query is about and no others."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import Integer
from . import predictors, queries
from .arguments import check_labels
from .batching import Unfinished
from .device_loop import coming_noise
from .state import Problem, Rules, State, unfinished


class IsTraceable(Exception):
    """The callable turned out to be a JAX function."""


def program(
    predict: Callable, rules: Rules, may_compile: bool, ledger: Integer[np.ndarray, " images"] | None
) -> Callable:
    """Returns (problem, state, count, rows) -> state, which asks `predict` up to `count` times, for `batching`.

    What ends it early leaves as `Unfinished`, with the state after the last answer, in which queries without an answer
    are counted. While `may_compile`, a first answer that is a JAX array raises `IsTraceable` if the callable can be
    traced.

    Args:
      predict: images [n, *rules.shape] -> integer labels [n].
      rules: of the attack.
      may_compile: whether nobody has said that it is no JAX function.
      ledger: integers [images] of all images, raised before a query is asked; or None.
    """

    def advance(problem: Problem, state: State, count: int, rows: np.ndarray) -> State:
        nonlocal may_compile
        is_pending = None
        try:
            for _ in range(count):
                is_asking = np.asarray(problem.live) & unfinished(state)
                if not is_asking.any():
                    break
                candidate, realised = _ask(rules, problem, state, *_noise(rules, problem, state))
                images = np.asarray(candidate).reshape(-1, *rules.shape)
                if ledger is not None:
                    ledger[rows[is_asking]] += 1
                is_pending = is_asking
                labels = predict(images[is_asking])
                if may_compile and isinstance(labels, jax.Array) and predictors.can_compile(predict, images):
                    if ledger is not None:
                        ledger[rows[is_asking]] -= 1
                    raise IsTraceable
                may_compile = False
                answers = np.zeros(len(is_asking), np.int32)
                answers[is_asking] = check_labels(labels, int(is_asking.sum()))
                state = _answer(rules, problem, state, candidate, realised, jnp.asarray(answers))
                is_pending = None
        except IsTraceable:
            raise
        except BaseException as error:
            if is_pending is not None:
                state = charge(rules, problem, state, jnp.asarray(is_pending, jnp.int32))
            raise Unfinished(state, error) from error
        return state

    return advance


charge = jax.jit(queries.charge)
_answer = jax.jit(queries.answer)
_ask = jax.jit(queries.ask)


@jax.jit
def _noise(rules, problem, state):
    eta, factor = coming_noise(rules, problem, state, 1)
    return eta[0], factor[0]
