"""Arguments, checked at the door: those of a step, those of an attack, and the labels that a classifier returns."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Count, Float, Integer, Key, RandomKey, Real, Scalar
from ..scalars import reals
from . import predictors
from .config import AttackConfig
from .noise import check_alpha, image_keys
from .state import Problem, Rules, State, initial_state, query_grid

LONGEST = 2**31 - 1  # queries that a budget can have
LIGHT = 0.5  # smallest alpha whose noise needs no scale of its own, see `draw_noise`

Images = Real[AnyArray, " images *shape"] | Sequence
Integers = Integer[AnyArray, " images"] | Sequence
Numbers = Real[AnyArray, " images"] | Sequence
Predict = Callable[[Any], Any]  # images Float[Array, "n *shape"] -> labels Integer[Array, " n"], of NumPy or JAX


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What an attack may be told about single images, and about its classifier.

    Attributes:
      targets: integers [images], the labels to reach; None: any other than the clean one.
      starts: images [images, ...] that are adversarial; None: random ones are searched for.
      ids: integers [images] in [0, 2^32), folded into the key; None: a checksum of each image, its label and target.
        Equal images with equal ids are attacked in the same way.
      alphas: numbers in (0, 2] [images], in place of the settings' alpha: images attacked with several laws are one
        program.
      on_device: whether predict is a JAX function, to be compiled. None: a jitted function and a Partial are; any other
        callable is where its first answer is a JAX array and it can be traced (Python code in it then runs only while
        it is traced; to count the calls of such a function, say False).
      devices: that share the images, eight slots each at least, if predict is a JAX function. None: all of this
        process, unless the weights in a Partial were put on one, or `jax.default_device` chose one.
    """

    targets: Integers | None = None
    starts: Images | None = None
    ids: Integers | None = None
    alphas: Numbers | None = None
    on_device: bool | None = None
    devices: Sequence[jax.Device] | None = None


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack whose arguments have been checked.

    Attributes:
      predict: images -> labels.
      on_device: whether it is compiled; None: its first answer tells.
      devices: that share the images; none: wherever JAX computes.
      settings: of the attack.
      rules: the same, for compiled programs.
      problem: of all images; every one is live.
      initial: the state before the first query.
      identity: a digest of all that decides the result but the classifier and the budget.
    """

    predict: Predict
    on_device: bool | None
    devices: Sequence[jax.Device]
    settings: AttackConfig
    rules: Rules
    problem: Problem
    initial: State
    identity: str

    @property
    def batch(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the images at a time."""
        return jax.ShapeDtypeStruct((self.settings.batch_size, *self.rules.shape), self.problem.x0.dtype)


