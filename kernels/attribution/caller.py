"""Warnings that point at the line of the caller, however deep in this room, and in JAX, they arise."""

from __future__ import annotations

import os
import sys
import warnings

import jax

INSIDE = tuple(os.path.dirname(os.path.abspath(path)) + os.sep for path in (__file__, jax.__file__))


def warn_caller(text: str) -> None:
    """Warns at the innermost frame that is neither of this room nor of JAX, which calls this room's functions back."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)
