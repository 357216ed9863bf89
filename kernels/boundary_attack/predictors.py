"""Classifiers as callables: whether one may be compiled into the attack, and on which devices."""

import functools
import hashlib
import inspect
import weakref
from collections.abc import Callable, Sequence

import jax
import numpy as np


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
    default = jax.config.jax_default_device  # type: ignore[attr-defined]  # options of JAX are not in its annotations
    has_place = default is not None or any(
        isinstance(leaf, jax.Array) and leaf.committed for leaf in jax.tree.leaves(predict)
    )
    return [] if has_place or len(devices) == 1 else devices


# Who each callable is, to a digest of what it is made of and a name for that. Names refer weakly to callables, whose
# entries go with them: a classifier and its weights are their owner's.
_VERSIONS: dict[tuple, tuple[str, Callable]] = {}


def as_argument(predict: Callable, images: jax.ShapeDtypeStruct) -> jax.tree_util.Partial:
    """Returns a callable as an argument of compiled programs; the weights in a `Partial` are arguments, too.

    Any other gets a name that changes with what it closes over, such as weights that were trained on: programs that
    were compiled for it earlier hold the old ones. The name holds the callable weakly: the caller keeps it alive.

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
    # A bound method is made anew at each look: who it is are its object and its function.
    owner, function = (predict.__self__, predict.__func__) if inspect.ismethod(predict) else (predict, None)
    identity = id(owner), function
    last_version, name = _VERSIONS.get(identity, ("", None))
    if last_version != version:
        try:
            name = _weakly(owner, function, lambda _: _VERSIONS.pop(identity, None))
        except TypeError:  # has no weak references: compiled anew for each attack
            return jax.tree_util.Partial(functools.partial(predict))
        _VERSIONS[identity] = version, name
    return jax.tree_util.Partial(name)


def _weakly(owner, function: Callable | None, forget: Callable) -> Callable:
    """A function of its own that calls an object, or its method, as long as that is there; `forget` when it goes."""
    reference = weakref.ref(owner, forget)

    def call(images):
        return reference()(images) if function is None else function(reference(), images)

    return call


def digest(*parts) -> str:
    """Returns a SHA-256 of texts and arrays, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        array = np.asarray(part)
        total.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