def prepare(
    predict: Predict,
    x0: Images,
    labels: Integers,
    settings: AttackConfig | None = None,
    key: RandomKey | Count = 0,
    *,
    targets: Integers | None = None,
    starts: Images | None = None,
    ids: Integers | None = None,
    alphas: Numbers | None = None,
    on_device: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Attack:
    """Returns the attack that `run` carries out; arguments and errors as of `attack`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> predict = lambda x: (x.sum(1) > 2).astype(int)
      >>> attack = boundary_attack.prepare(predict, np.full((1, 3), 0.9), np.array([1]))
      >>> attack.batch.shape  # images at a time
      (32, 3)
    """
    settings = AttackConfig() if settings is None else settings
    options = Options(targets=targets, starts=starts, ids=ids, alphas=alphas, on_device=on_device, devices=devices)
    if not isinstance(settings, AttackConfig):
        raise ValueError(f"settings is {type(settings).__name__}; expected an AttackConfig")
    if not callable(predict):
        raise ValueError(f"predict is {predict!r}; expected a function of images [n, ...] that returns labels [n]")
    x0 = _images("x0", x0)
    box = _box(settings, x0.dtype.type)
    x0 = _inside("x0", x0, settings, box)
    labels = _integers("labels", labels, len(x0))
    targets = _targets(options.targets, labels)
    starts = None if options.starts is None else _starts(options.starts, x0, settings, box)
    alphas, ids, key = _alphas(options.alphas, settings, len(x0)), _ids(options.ids, x0, labels, targets), _key(key)
    rules = _rules(settings, x0, alphas, box, starts is not None)
    problem = Problem(
        x0=jnp.asarray(x0.reshape(len(x0), -1)),
        label=jnp.asarray(labels, jnp.int32),
        target=jnp.asarray(targets, jnp.int32),
        key=image_keys(key, ids),
        alpha=jnp.asarray(alphas, x0.dtype),
        live=jnp.ones(len(x0), bool),
    )
    first = (x0 if starts is None else starts).reshape(len(x0), -1)
    deciding = dataclasses.replace(settings, chunk=1, budget=1)  # the one changes nothing, the other may grow
    identity = predictors.digest(
        repr(deciding), x0, labels, targets, ids, np.asarray(jax.random.key_data(key)),
        "random" if starts is None else starts, alphas,
    )  # fmt: skip
    attack = Attack(
        predict, options.on_device, _devices(options.devices, predict), settings, rules, problem,
        initial_state(first, settings.delta, settings.eps, rules), identity,
    )  # fmt: skip
    return dataclasses.replace(attack, on_device=predictors.on_device(predict, attack.batch, options.on_device))


def _rules(settings, x0, alphas, box, has_starts) -> Rules:
    dtype = x0.dtype.type
    menu = settings.alpha if isinstance(settings.alpha, tuple) else ()
    return Rules(
        noise=settings.noise, shape=x0.shape[1:], is_heavy=bool(min(*alphas, *menu, 2.0) < LIGHT),
        levels=settings.quantize, rescale=settings.rescale_after_clip, has_starts=has_starts,
        lo=box[0], hi=box[1],
        budget=np.int32(settings.budget), goal=dtype(settings.goal), eps_stop=dtype(settings.eps_stop),
        check_every=np.int32(settings.check_every), conditional=np.bool_(settings.conditional),
        start_trials=np.int32(settings.start_trials), bisections=np.int32(settings.bisections),
        grid=query_grid(LONGEST)[:-1].astype(np.int32),  # the same for every budget: one compiled program
        alphas=np.array(menu, dtype), cap=dtype(settings.cap),
    )  # fmt: skip


def _devices(devices, predict) -> Sequence[jax.Device]:
    if devices is None:
        return predictors.devices_of(predict)
    if not (isinstance(devices, Sequence) and devices and all(isinstance(one, jax.Device) for one in devices)):
        raise ValueError(f"devices is {devices!r}; expected a list of one or more of jax.devices(), or None")
    return devices


def _targets(targets, labels) -> np.ndarray:
    """int64 [images], -1 for any other label."""
    if targets is None:
        return np.full(len(labels), -1)
    targets = _integers("targets", targets, len(labels))
    if (same := np.flatnonzero(targets == labels)).size:
        raise ValueError(
            f"targets[{same[0]}] is {targets[same[0]]}, the clean label itself; name another class as the target"
        )
    if targets.min() < 0:
        raise ValueError(f"targets has the value {targets.min()}; expected labels of at least 0")
    return targets


def _starts(starts, x0, settings, box) -> np.ndarray:
    starts = _images("starts", starts).astype(x0.dtype)
    if starts.shape != x0.shape:
        raise ValueError(f"starts has shape {list(starts.shape)}; expected that of x0, {list(x0.shape)}")
    return _inside("starts", starts, settings, box)


def _ids(ids, x0, labels, targets) -> np.ndarray:
    """uint32 [images]."""
    if ids is None:
        tags = [b"%d %d" % pair for pair in zip(labels, targets, strict=True)]
        return np.array([zlib.crc32(image.tobytes() + tag) for image, tag in zip(x0, tags, strict=True)], np.uint32)
    ids = _integers("ids", ids, len(x0))
    if ids.min() < 0 or ids.max() >= 2**32:
        raise ValueError(f"ids has values from {ids.min()} to {ids.max()}; expected 0 to 2^32 - 1")
    return ids.astype(np.uint32)


def _alphas(alphas, settings, count) -> np.ndarray:
    """float64 [images]; 2 where it is learnt, and not used."""
    if alphas is None:
        return np.full(count, 2.0 if isinstance(settings.alpha, tuple) else settings.alpha)
    if isinstance(settings.alpha, tuple):
        raise ValueError(f"alphas is given, and alpha is a grid to learn from, {settings.alpha}; give one of them")
    alphas = np.asarray(alphas)
    if alphas.shape != (count,) or alphas.dtype.kind not in "fiu":
        raise ValueError(f"alphas has shape {list(alphas.shape)}; expected numbers, one for each of {count} images")
    if (outside := alphas[~((alphas > 0) & (alphas <= 2))]).size:
        raise ValueError(f"alphas has the value {outside[0]:g}; expected numbers in (0, 2]")
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


def _box(settings, dtype) -> tuple:
    """The box in numbers of `dtype`, not larger than it is."""
    low, high = dtype(settings.lo), dtype(settings.hi)
    low = np.nextafter(low, dtype(np.inf)) if float(low) < settings.lo else low
    high = np.nextafter(high, dtype(-np.inf)) if float(high) > settings.hi else high
    if not low < high:
        raise ValueError(f"lo is {settings.lo} and hi {settings.hi}: too near to each other for {dtype.__name__}")
    return low, high


def _inside(name, images, settings, box) -> np.ndarray:
    """The images in the box; what casting may have added beyond it is cut off."""
    low, high = float(images.min()), float(images.max())
    slack = np.finfo(images.dtype).eps * max(abs(settings.lo), abs(settings.hi))
    if low < settings.lo - slack or high > settings.hi + slack:
        raise ValueError(
            f"{name} has values from {low:g} to {high:g}, outside the box [lo, hi] = "
            f"[{settings.lo:g}, {settings.hi:g}]; scale the images, or set lo and hi"
        )
    return np.clip(images, *box)


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


def _key(key: Any) -> Key[Array, ""]:
    if isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
        return key
    if isinstance(key, (jax.Array, np.ndarray)) and key.dtype == np.uint32 and key.shape == (2,):
        return jax.random.wrap_key_data(jnp.asarray(key), impl="threefry2x32")
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and -(2**63) <= key < 2**63:
        return jax.random.key(int(key))
    raise ValueError(f"key is {key!r}; expected one jax.random.key or an integer seed of 64 bits")


def check_labels(labels: Any, count: int) -> Integer[AnyArray, " count"]:
    """Returns a classifier's answer for `count` images as an array of integers; traced labels as they are.

    Raises:
      ValueError: it is something else.
    """
    is_traced = isinstance(labels, jax.core.Tracer)
    labels = labels if is_traced else np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"predict returned {labels.dtype} of shape {list(labels.shape)} for {count} images; expected one integer "
            "label an image (for scores, take their argmax)"
        )
    if not is_traced and (labels != labels.astype(np.int32)).any():
        raise ValueError(f"predict returned labels from {labels.min()} to {labels.max()}; expected 32-bit integers")
    return labels


