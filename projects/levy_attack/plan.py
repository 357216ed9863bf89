"""Arguments of an attack, checked at the door and turned into what the walk works with."""

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from kernels import boundary_step
from projects.levy_attack import run as runner
from projects.levy_attack import walk
from projects.levy_attack.config import AttackConfig
from projects.levy_attack.result import query_grid
from projects.levy_attack.run import Plan

LONGEST = 2**31 - 1  # queries that a budget can have
LIGHT = 0.5  # smallest alpha whose noise needs no scale of its own, see `boundary_step.draw_noise`


def make_plan(x0, labels, cfg: AttackConfig, key, targets=None, starts=None, ids=None, alphas=None) -> Plan:
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
    learnt = cfg.alpha if isinstance(cfg.alpha, tuple) else ()
    own = _alphas(alphas, cfg, count)
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
    grid = query_grid(LONGEST)[:-1]  # the same for every budget: one compiled program
    settings = walk.Settings(
        lo=lo, hi=hi, budget=np.int32(cfg.budget), goal=dtype(cfg.goal),
        eps_stop=dtype(cfg.eps_stop), check_every=np.int32(cfg.check_every), conditional=np.bool_(cfg.conditional),
        start_trials=np.int32(cfg.start_trials),
        bisections=np.int32(cfg.bisections), grid=grid.astype(np.int32),
        alphas=np.array(learnt, dtype),
        cap=dtype(cfg.cap),
    )  # fmt: skip
    problem = walk.Problem(
        x0=jnp.asarray(x0.reshape(count, -1)),
        label=jnp.asarray(labels, jnp.int32),
        target=jnp.asarray(goals, jnp.int32),
        key=boundary_step.image_keys(key, np.asarray(ids, np.uint32)),
        alpha=jnp.asarray(own, dtype),
        live=jnp.ones(count, bool),
    )
    deciding = dataclasses.replace(cfg, chunk=1, budget=1)  # the one changes nothing, the other may grow
    identity = runner.digest(
        repr(deciding), x0, labels, goals, np.asarray(ids, np.uint32), np.asarray(jax.random.key_data(key)),
        "random" if starts is None else starts, own,
    )  # fmt: skip
    return Plan(
        kind=walk.Kind(cfg.noise, x0.shape[1:], min(*own, *learnt, 2.0) < LIGHT, cfg.quantise, cfg.rescale_after_clip),
        settings=settings,
        problem=problem,
        state=walk.initial_state(
            (x0 if starts is None else starts).reshape(count, -1), cfg.delta, cfg.eps, len(grid), len(learnt)
        ),
        given=starts is not None,
        slots=cfg.batch_size,
        chunk=cfg.chunk,
        identity=identity,
    )


def _alphas(alphas, cfg, count) -> np.ndarray:
    """One for each image; 2 where it is learnt, and not used."""
    if alphas is None:
        return np.full(count, 2.0 if isinstance(cfg.alpha, tuple) else cfg.alpha)
    if isinstance(cfg.alpha, tuple):
        raise ValueError(f"alphas is given, and alpha is a grid to learn from, {cfg.alpha}; give one of them")
    alphas = np.asarray(alphas)
    if alphas.shape != (count,) or alphas.dtype.kind not in "fiu":
        raise ValueError(f"alphas has shape {list(alphas.shape)}; expected numbers, one for each of {count} images")
    if (wrong := alphas[~((alphas > 0) & (alphas <= 2))]).size:
        raise ValueError(f"alphas has the value {wrong[0]:g}; expected numbers in (0, 2]")
    return alphas.astype(np.float64)


def _images(name, images) -> np.ndarray:
    try:
        images = np.asarray(images)
    except ValueError:
        raise ValueError(f"{name} is ragged; expected numbers [images, ...], images of one shape") from None
    if images.dtype in (jnp.bfloat16, jnp.float16):
        images = images.astype(np.float32)
    if images.dtype.kind not in "fiu" or images.ndim < 2 or images.size == 0:
        raise ValueError(
            f"{name} is {images.dtype} of shape {list(images.shape)}; expected numbers [images, ...], one image or more"
        )
    wide = images.dtype == np.float64 == jnp.result_type(float)  # JAX has 64 bits enabled
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
            f"{name} has values from {low:g} to {high:g}, outside the box [lo, hi] = [{cfg.lo:g}, {cfg.hi:g}]; "
            "scale the images, or set lo and hi"
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
    if isinstance(key, (jax.Array, np.ndarray)) and key.dtype == np.uint32 and key.shape == (2,):
        return jax.random.wrap_key_data(jnp.asarray(key), impl="threefry2x32")
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and -(2**63) <= key < 2**63:
        return jax.random.key(int(key))
    raise ValueError(f"key is {key!r}; expected one jax.random.key or an integer seed of 64 bits")
