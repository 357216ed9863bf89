"""Whether a function is being traced for what it computes instead of for speed.

Attribution reads convolutions and poolings off a traced function. A layer that computes them by other means (patches
and a matrix product, shifted multiply-adds, maxima of slices) asks `wanted()` and then takes XLA's own operation.
"""

import contextlib
import contextvars
from collections.abc import Iterator

_WANTED = contextvars.ContextVar("plain_operations_wanted", default=False)


def wanted() -> bool:
    """Returns whether the code that traces asks for `lax.conv_general_dilated`, `lax.reduce_window` and the like."""
    return _WANTED.get()


@contextlib.contextmanager
def asked() -> Iterator[None]:
    """Asks for plain operations while a function is traced; what an inner `jax.jit` traced before stays as it was."""
    token = _WANTED.set(True)
    try:
        yield
    finally:
        _WANTED.reset(token)
