"""The attack as one compiled program: noise for several queries at once, then those queries, without the host."""

import jax
import jax.numpy as jnp

from ..array_types import Array, Float, Integer
from . import adaptive_alpha, noise, queries
from .arguments import check_labels
from .state import WALK, Problem, Rules, State

# Queries that noise is drawn for at once, no more than a block of `adaptive_alpha`, and numbers in it. No result
# depends on them: a large array is made on all cores and in one pass.
AHEAD, AHEAD_VALUES = 8, 1 << 20


def coming_noise(
    rules: Rules, problem: Problem, state: State, count: int
) -> tuple[Float[Array, "count batch size"], Float[Array, "count batch"]]:
    """Returns the noise of the next `count` queries of images that walk, [count, batch, size], and factors of delta.

    Each query belongs to a step, whose number is known ahead: with it, and the image's key, the noise.
    """
    numbers = []
    step, has_sphere_label, total = state.step, state.has_sphere_label, state.queries
    for _ in range(count):
        numbers.append(step)
        has_sphere_label = queries.asks_sphere(rules, step, has_sphere_label, total)
        step, total = step + ~has_sphere_label, total + 1
    steps = jnp.stack(numbers)
    keys = jax.vmap(noise.step_keys, (None, 0))(problem.key, steps)
    alpha = problem.alpha
    if rules.alphas.size:
        alpha = adaptive_alpha.coming_alphas(state.learner, rules.alphas, state.step, steps)
    size, dtype = state.x.shape[1], state.x.dtype
    return noise.draw_noise(keys, alpha, rules.noise, size, dtype, rules.is_heavy, rules.cap)


@jax.jit
def advance(
    predict: jax.tree_util.Partial, rules: Rules, problem: Problem, state: State, count: Integer[Array, ""]
) -> State:
    """Returns the state after `count` queries of every image that is not done, all on the device.

    Args:
      predict: images [batch, *rules.shape] -> integer labels, traceable; its leaves are arguments of the program.
      rules, problem, state: of the attack.
      count: queries an image.
    """
    batch = len(problem.x0)
    ahead = min(AHEAD, max(1, AHEAD_VALUES // state.x.size))

    def is_under_way(done, state):
        return (done < count) & jnp.any(problem.live & (state.phase <= WALK))

    def burst(carry):
        """Queries with noise that is drawn for several of them at once; until it is used up, or an image begins to
        walk, for which it was not made."""
        eta, factor = coming_noise(rules, problem, carry[1], ahead)
        was_beginning = carry[1].phase < WALK

        def goes_on(carry):
            used, done, state = carry
            begins_to_walk = jnp.any(problem.live & was_beginning & (state.phase == WALK))
            return (used < ahead) & is_under_way(done, state) & ~begins_to_walk

        def query(carry):
            used, done, state = carry
            candidate, realised = queries.ask(rules, problem, state, eta[used], factor[used])
            labels = check_labels(predict(candidate.reshape(-1, *rules.shape)), batch)
            return used + 1, done + 1, queries.answer(rules, problem, state, candidate, realised, labels)

        return jax.lax.while_loop(goes_on, query, (jnp.int32(0), *carry))[1:]

    return jax.lax.while_loop(lambda carry: is_under_way(*carry), burst, (jnp.int32(0), state))[1]
