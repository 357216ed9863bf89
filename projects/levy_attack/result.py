"""What an attack found, with distances in several norms at growing numbers of queries."""

import dataclasses

import numpy as np

from projects.levy_attack import walk
from projects.levy_attack.config import AttackConfig


@dataclasses.dataclass(frozen=True)
class Result:
    """What an attack found, an entry an image.

    Attributes:
      x_adv: [images, ...], the nearest adversarial images; NaN where none was found.
      distance: float64 [images], their L2 distances; 0 for images that the classifier gets wrong anyway, infinite where
        nothing was found.
      queries: int64 [images], labels used.
      status: texts [images]: "budget", "converged" (its steps became tiny), "goal", "already_adversarial", "no_start",
        "start_not_adversarial".
      trace: float64 [images, T], the best L2 distance after each number of queries in `grid`; infinite before a start.
      grid: int64 [T], 1, 2, 5 x 10^k below the budget, and the budget.
      traces: name -> float64 [images, T], of the best image in L2: "l2", "l1", "linf", "squared_l2_per_pixel" (over the
        size of the image, for a box of size 1), and the step sizes "delta" and "eps".
    """

    x_adv: np.ndarray
    distance: np.ndarray
    queries: np.ndarray
    status: np.ndarray
    trace: np.ndarray
    grid: np.ndarray
    traces: dict[str, np.ndarray]


def query_grid(budget: int) -> np.ndarray:
    """Returns the numbers of queries of a trace: 1, 2, 5 x 10^k below the budget, and the budget; int64.

    Raises:
      ValueError: a budget below 1.
    """
    if budget < 1:
        raise ValueError(f"budget is {budget}; expected an integer of at least 1")
    numbers = [digit * 10**power for power in range(10) for digit in (1, 2, 5)]
    return np.array([number for number in numbers if number < budget] + [budget], np.int64)


def summarise(x0: np.ndarray, state: walk.State, cfg: AttackConfig) -> Result:
    """Returns the result of a state; distances of the final images anew in float64."""
    phase = np.asarray(state.phase)
    has_found = np.isfinite(np.asarray(state.distance))
    x_adv = np.array(state.x).reshape(np.shape(x0))
    difference = np.abs(x_adv.astype(np.float64) - np.asarray(x0, np.float64)).reshape(len(x_adv), -1)
    size, length = difference.shape[1], cfg.hi - cfg.lo
    final = np.stack([np.sqrt(np.sum(difference**2, 1)), difference.sum(1), difference.max(1)], 1)
    final[~has_found] = np.inf
    with np.errstate(invalid="ignore"):
        realised = np.asarray(state.realised) / np.asarray(state.step)
    pace = np.stack([np.asarray(state.pace.delta), np.asarray(state.pace.eps), realised], 1)
    last = np.concatenate([final, pace], 1)[:, None]
    queries = np.asarray(state.queries, np.int64)
    grid = query_grid(cfg.budget)
    written = np.asarray(state.trace, np.float64)[:, : len(grid) - 1]
    table = np.concatenate([np.where((grid[:-1] < queries[:, None])[..., None], written, last), last], 1)
    # Sums in float32 may place an earlier point a rounding below the final one.
    table[..., 0] = np.maximum(table[..., 0], final[:, None, 0])
    traces = {name: table[..., index] for index, name in enumerate(walk.COLUMNS)}
    traces["squared_l2_per_pixel"] = (traces["l2"] / length) ** 2 / size
    x_adv[~has_found] = np.nan
    return Result(
        x_adv=x_adv,
        distance=final[:, 0],
        queries=queries,
        status=np.array([walk.ENDINGS[int(one)] for one in phase]),
        trace=traces["l2"],
        grid=grid,
        traces=traces,
    )
