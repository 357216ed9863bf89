"""The attack as a machine that asks one query an image at a time: `ask` makes candidates, `answer` takes their labels.

An image is checked, looks for a start, bisects towards the clean image and walks along the boundary; each by itself,
with keys folded from its number and its own counters: nothing depends on what else is in the batch. One query is one
call of `ask` and `answer` for an image: it is counted where its label is used, and nowhere else.
"""

import functools

import jax
import jax.numpy as jnp

from ..array_types import AnyArray, Array, Bool, Float, Int32, Integer
from . import adaptive_alpha, step, step_sizes
from .state import (
    ALREADY,
    BAD_START,
    BISECT,
    BUDGET,
    CHECK,
    CONVERGED,
    GOAL,
    NO_START,
    SEARCH,
    START,
    WALK,
    Problem,
    Rules,
    State,
)

START_KEYS = 0xFFFFFFFF  # folded into an image's key for its random starts: no step has this number


def ask(
    rules: Rules,
    problem: Problem,
    state: State,
    eta: Float[Array, "batch size"],
    factor: Float[Array, " batch"],
) -> tuple[Float[Array, "batch size"], Float[Array, " batch"]]:
    """Returns the next query of every image [batch, size], and the realised lengths of the steps [batch].

    Images that are done get any point of the box; lengths are of images that walk, see `step.points`.

    Args:
      rules, problem, state: the attack.
      eta, factor: of `draw_noise` for this query, [batch, size] and [batch].
    """
    pace = state.pace
    on_sphere, nearer, realised = step.points(
        problem.x0, state.x, state.distance, eta, pace.delta * factor, pace.eps, (rules.lo, rules.hi), rules.rescale
    )
    candidate = _where(asks_sphere(rules, state.step, state.has_sphere_label, state.queries), on_sphere, nearer)
    is_beginning = problem.live & (state.phase < WALK)
    candidate = jax.lax.cond(
        jnp.any(is_beginning),
        lambda: _where(is_beginning, _first_points(rules, problem, state), candidate),
        lambda: candidate,
    )
    if rules.levels is not None:
        # The clean image and a start that was handed in are queried as they are.
        is_made = (state.phase != CHECK) & (state.phase != START)
        candidate = _where(is_made, _snap(rules, candidate), candidate)
    return candidate, realised


def asks_sphere(
    rules: Rules,
    number: Int32[Array, " batch"],
    has_sphere_label: Bool[Array, " batch"],
    queries: Int32[Array, " batch"],
) -> Bool[Array, " batch"]:
    """Returns whether the next query of a walking image is the point on the sphere of its step, bool [batch].

    Every `check_every` steps it is, where two queries are left.

    Args:
      rules: of the attack.
      number: int32 [batch], of the step.
      has_sphere_label, queries: [batch], see `State`.
    """
    return (number % rules.check_every == 0) & ~has_sphere_label & (rules.budget - queries >= 2)


def _first_points(rules, problem, state):
    """Queries of images that do not walk yet: the clean image, the start, a random one, the middle to x."""
    dtype, size = state.x.dtype, state.x.shape[1]

    def random_point(key, trial):
        return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, START_KEYS), trial), (size,), dtype)

    # Not by uniform's own bounds, whose rounding may leave the box.
    random = jax.vmap(random_point)(problem.key, state.trial)
    random = jnp.clip(rules.lo + random * (rules.hi - rules.lo), rules.lo, rules.hi)
    middle = problem.x0 + ((state.clean_end + 1) / 2)[:, None] * (state.x - problem.x0)
    middle = jnp.clip(middle, rules.lo, rules.hi)
    later = _where(state.phase == SEARCH, random, _where(state.phase == BISECT, middle, state.x))
    return _where(state.phase == CHECK, problem.x0, later)


def _snap(rules, x):
    """The nearest of equal levels of the box."""
    size, steps = rules.hi - rules.lo, rules.levels - 1
    return jnp.clip(rules.lo + jnp.round((x - rules.lo) / size * steps) / steps * size, rules.lo, rules.hi)


def answer(
    rules: Rules,
    problem: Problem,
    state: State,
    candidate: Float[Array, "batch size"],
    realised: Float[Array, " batch"],
    labels: Integer[AnyArray, " batch"],
) -> State:
    """Returns the state after the labels of `ask`'s candidates.

    Args:
      rules, problem, state, candidate, realised: as `ask` had and returned them.
      labels: integers [batch]; of images that are done they do not matter.
    """
    is_active = problem.live & (state.phase <= WALK)
    state = _write_trace(rules, problem, state, is_active)
    adversarial = jnp.where(problem.target >= 0, labels == problem.target, labels != problem.label)
    distance = _norms(candidate - problem.x0)[0]
    after = _walk(rules, state, candidate, realised, adversarial, distance)
    after = _select(is_active & (state.phase == WALK), after, state)
    is_beginning = is_active & (state.phase < WALK)
    after = jax.lax.cond(
        jnp.any(is_beginning),
        lambda: _select(is_beginning, _begin(rules, problem, state, candidate, adversarial, distance), after),
        lambda: after,
    )
    return _finish(rules, after._replace(queries=state.queries + is_active), is_active)


def charge(rules: Rules, problem: Problem, state: State, count: Int32[Array, " batch"]) -> State:
    """Returns the state with queries counted whose answers never came.

    Args:
      rules, problem, state: the attack.
      count: int32 [batch], how many; only images that are not done have any.
    """
    is_active = problem.live & (state.phase <= WALK) & (count > 0)
    passed = (state.queries[:, None] <= rules.grid) & (rules.grid < (state.queries + count)[:, None])
    row = measures(problem.x0, state)
    trace = jnp.where((passed & is_active[:, None])[..., None], row[:, None, :], state.trace)
    return _finish(
        rules, state._replace(trace=trace, queries=state.queries + jnp.where(is_active, count, 0)), is_active
    )


