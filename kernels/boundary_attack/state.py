"""What an attack works with: its rules, the problem of each image, and the state that its queries change."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Bool, Count, Float, Int32, Int64, Key, Scalar
from ..scalars import whole
from . import adaptive_alpha, step_sizes

# Phases of an image, then the ways it can end.
CHECK, START, SEARCH, BISECT, WALK = range(5)
BUDGET, CONVERGED, GOAL, ALREADY, NO_START, BAD_START = range(5, 11)
ENDINGS = {
    BUDGET: "budget",
    CONVERGED: "converged",
    GOAL: "goal",
    ALREADY: "already_adversarial",
    NO_START: "no_start",
    BAD_START: "start_not_adversarial",
}
COLUMNS = ("l2", "l1", "linf", "delta", "eps", "realised")  # of the trace


def _static():
    return dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """`AttackConfig` as compiled programs take it: numbers are arguments, what is static is compiled in.

    Attributes:
      noise: its law.
      shape: of an image.
      is_heavy: whether an alpha is below 0.5.
      levels: of quantised candidates, or None.
      rescale: whether steps that the box cut short are lengthened.
      has_starts: whether starts were handed in.
      lo, hi: of the box, in the dtype of the images, not outside of the settings' own.
      budget: int32, most queries an image.
      goal: the distance at which an image is done.
      eps_stop: the eps below which an image is done.
      check_every: int32, every so many steps the point on the sphere is queried too.
      conditional: bool, whether eps follows only steps whose point on the sphere was adversarial.
      start_trials: int32, most random images that are tried as a start.
      bisections: int32, queries spent between the start and the clean image.
      grid: int32 [T], the queries of the trace.
      alphas: [choices], to choose from; [0] where an image has its own.
      cap: the longest step of "length" and "radius", in units of the median one.
    """

    noise: str = _static()
    shape: tuple[int, ...] = _static()
    is_heavy: bool = _static()
    levels: Count | None = _static()
    rescale: bool = _static()
    has_starts: bool = _static()
    lo: Float[AnyArray, ""] | np.floating
    hi: Float[AnyArray, ""] | np.floating
    budget: Int32[AnyArray, ""] | np.int32
    goal: Float[AnyArray, ""] | np.floating
    eps_stop: Float[AnyArray, ""] | np.floating
    check_every: Int32[AnyArray, ""] | np.int32
    conditional: Bool[AnyArray, ""] | np.bool
    start_trials: Int32[AnyArray, ""] | np.int32
    bisections: Int32[AnyArray, ""] | np.int32
    grid: Int32[AnyArray, " T"]
    alphas: Float[AnyArray, " choices"]
    cap: Float[AnyArray, ""] | np.floating


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

    x0: Float[Array, "batch size"]
    label: Int32[Array, " batch"]
    target: Int32[Array, " batch"]
    key: Key[Array, " batch"]
    alpha: Float[Array, " batch"]
    live: Bool[Array, " batch"]


class State(NamedTuple):
    """Everything that changes, an entry an image.

    Attributes:
      x: [batch, size], the best adversarial image, once there is one; a start that was handed in before that.
      distance: [batch], its L2 distance; infinite before.
      phase: int32 [batch].
      queries: int32 [batch].
      trial, bisection, step: int32 [batch], random starts tried, bisections and steps done.
      clean_end: [batch], the place on the segment from the clean image (0) to x (1) up to which it is not adversarial.
      has_sphere_label, is_sphere_adversarial: bool [batch], whether this step's point on the sphere was queried, and
        was adversarial.
      open_phase: int32 [batch], the phase that the budget ended; -1 where it has not.
      realised: [batch], the sum over steps of the length that the box left of them, over the length without a box.
      pace: step sizes and windows.
      learner: what an alpha that adapts follows.
      trace: [batch, T, COLUMNS], the best after each number of queries in the grid; infinite distances before a start.
    """

    x: Float[Array, "batch size"]
    distance: Float[Array, " batch"]
    phase: Int32[Array, " batch"]
    queries: Int32[Array, " batch"]
    trial: Int32[Array, " batch"]
    bisection: Int32[Array, " batch"]
    step: Int32[Array, " batch"]
    clean_end: Float[Array, " batch"]
    has_sphere_label: Bool[Array, " batch"]
    is_sphere_adversarial: Bool[Array, " batch"]
    open_phase: Int32[Array, " batch"]
    realised: Float[Array, " batch"]
    pace: step_sizes.Pace
    learner: adaptive_alpha.Learner
    trace: Float[Array, "batch T columns"]


def initial_state(x: Float[AnyArray, "batch size"], delta: Scalar, eps: Scalar, rules: Rules) -> State:
    """Returns the state before the first query.

    Args:
      x: starts [batch, size], if any.
      delta, eps: the first step sizes.
      rules: of the attack.
    """
    batch, dtype = len(x), x.dtype

    def zeros(kind=jnp.int32):
        return jnp.zeros((batch,), kind)

    return State(
        x=jnp.array(x),
        distance=jnp.full((batch,), jnp.inf, dtype),
        phase=jnp.full((batch,), CHECK, jnp.int32),
        queries=zeros(), trial=zeros(), bisection=zeros(), step=zeros(),
        clean_end=zeros(dtype),
        has_sphere_label=zeros(bool), is_sphere_adversarial=zeros(bool),
        open_phase=jnp.full((batch,), -1, jnp.int32), realised=zeros(dtype),
        pace=step_sizes.initial_pace(batch, delta, eps, dtype),
        learner=adaptive_alpha.initial(batch, len(rules.alphas), dtype),
        trace=jnp.full((batch, len(rules.grid), len(COLUMNS)), jnp.inf, dtype),
    )  # fmt: skip


def query_grid(budget: Count) -> Int64[np.ndarray, " T"]:
    """Returns the numbers of queries of a trace: 1, 2, 5 x 10^k below the budget, and the budget; int64.

    Raises:
      ValueError: a budget below 1.

    Example:
      >>> from havel.kernels import boundary_attack
      >>> boundary_attack.query_grid(25).tolist()
      [1, 2, 5, 10, 20, 25]
    """
    budget = whole("budget", budget, 1)
    numbers = [digit * 10**power for power in range(10) for digit in (1, 2, 5)]
    return np.array([number for number in numbers if number < budget] + [budget], np.int64)


def unfinished(state: State) -> Bool[np.ndarray, " batch"]:
    """Returns whether each image has queries to come, bool [batch], on the host."""
    return np.asarray(state.phase) <= WALK
