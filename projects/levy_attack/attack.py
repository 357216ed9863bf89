"""The attack: `attack(predict, x0, labels, cfg, key)` for any classifier, and a verb for the victims of this project.

Srinivasan, Kuruoglu, Müller, Samek, Nakajima, EUSIPCO 2019: the Boundary Attack (arXiv:1712.04248) with symmetric
alpha-stable noise. Only labels are seen; queries are counted for each image, exactly, and never exceed the budget.
"""

import dataclasses
import pathlib
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kernels import boundary_step
from projects.levy_attack import run as runner
from projects.levy_attack import walk
from projects.levy_attack.config import AttackConfig
from projects.levy_attack.run import Plan, Progress

__all__ = ["AttackConfig", "Progress", "Result", "attack", "query_grid"]


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


def attack(
    predict: Callable,
    x0: np.ndarray,
    labels: np.ndarray,
    cfg: AttackConfig = AttackConfig(),
    key: jax.Array | int = 0,
    *,
    targets: np.ndarray | None = None,
    starts: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    on_device: bool | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
    checkpoint: str | pathlib.Path | None = None,
    checkpoint_seconds: float = 60.0,
) -> Result:
    """Attacks a classifier that answers with labels only.

    The result for an image depends on its values, label, target, start and `key` alone: not on the other images, their
    order, `cfg.chunk`, an interruption, or the number of devices (as far as `predict` itself treats images alike).

    Args:
      predict: images [n, ...] -> integer labels [n]. A JAX function is compiled into the attack; anything else (such as
        the `predict` of scikit-learn's classifiers) is called on the host with NumPy arrays of the images asked about. A
        JAX function with large weights is best a `jax.tree_util.Partial(function, weights)`.
      x0: clean images [images, ...] in the box [cfg.lo, cfg.hi], of any shape; float64 stays so where JAX has 64 bits
        enabled, everything else becomes float32.
      labels: integers [images], the labels that an attack is to change.
      cfg: see `AttackConfig`.
      key: of `jax.random.key`, or a seed.
      targets: integers [images], the labels that it is to reach; None: any other.
      starts: images [images, ...] that are adversarial; None: random ones are searched for.
      ids: integers [images] in [0, 2^32), folded into the key; None: a checksum of each image, its label and target.
        Equal images with equal ids are attacked in the same way.
      on_device: whether predict is a JAX function, to be compiled. None: a jitted function and a Partial are; any other
        callable is where its first answer is a JAX array and it can be traced (Python code in it then runs only while
        it is traced).
      on_chunk: called with a `Progress` after every chunk; what it raises ends the attack.
      checkpoint: a file that holds the state; the same call goes on from one that is there.
      checkpoint_seconds: between two writes of it.

    Raises:
      ValueError: an argument that will not do, by name; labels that are not integers; a single start that is not
        adversarial (of several images the status says so).
    """
    plan = make_plan(x0, labels, cfg, key, targets, starts, ids)
    state = runner.run(
        plan, predict, on_device, on_chunk=on_chunk, checkpoint=checkpoint, checkpoint_seconds=checkpoint_seconds
    )
    result = summarise(plan, state, cfg)
    if len(result.status) == 1 and result.status[0] == walk.ENDINGS[walk.BAD_START]:
        raise ValueError(
            "starts is not adversarial: predict gives it the clean label (or not the target); give another"
        )
    return result


