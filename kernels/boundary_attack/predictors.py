"""Classifiers as callables: whether one may be compiled into the attack, and on which devices."""

import functools
import hashlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

VERSIONS = 64  # callables that are remembered


def on_device(predict: Callable, images: jax.ShapeDtypeStruct, wish: bool | None) -> bool | None:
    """Returns whether a callable is to be compiled; None: its first answer tells.

    Args:
      predict: images -> labels.
      images: shape and dtype of a batch.
      wish: of the caller, None where there is none.

    Raises:
      ValueError: compiling is wished for and the callable asks Python while it runs.
    """
    if wish and _calls_back(predict, images):
        raise ValueError(
            "predict calls back to Python, which a compiled attack does for padding, too, and again after a failure: "
            "its queries cannot be counted; leave on_device to None or False"
        )
    if wish is None and (isinstance(predict, jax.tree_util.Partial) or hasattr(predict, "lower")):
        return not _calls_back(predict, images)
    return wish


def can_compile(predict: Callable, images: np.ndarray) -> bool:
    """Returns whether a callable can be traced and then asks nobody outside."""
    jaxpr = _traced(predict, jax.ShapeDtypeStruct(images.shape, images.dtype))
    return jaxpr is not None and not _has_callback(jaxpr.jaxpr)


def _calls_back(predict, images) -> bool:
    """Whether a JAX function asks Python while it runs, such as a service behind `jax.pure_callback`."""
    jaxpr = _traced(predict, images)
    return jaxpr is not None and _has_callback(jaxpr.jaxpr)


def _traced(predict, images):
    """The callable as a jaxpr; None where it cannot be traced: it fails later, with its own message."""
    try:
        return jax.make_jaxpr(lambda images: predict(images))(images)
    except Exception:  # whatever a callable does that is not for tracers
        return None


def _has_callback(jaxpr) -> bool:
    for equation in jaxpr.eqns:
        if "callback" in equation.primitive.name and equation.primitive.name != "debug_callback":
            return True
        for value in equation.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns") and _has_callback(inner):
                    return True
    return False


def devices_of(predict: Callable) -> Sequence[jax.Device]:
    """Returns all devices of this process; none, which leaves it to JAX, where there is one, where `jax.default_device`
    chose one, or where `predict` has weights as leaves that were put somewhere."""
    devices = jax.local_devices()
    has_place = jax.config.jax_default_device is not None or any(
        isinstance(leaf, jax.Array) and leaf.committed for leaf in jax.tree.leaves(predict)
    )
    return [] if has_place or len(devices) == 1 else devices


_VERSIONS: dict[Callable, tuple[str, Callable]] = {}  # callables, a digest of what they are made of, a name for that


def as_argument(predict: Callable, images: jax.ShapeDtypeStruct) -> jax.tree_util.Partial:
    """Returns a callable as an argument of compiled programs; the weights in a `Partial` are arguments, too.

    Any other gets a name that changes with what it closes over, such as weights that were trained on: programs that
    were compiled for it earlier hold the old ones.

    Args:
      predict: images -> labels, traceable.
      images: shape and dtype of a batch.
    """
    if isinstance(predict, jax.tree_util.Partial):
        return predict
    if hasattr(predict, "lower"):  # compiled by its owner
        return jax.tree_util.Partial(predict)
    jaxpr = jax.make_jaxpr(lambda images: predict(images))(images)  # traced anew, not taken from JAX's own memory
    version = digest(str(jaxpr.jaxpr), *jaxpr.consts)
    try:
        last_version, name = _VERSIONS.get(predict, ("", predict))
    except TypeError:  # not hashable
        return jax.tree_util.Partial(functools.partial(predict))
    if last_version != version:
        name = functools.partial(predict)
        while len(_VERSIONS) >= VERSIONS:
            del _VERSIONS[next(iter(_VERSIONS))]
        _VERSIONS[predict] = version, name
    return jax.tree_util.Partial(name)


def digest(*parts) -> str:
    """Returns a SHA-256 of texts and arrays, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        array = np.asarray(part)
        total.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
