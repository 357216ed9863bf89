"""Arrays and bytes at the door of what works on the host: a traced value has no numbers yet, a text is no message."""

import numpy as np

from . import scalars
from .array_types import Buffer


def on_host(name: str, values) -> np.ndarray:
    """Returns an argument as an array of NumPy.

    Raises:
      ValueError: it is traced by JAX.
    """
    if scalars.is_traced(values):
        raise ValueError(
            f"{name} is traced, of shape {list(values.shape)}: this runs on the host, on arrays with numbers; call it "
            "outside of jit, vmap and grad, or through jax.pure_callback"
        )
    return np.asarray(values)


def buffer(name: str, data: Buffer) -> memoryview:
    """Returns the bytes of an argument, which are not copied.

    Raises:
      ValueError: it holds none: a text, numbers, a traced array, an array with gaps.
    """
    try:
        view = memoryview(data)
        return view.cast("B") if view.nbytes else memoryview(b"")
    except (TypeError, ValueError):
        kind = "a traced array" if scalars.is_traced(data) else type(data).__name__
        raise ValueError(f"{name} is {kind}: expected bytes, or a contiguous array of them, as was written") from None
