"""The attack as a machine that asks one query an image at a time: `ask` makes candidates, `answer` takes their labels.

An image is checked, looks for a start, bisects towards the clean image and walks along the boundary; each by itself,
with keys folded from its number and its own counters: nothing depends on what else is in the batch. One query is one
call of `ask` and `answer` for an image: it is counted where its label is used, and nowhere else.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kernels import boundary_step
from projects.levy_attack import learning

# Phases of an image, then the ways it can end.
CHECK, GIVEN, SEARCH, BISECT, WALK = range(5)
BUDGET, CONVERGED, GOAL, ALREADY, NO_START, BAD_START = range(5, 11)
ENDINGS = {
    BUDGET: "budget",
    CONVERGED: "converged",
    GOAL: "goal",
    ALREADY: "already_adversarial",
    NO_START: "no_start",
    BAD_START: "start_not_adversarial",
}
START_KEYS = 0xFFFFFFFF  # folded into an image's key for its random starts: no step has this number
COLUMNS = ("l2", "l1", "linf", "delta", "eps", "realised")  # of the trace


class Problem(NamedTuple):
    """What is attacked.

    Attributes:
      x0: clean images [batch, size], flat: of other shapes XLA makes slow sums.
      label: int32 [batch], the clean ones.
      target: int32 [batch], -1 for any other label.
      key: [batch], of the images.
      alpha: [batch], of the noise, where none is learnt.
      live: bool [batch], False for slots that fill up a batch.
    """

    x0: jax.Array
    label: jax.Array
    target: jax.Array
    key: jax.Array
    alpha: jax.Array
    live: jax.Array


class Settings(NamedTuple):
    """Numbers of `AttackConfig` that a compiled program takes as arguments; `grid`: the queries of the trace, int32;
    `alphas`: to choose from, none where an image has its own.
    """

    lo: Any
    hi: Any
    budget: Any
    goal: Any
    eps_stop: Any
    check_every: Any
    conditional: Any
    start_trials: Any
    bisections: Any
    grid: Any
    alphas: Any
    cap: Any


class Kind(NamedTuple):
    """What a program is compiled for.

    Attributes:
      noise: its law.
      shape: of an image.
      is_heavy: whether an alpha is below 0.5.
      levels: of quantised candidates, or None.
      rescale: whether steps that the box cut short are lengthened.
    """

    noise: str
    shape: tuple[int, ...]
    is_heavy: bool
    levels: int | None
    rescale: bool


class State(NamedTuple):
    """Everything that changes, an entry an image.

    Attributes:
      x: [batch, size], the best adversarial image, once there is one; a given start before that.
      distance: [batch], its L2 distance; infinite before.
      phase: int32 [batch].
      queries: int32 [batch].
      trial, bisected, step: int32 [batch], random starts tried, bisections and steps done.
      near: [batch], the place on the segment from the clean image (0) to x (1) that is known not to be adversarial.
      asked, on_sphere: bool [batch], whether this step's point on the sphere was queried, and was adversarial.
      ended: int32 [batch], the phase that the budget ended; -1 where it has not.
      realised: [batch], the sum over steps of the length that the box left of them, over the length without a box.
      pace: step sizes and windows.
      learner: what an alpha that adapts follows.
      trace: [batch, queries of the grid, COLUMNS], the best after so many queries; infinite distances before a start.
    """

    x: jax.Array
    distance: jax.Array
    phase: jax.Array
    queries: jax.Array
    trial: jax.Array
    bisected: jax.Array
    step: jax.Array
    near: jax.Array
    asked: jax.Array
    on_sphere: jax.Array
    ended: jax.Array
    realised: jax.Array
    pace: boundary_step.Pace
    learner: learning.Learner
    trace: jax.Array


def initial_state(x: np.ndarray, delta: float, eps: float, grid: int, alphas: int) -> State:
    """Returns the state before the first query.

    Args:
      x: starts [batch, size], if any.
      delta, eps: the first step sizes.
      grid: how many queries the trace has.
      alphas: how many an image chooses from, or 0.
    """
    batch, dtype = len(x), x.dtype

    def zeros():
        return jnp.zeros((batch,), jnp.int32)

    return State(
        x=jnp.array(x),
        distance=jnp.full((batch,), jnp.inf, dtype),
        phase=jnp.full((batch,), CHECK, jnp.int32),
        queries=zeros(), trial=zeros(), bisected=zeros(), step=zeros(),
        near=jnp.zeros((batch,), dtype),
        asked=jnp.zeros((batch,), bool), on_sphere=jnp.zeros((batch,), bool),
        ended=jnp.full((batch,), -1, jnp.int32), realised=jnp.zeros((batch,), dtype),
        pace=boundary_step.initial_pace(batch, delta, eps, dtype),
        learner=learning.initial(batch, alphas, dtype),
        trace=jnp.full((batch, grid, len(COLUMNS)), jnp.inf, dtype),
    )  # fmt: skip


def ask(
    kind: Kind, settings: Settings, problem: Problem, state: State, eta: jax.Array, factor: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the next query of every image [batch, size], and the realised lengths of the steps [batch].

    Images that are done get any point of the box; lengths are of images that walk, see `boundary_step.points`.

    Args:
      kind, settings, problem, state: the attack.
      eta, factor: of `noise` for this query, [batch, size] and [batch].
    """
    pace = state.pace
    on_sphere, nearer, realised = boundary_step.points(
        problem.x0, state.x, state.distance, eta, pace.delta * factor, pace.eps, settings.lo, settings.hi, kind.rescale
    )
    candidate = _choose(asks_sphere(settings, state.step, state.asked, state.queries), on_sphere, nearer)
    is_beginning = problem.live & (state.phase < WALK)
    candidate = jax.lax.cond(
        jnp.any(is_beginning),
        lambda: _choose(is_beginning, _first_points(settings, problem, state), candidate),
        lambda: candidate,
    )
    if kind.levels is not None:
        # The clean image and a given start are queried as they are.
        is_made = (state.phase != CHECK) & (state.phase != GIVEN)
        candidate = _choose(is_made, _snap(candidate, settings, kind.levels), candidate)
    return candidate, realised


