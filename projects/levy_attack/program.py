"""The walk as one compiled program: noise for several queries at once, then those queries, without the host."""

import jax
import jax.numpy as jnp

from kernels import boundary_step
from projects.levy_attack import learning, walk
from projects.levy_attack.walk import Kind, Problem, Settings, State

# Queries that noise is drawn for at once, no more than a block of `learning`, and numbers in it. No result depends on
# them: a large array is made on all cores and in one pass.
AHEAD, AHEAD_VALUES = 8, 1 << 20


def noise(kind: Kind, settings: Settings, problem: Problem, state: State, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the noise of the next `count` queries of images that walk, [count, batch, size], and factors of delta.

    Each query belongs to a step, whose number is known ahead: with it, and the image's key, the noise.
    """
    steps = []
    step, asked, queries = state.step, state.asked, state.queries
    for _ in range(count):
        steps.append(step)
        asked = walk.asks_sphere(settings, step, asked, queries)
        step, queries = step + ~asked, queries + 1
    steps = jnp.stack(steps)
    keys = jax.vmap(boundary_step.step_keys, (None, 0))(problem.key, steps)
    alpha = problem.alpha
    if settings.alphas.size:
        alpha = learning.alphas_of(state.learner, settings.alphas, state.step, steps)
    size, dtype = state.x.shape[1], state.x.dtype
    return boundary_step.draw_noise(keys, alpha, kind.noise, size, dtype, kind.is_heavy, settings.cap)


def advance(predict, kind: Kind, settings: Settings, problem: Problem, state: State, count, given: bool) -> State:
    """Returns the state after `count` queries of every image that is not done, all on the device.

    Args:
      predict: images [batch, *kind.shape] -> integer labels, traceable.
      kind, settings, problem, state, given: as in `walk.ask` and `walk.answer`.
      count: queries an image; may be traced.
    """

    ahead = min(AHEAD, max(1, AHEAD_VALUES // state.x.size))

    def is_under_way(done, state):
        return (done < count) & jnp.any(problem.live & (state.phase <= walk.WALK))

    def burst(carry):
        """Queries with noise that is drawn for several of them at once; until it is used up, or an image begins to
        walk, for which it was not made."""
        eta, factor = noise(kind, settings, problem, carry[1], ahead)
        began = carry[1].phase < walk.WALK

        def goes_on(carry):
            used, done, state = carry
            return (
                (used < ahead) & is_under_way(done, state) & ~jnp.any(problem.live & began & (state.phase == walk.WALK))
            )

        def query(carry):
            used, done, state = carry
            candidate, realised = walk.ask(kind, settings, problem, state, eta[used], factor[used])
            labels = checked_labels(predict(candidate.reshape(-1, *kind.shape)))
            return used + 1, done + 1, walk.answer(settings, problem, state, candidate, realised, labels, given)

        return jax.lax.while_loop(goes_on, query, (jnp.int32(0), *carry))[1:]

    def checked_labels(labels):
        batch = len(problem.x0)
        if jnp.shape(labels) != (batch,) or not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
            raise ValueError(
                f"predict returned {jnp.result_type(labels)} of shape {list(jnp.shape(labels))} for {batch} images; "
                "expected one integer label an image (for scores, take their argmax)"
            )
        return labels

    return jax.lax.while_loop(lambda carry: is_under_way(*carry), burst, (jnp.int32(0), state))[1]