def make_plan(x0, labels, cfg: AttackConfig, key, targets=None, starts=None, ids=None) -> Plan:
    """Returns the checked attack; arguments and errors as of `attack`."""
    if not isinstance(cfg, AttackConfig):
        raise ValueError(f"cfg is {type(cfg).__name__}; expected an AttackConfig")
    x0 = _images("x0", x0)
    dtype = x0.dtype.type
    lo, hi = _inside(cfg.lo, cfg.hi, dtype)
    _check_box("x0", x0, cfg)
    count = len(x0)
    labels = _integers("labels", labels, count)
    if targets is not None:
        targets = _integers("targets", targets, count)
        if (same := np.flatnonzero(targets == labels)).size:
            raise ValueError(
                f"targets[{same[0]}] is {targets[same[0]]}, the clean label itself; name another class as the target"
            )
        if targets.min() < 0:
            raise ValueError(f"targets has the value {targets.min()}; expected labels of at least 0")
    if starts is not None:
        starts = _images("starts", starts).astype(dtype)
        if starts.shape != x0.shape:
            raise ValueError(f"starts has shape {list(starts.shape)}; expected that of x0, {list(x0.shape)}")
        _check_box("starts", starts, cfg)
        starts = np.clip(starts, lo, hi)
    x0 = np.clip(x0, lo, hi)
    goals = np.full(count, -1) if targets is None else targets
    if ids is None:
        ids = [
            zlib.crc32(image.tobytes() + b"%d %d" % (label, target))
            for image, label, target in zip(x0, labels, goals, strict=True)
        ]
    else:
        ids = _integers("ids", ids, count)
        if ids.min() < 0 or ids.max() >= 2**32:
            raise ValueError(f"ids has values from {ids.min()} to {ids.max()}; expected 0 to 2^32 - 1")
    key = _key(key)
    grid = query_grid(cfg.budget)[:-1]
    settings = walk.Settings(
        alpha=dtype(cfg.alpha), lo=lo, hi=hi, budget=np.int32(cfg.budget), goal=dtype(cfg.goal),
        eps_stop=dtype(cfg.eps_stop), check_every=np.int32(cfg.check_every), start_trials=np.int32(cfg.start_trials),
        bisections=np.int32(cfg.bisections), grid=grid.astype(np.int32),
    )  # fmt: skip
    problem = walk.Problem(
        x0=jnp.asarray(x0),
        label=jnp.asarray(labels, jnp.int32),
        target=jnp.asarray(goals, jnp.int32),
        key=boundary_step.image_keys(key, np.asarray(ids, np.uint32)),
        live=jnp.ones(count, bool),
    )
    deciding = dataclasses.replace(cfg, chunk=1)  # its size changes nothing
    identity = runner.digest(
        repr(deciding), x0, labels, goals, np.asarray(ids, np.uint32), np.asarray(jax.random.key_data(key)),
        "random" if starts is None else starts,
    )  # fmt: skip
    return Plan(
        kind=walk.Kind(cfg.noise, cfg.quantise),
        settings=settings,
        problem=problem,
        state=walk.initial_state(x0, starts, cfg.delta, cfg.eps, len(grid)),
        given=starts is not None,
        slots=cfg.batch_size,
        chunk=cfg.chunk,
        identity=identity,
    )


def _images(name, images) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype.kind not in "fiu" or images.ndim < 2 or images.size == 0:
        raise ValueError(
            f"{name} is {images.dtype} of shape {list(images.shape)}; expected numbers [images, ...], at least one image"
        )
    wide = images.dtype == np.float64 and jax.config.jax_enable_x64
    if not np.all(np.isfinite(images)):
        raise ValueError(f"{name} has values that are not finite; remove those images")
    return images.astype(np.float64 if wide else np.float32)


def _inside(lo, hi, dtype):
    """The box in numbers of `dtype`, not larger than it is."""
    low, high = dtype(lo), dtype(hi)
    low = np.nextafter(low, dtype(np.inf)) if float(low) < lo else low
    high = np.nextafter(high, dtype(-np.inf)) if float(high) > hi else high
    if not low < high:
        raise ValueError(f"lo is {lo} and hi {hi}: too near to each other for {dtype.__name__}")
    return low, high


def _check_box(name, images, cfg):
    low, high = float(images.min()), float(images.max())
    slack = np.finfo(images.dtype).eps * max(abs(cfg.lo), abs(cfg.hi))  # what casting may have added
    if low < cfg.lo - slack or high > cfg.hi + slack:
        raise ValueError(
            f"{name} has values from {low:g} to {high:g}, outside the box [lo, hi] = [{cfg.lo:g}, {cfg.hi:g}]; scale the "
            "images, or set lo and hi"
        )


def _integers(name, values, count) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise ValueError(
            f"{name} is {values.dtype} of shape {list(values.shape)}; expected integers, one for each of {count} images"
        )
    values = values.astype(np.int64)
    if name != "ids" and (values.min() < -(2**31) or values.max() >= 2**31):
        raise ValueError(f"{name} has values from {values.min()} to {values.max()}; expected 32-bit integers")
    return values


def _key(key) -> jax.Array:
    if isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
        return key
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return jax.random.key(int(key))
    raise ValueError(f"key is {key!r}; expected one jax.random.key or an integer seed")


def query_grid(budget: int) -> np.ndarray:
    """Returns the numbers of queries of a trace: 1, 2, 5 x 10^k below the budget, and the budget; int64."""
    numbers = [digit * 10**power for power in range(10) for digit in (1, 2, 5)]
    return np.array([number for number in numbers if number < budget] + [budget], np.int64)


def summarise(plan: Plan, state: walk.State, cfg: AttackConfig) -> Result:
    """Returns the result of a state; distances of the final images anew in float64."""
    phase = np.asarray(state.phase)
    has_found = np.isfinite(np.asarray(state.distance))
    x_adv = np.array(state.x)
    difference = np.abs(x_adv.astype(np.float64) - np.asarray(plan.problem.x0, np.float64)).reshape(len(x_adv), -1)
    size, length = difference.shape[1], cfg.hi - cfg.lo
    final = np.stack([np.sqrt(np.sum(difference**2, 1)), difference.sum(1), difference.max(1)], 1)
    final[~has_found] = np.inf
    pace = np.stack([np.asarray(state.pace.delta), np.asarray(state.pace.eps)], 1)
    last = np.concatenate([final, pace], 1)[:, None]
    queries = np.asarray(state.queries, np.int64)
    grid = query_grid(cfg.budget)
    written = np.asarray(state.trace, np.float64)
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