def asks_sphere(settings, step, asked, queries):
    """Whether the query of a walking image is its point on the sphere: every few steps, where two queries are left."""
    return (step % settings.check_every == 0) & ~asked & (settings.budget - queries >= 2)


def _first_points(settings, problem, state):
    """Queries of images that do not walk yet: the clean image, the given start, a random one, the middle to x."""
    dtype, size = state.x.dtype, state.x.shape[1]

    def random_point(key, trial):
        return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, START_KEYS), trial), (size,), dtype)

    # Not by uniform's own bounds, whose rounding may leave the box.
    random = jax.vmap(random_point)(problem.key, state.trial)
    random = jnp.clip(settings.lo + random * (settings.hi - settings.lo), settings.lo, settings.hi)
    middle = problem.x0 + ((state.near + 1) / 2)[:, None] * (state.x - problem.x0)
    middle = jnp.clip(middle, settings.lo, settings.hi)
    later = _choose(state.phase == SEARCH, random, _choose(state.phase == BISECT, middle, state.x))
    return _choose(state.phase == CHECK, problem.x0, later)


def _snap(x, settings, levels):
    """The nearest of `levels` equal levels of the box."""
    size = settings.hi - settings.lo
    return jnp.clip(
        settings.lo + jnp.round((x - settings.lo) / size * (levels - 1)) / (levels - 1) * size, settings.lo, settings.hi
    )


def answer(
    settings: Settings,
    problem: Problem,
    state: State,
    candidate: jax.Array,
    realised: jax.Array,
    labels: jax.Array,
    given: bool,
) -> State:
    """Returns the state after the labels of `ask`'s candidates.

    Args:
      settings, problem, state, candidate, realised: as `ask` had and returned them.
      labels: integers [batch]; of images that are done they do not matter.
      given: whether starts were given.
    """
    is_active = problem.live & (state.phase <= WALK)
    state = _write_trace(settings, problem, state, is_active)
    adversarial = jnp.where(problem.target >= 0, labels == problem.target, labels != problem.label)
    distance = _norms(candidate - problem.x0)[0]
    walked = _walk(settings, state, candidate, realised, adversarial, distance)
    after = _select(is_active & (state.phase == WALK), walked, state)
    is_beginning = is_active & (state.phase < WALK)
    after = jax.lax.cond(
        jnp.any(is_beginning),
        lambda: _select(is_beginning, _begin(settings, problem, state, candidate, adversarial, distance, given), after),
        lambda: after,
    )
    return _ended(settings, after._replace(queries=state.queries + is_active), is_active)


def charged(settings: Settings, problem: Problem, state: State, count: jax.Array) -> State:
    """Returns the state with queries counted whose answers never came.

    Args:
      settings, problem, state: the attack.
      count: int32 [batch], how many; only images that are not done have any.
    """
    is_active = problem.live & (state.phase <= WALK) & (count > 0)
    passed = (state.queries[:, None] <= settings.grid) & (settings.grid < (state.queries + count)[:, None])
    row = measures(problem.x0, state)
    trace = jnp.where((passed & is_active[:, None])[..., None], row[:, None, :], state.trace)
    return _ended(
        settings, state._replace(trace=trace, queries=state.queries + jnp.where(is_active, count, 0)), is_active
    )


def reopened(settings: Settings, state: State) -> State:
    """Returns the state in which images go on that had ended by a budget smaller than that of the settings."""
    goes_on = (state.ended >= 0) & (state.queries < settings.budget)
    return state._replace(phase=jnp.where(goes_on, state.ended, state.phase), ended=jnp.where(goes_on, -1, state.ended))


