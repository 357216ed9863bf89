"""What an attack came to, with distances in several norms at growing numbers of queries."""

import dataclasses

import numpy as np

from ..array_types import Float, Float64, Int64, Shaped
from .arguments import Attack
from .state import BAD_START, COLUMNS, ENDINGS, State, query_grid


@dataclasses.dataclass(frozen=True)
class Result:
    """What an attack came to, an entry an image.

    Attributes:
      x_adv: [images, ...], the nearest adversarial images; NaN where there is none.
      distance: float64 [images], their L2 distances; 0 for images that the classifier gets wrong anyway, infinite where
        there is none.
      queries: int64 [images], labels used.
      status: texts [images]: "budget", "converged" (its steps became tiny), "goal", "already_adversarial", "no_start",
        "start_not_adversarial".
      trace: float64 [images, T], the best L2 distance after each number of queries in `grid`; infinite before a start.
      grid: int64 [T], 1, 2, 5 x 10^k below the budget, and the budget.
      traces: name -> float64 [images, T], of the best image in L2: "l2", "l1", "linf", "squared_l2_per_pixel" (over the
        size of the image, for a box of size 1), the step sizes "delta" and "eps", and "realised", the mean over the
        steps so far of the length that the box left of each, as a share of its length without a box (NaN before the
        first step).
    """

    x_adv: Float[np.ndarray, " images *shape"]
    distance: Float64[np.ndarray, " images"]
    queries: Int64[np.ndarray, " images"]
    status: Shaped[np.ndarray, " images"]
    trace: Float64[np.ndarray, "images T"]
    grid: Int64[np.ndarray, " T"]
    traces: dict[str, Float64[np.ndarray, "images T"]]


def summarise(attack: Attack, state: State) -> Result:
    """Returns the result of a state; distances of the final images anew in float64.

    Raises:
      ValueError: there is a single image, and its start is not adversarial (of several images the status says so).

    Example:
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> predict = lambda x: (x.sum(1) > 2).astype(int)
      >>> settings = boundary_attack.AttackConfig(budget=100, batch_size=8)
      >>> attack = boundary_attack.prepare(predict, np.full((1, 3), 0.9), np.array([1]), settings)
      >>> boundary_attack.summarise(attack, boundary_attack.run(attack)).status.tolist()
      ['budget']
    """
    phase = np.asarray(state.phase)
    if len(phase) == 1 and phase[0] == BAD_START:
        raise ValueError(
            "starts is not adversarial: predict gives it the clean label (or not the target); give another"
        )
    is_adversarial = np.isfinite(np.asarray(state.distance))
    x_adv = np.array(state.x)
    difference = np.abs(x_adv.astype(np.float64) - np.asarray(attack.problem.x0, np.float64))
    size, length = difference.shape[1], attack.settings.hi - attack.settings.lo
    final = np.stack([np.sqrt(np.sum(difference**2, 1)), difference.sum(1), difference.max(1)], 1)
    final[~is_adversarial] = np.inf
    with np.errstate(invalid="ignore"):
        realised = np.asarray(state.realised) / np.asarray(state.step)
    pace = np.stack([np.asarray(state.pace.delta), np.asarray(state.pace.eps), realised], 1)
    last = np.concatenate([final, pace], 1)[:, None]
    queries = np.asarray(state.queries, np.int64)
    grid = query_grid(attack.settings.budget)
    earlier = np.asarray(state.trace, np.float64)[:, : len(grid) - 1]
    table = np.concatenate([np.where((grid[:-1] < queries[:, None])[..., None], earlier, last), last], 1)
    # Sums in float32 may place an earlier point a rounding below the final one.
    table[..., 0] = np.maximum(table[..., 0], final[:, None, 0])
    traces = {name: table[..., index] for index, name in enumerate(COLUMNS)}
    traces["squared_l2_per_pixel"] = (traces["l2"] / length) ** 2 / size
    x_adv[~is_adversarial] = np.nan
    return Result(
        x_adv=x_adv.reshape(-1, *attack.rules.shape),
        distance=final[:, 0],
        queries=queries,
        status=np.array([ENDINGS[int(one)] for one in phase]),
        trace=traces["l2"],
        grid=grid,
        traces=traces,
    )