def reopen(rules: Rules, state: State) -> State:
    """Returns the state in which images go on that had ended by a budget smaller than that of the rules."""
    goes_on = (state.open_phase >= 0) & (state.queries < rules.budget)
    return state._replace(
        phase=jnp.where(goes_on, state.open_phase, state.phase),
        open_phase=jnp.where(goes_on, -1, state.open_phase),
    )


def _finish(rules, state, is_active):
    """The state after a query, with those images done that are."""
    phase = jnp.where(is_active, _ending(rules, state), state.phase)
    by_budget = is_active & (state.phase <= WALK) & ((phase == BUDGET) | (phase == NO_START))
    return state._replace(phase=phase, open_phase=jnp.where(by_budget, state.phase, state.open_phase))


def _walk(rules, state, candidate, realised, adversarial, distance):
    """A step of images that walk."""
    is_at_sphere = asks_sphere(rules, state.step, state.has_sphere_label, state.queries)
    is_better = ~is_at_sphere & adversarial & (distance < state.distance) & (distance > 0)
    pace = step_sizes.record(
        state.pace, state.has_sphere_label & ~is_at_sphere, state.is_sphere_adversarial, adversarial, rules.conditional
    )
    return state._replace(
        x=_where(is_better, candidate, state.x),
        distance=jnp.where(is_better, distance, state.distance),
        step=state.step + ~is_at_sphere,
        has_sphere_label=is_at_sphere,
        is_sphere_adversarial=jnp.where(is_at_sphere, adversarial, state.is_sphere_adversarial),
        realised=state.realised + jnp.where(is_at_sphere, 0, realised),
        pace=step_sizes.adapt(pace),
        learner=adaptive_alpha.update(state.learner, is_better, ~is_at_sphere, state.step),
    )


def _begin(rules, problem, state, candidate, adversarial, distance):
    """One query of images that do not walk yet."""
    phase = state.phase
    is_check, is_search, is_bisection = phase == CHECK, phase == SEARCH, phase == BISECT
    is_start = adversarial & ((phase == START) | is_search)
    middle = (state.clean_end + 1) / 2
    is_nearer = is_bisection & adversarial & (distance < state.distance) & (distance > 0)
    moves = is_start | is_nearer | (is_check & adversarial)
    trial = state.trial + (is_search & ~adversarial)
    bisection = state.bisection + is_bisection
    is_ready = (is_start | is_bisection) & (bisection >= rules.bisections)
    first = START if rules.has_starts else jnp.where(rules.start_trials > 0, SEARCH, NO_START)
    after_check = jnp.where(adversarial, ALREADY, first)
    after_failure = jnp.where(phase == START, BAD_START, jnp.where(trial < rules.start_trials, SEARCH, NO_START))
    after_start = jnp.where(is_start | is_bisection, BISECT, after_failure)
    following = jnp.where(is_check, after_check, jnp.where(is_ready, WALK, after_start))
    return state._replace(
        x=_where(moves, candidate, state.x),
        distance=jnp.where(moves, distance, state.distance),
        phase=following.astype(jnp.int32),
        trial=trial,
        bisection=bisection,
        clean_end=jnp.where(is_bisection, jnp.where(adversarial, state.clean_end / middle, middle), state.clean_end),
    )


def _ending(rules, state):
    """Phases, with those that end by their distance, their step size or their budget."""
    is_under_way, has_start = state.phase <= WALK, jnp.isfinite(state.distance)
    is_out = state.queries >= rules.budget
    phase = jnp.where(is_under_way & is_out, jnp.where(has_start, BUDGET, NO_START), state.phase)
    phase = jnp.where((state.phase == WALK) & (state.pace.eps < rules.eps_stop), CONVERGED, phase)
    return jnp.where(is_under_way & has_start & (state.distance <= rules.goal), GOAL, phase).astype(jnp.int32)


def _write_trace(rules, problem, state, is_active):
    """Writes down the best of every image whose next query is the first after one of the grid."""
    is_here = (state.queries[:, None] == rules.grid) & is_active[:, None]

    def write():
        row = measures(problem.x0, state)
        return jnp.where(is_here[..., None], row[:, None, :], state.trace)

    return state._replace(trace=jax.lax.cond(jnp.any(is_here), write, lambda: state.trace))


def measures(x0: Float[Array, "batch size"], state: State) -> Float[Array, "batch columns"]:
    """Returns [batch, COLUMNS] of the states' best images; infinite distances where there is none."""
    norms = jnp.stack(_norms(state.x - x0), 1)
    norms = jnp.where(jnp.isfinite(state.distance)[:, None], norms, jnp.inf)
    realised = state.realised / state.step  # NaN before the first step
    return jnp.concatenate([norms, jnp.stack([state.pace.delta, state.pace.eps, realised], 1)], 1)


def _norms(difference):
    """L2, L1 and Linf norms, each [batch]."""
    size = jnp.abs(difference)
    return jnp.sqrt(jnp.sum(size * size, 1)), jnp.sum(size, 1), jnp.max(size, 1)


def _where(mask, one, other):
    """`jnp.where` by a mask [batch] of arrays [batch, ...]."""
    return jnp.where(mask.reshape(-1, *[1] * (one.ndim - 1)), one, other)


def _select(mask, one, other):
    return jax.tree.map(functools.partial(_where, mask), one, other)