def _ended(settings, state, is_active):
    """The state after a query, with those images done that are."""
    phase = jnp.where(is_active, _ending(settings, state), state.phase)
    by_budget = is_active & (state.phase <= WALK) & ((phase == BUDGET) | (phase == NO_START))
    return state._replace(phase=phase, ended=jnp.where(by_budget, state.phase, state.ended))


def _walk(settings, state, candidate, realised, adversarial, distance):
    """A step of images that walk."""
    is_at_sphere = asks_sphere(settings, state.step, state.asked, state.queries)
    is_better = ~is_at_sphere & adversarial & (distance < state.distance) & (distance > 0)
    pace = boundary_step.record(
        state.pace, state.asked & ~is_at_sphere, state.on_sphere, adversarial, settings.conditional
    )
    return state._replace(
        x=_choose(is_better, candidate, state.x),
        distance=jnp.where(is_better, distance, state.distance),
        step=state.step + ~is_at_sphere,
        asked=is_at_sphere,
        on_sphere=jnp.where(is_at_sphere, adversarial, state.on_sphere),
        realised=state.realised + jnp.where(is_at_sphere, 0, realised),
        pace=boundary_step.adapt(pace),
        learner=learning.noted(state.learner, is_better, ~is_at_sphere, state.step),
    )


def _begin(settings, problem, state, candidate, adversarial, distance, given):
    """One query of images that do not walk yet."""
    phase = state.phase
    is_check, is_search, is_bisection = phase == CHECK, phase == SEARCH, phase == BISECT
    found = adversarial & ((phase == GIVEN) | is_search)
    middle = (state.near + 1) / 2
    is_nearer = is_bisection & adversarial & (distance < state.distance) & (distance > 0)
    moves = found | is_nearer | (is_check & adversarial)
    trial = state.trial + (is_search & ~adversarial)
    bisected = state.bisected + is_bisection
    is_ready = (found | is_bisection) & (bisected >= settings.bisections)
    first = GIVEN if given else jnp.where(settings.start_trials > 0, SEARCH, NO_START)
    checked = jnp.where(adversarial, ALREADY, first)
    failed = jnp.where(phase == GIVEN, BAD_START, jnp.where(trial < settings.start_trials, SEARCH, NO_START))
    begun = jnp.where(found | is_bisection, BISECT, failed)
    following = jnp.where(is_check, checked, jnp.where(is_ready, WALK, begun))
    return state._replace(
        x=_choose(moves, candidate, state.x),
        distance=jnp.where(moves, distance, state.distance),
        phase=following.astype(jnp.int32),
        trial=trial,
        bisected=bisected,
        near=jnp.where(is_bisection, jnp.where(adversarial, state.near / middle, middle), state.near),
    )


def _ending(settings, state):
    """Phases, with those that end by their distance, their step size or their budget."""
    is_under_way, has_start = state.phase <= WALK, jnp.isfinite(state.distance)
    is_out = state.queries >= settings.budget
    phase = jnp.where(is_under_way & is_out, jnp.where(has_start, BUDGET, NO_START), state.phase)
    phase = jnp.where((state.phase == WALK) & (state.pace.eps < settings.eps_stop), CONVERGED, phase)
    return jnp.where(is_under_way & has_start & (state.distance <= settings.goal), GOAL, phase).astype(jnp.int32)


def _write_trace(settings, problem, state, is_active):
    """Notes the best of every image whose next query is the first after one of the grid."""
    is_here = (state.queries[:, None] == settings.grid) & is_active[:, None]

    def write():
        row = measures(problem.x0, state)
        return jnp.where(is_here[..., None], row[:, None, :], state.trace)

    return state._replace(trace=jax.lax.cond(jnp.any(is_here), write, lambda: state.trace))


def measures(x0: jax.Array, state: State) -> jax.Array:
    """Returns [batch, COLUMNS] of the states' best images; infinite distances where there is none."""
    norms = jnp.stack(_norms(state.x - x0), 1)
    norms = jnp.where(jnp.isfinite(state.distance)[:, None], norms, jnp.inf)
    realised = state.realised / state.step  # NaN before the first step
    return jnp.concatenate([norms, jnp.stack([state.pace.delta, state.pace.eps, realised], 1)], 1)


def _norms(difference):
    """L2, L1 and Linf norms, each [batch]."""
    size = jnp.abs(difference)
    return jnp.sqrt(jnp.sum(size * size, 1)), jnp.sum(size, 1), jnp.max(size, 1)


def _columns(values, like):
    """`values` [batch] shaped so that they multiply arrays of `like`'s shape."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _choose(chosen, one, other):
    return jnp.where(_columns(chosen, one), one, other)


def _select(chosen, one, other):
    return jax.tree.map(functools.partial(_choose, chosen), one, other)