def check_step(
    x0: Real[AnyArray, " batch *shape"],
    x: Float[AnyArray, " batch *shape"],
    sizes: dict[str, Scalar | Real[AnyArray, " batch"]],
    cap: Scalar,
    lo: Scalar,
    hi: Scalar,
) -> None:
    """Checks the arguments of a step.

    Args:
      x0, x: [batch, ...].
      sizes: alpha, delta and eps by name, each one number or [batch].
      cap, lo, hi: numbers; traced ones are not looked at, nor is a traced alpha.

    Raises:
      ValueError: one will not do, by name.
    """
    reals("cap", cap, "a number above 0, in units of delta", lambda longest: longest > 0)
    check_alpha(sizes["alpha"])
    for name in ("delta", "eps"):
        reals(name, sizes[name], "numbers of at least 0, in units of the distance", lambda v: (v >= 0) & (v < np.inf))
    for name, end in (("lo", lo), ("hi", hi)):
        reals(name, end, "an end of the box, a number", lambda v: ~np.isnan(v))
    if not any(isinstance(end, jax.core.Tracer) for end in (lo, hi)) and not np.all(np.asarray(lo) < np.asarray(hi)):
        raise ValueError(f"lo is {lo} and hi {hi}; expected lo below hi")
    if jnp.ndim(x) < 2 or jnp.shape(x) != jnp.shape(x0):
        raise ValueError(f"x0 has shape {jnp.shape(x0)} and x {jnp.shape(x)}; expected the same, [batch, ...]")
    for name, value in sizes.items():
        if jnp.shape(value) not in ((), (len(x),)):
            raise ValueError(f"{name} has shape {jnp.shape(value)}; expected one number, or one for each of {len(x)}")
