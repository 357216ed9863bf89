"""What the format of a compressed network is made of: its constants, streams and entries (container.py says how)."""

import dataclasses
import math
import struct

import ml_dtypes
import numpy as np

from .tree import EMPTY, path_name

MAGIC = b"DCBN"
VERSION = 1
RAW_STREAM, CABAC_STREAM = 0, 1
RAW, INTEGERS, UNIFORM, CODEBOOK, TRELLIS, DELTA, ZERO = range(7)
CODING_NAMES = ("raw", "integers", "uniform", "codebook", "trellis", "delta", "zero")

_DTYPE_NAMES = (
    "float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool float8_e4m3fn float8_e5m2 "
    "complex64 complex128"
).split()
DTYPES = tuple(np.dtype(getattr(ml_dtypes, name, None) or name) for name in _DTYPE_NAMES)
EMPTY_CODES = {255 - i: kind for i, kind in enumerate(EMPTY)}
PATH_KINDS = ("key", "index", "list", "tuple", "name")
MAX_DEPTH, MAX_NAME, MAX_AXES = 64, 4096, 32
TENSOR_OVERHEAD = 1024  # bytes that a tensor's place in the tree is charged
PREFIX = struct.Struct("<4sHHI")
COMPACT, DEFLATED = 1, 2
MOST_INFLATED = 64  # times its stored length, that a header may grow to
PARAMETERS = {2.0 ** (qp // 4) * (1 + qp % 4 / 4): qp for qp in range(-1000, 1000)}


def _no_values() -> np.ndarray:
    return np.empty(0, np.float32)


@dataclasses.dataclass(slots=True)
class Stream:
    """One stored run of bytes: raw tensors end to end, or one codeword of the arithmetic coder."""

    kind: int
    data: bytes | memoryview = b""
    n_unary: int = 11
    scan: int = 0
    profile: int = 0
    dq: bool = False


@dataclasses.dataclass(slots=True)
class Entry:
    """One tensor (or empty container) of the tree. `axes` is the order in which its axes are coded, None as stored."""

    path: tuple
    dtype: np.dtype = np.dtype(bool)  # as for an empty container, whose `empty` says of which kind
    shape: tuple[int, ...] = ()
    coding: int = RAW
    step: float = 0.0
    stream: int = -1
    axes: tuple[int, ...] | None = None
    empty: str | None = None
    values: np.ndarray = dataclasses.field(default_factory=_no_values)  # of a codebook, in the entry's dtype
    zero: int = 0  # the place of label 0 among them

    @property
    def name(self) -> str:
        return path_name(self.path)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor once decoded."""
        return self.size * self.dtype.itemsize if self.empty is None else 0

    @property
    def coded_shape(self) -> tuple[int, ...]:
        return self.shape if self.axes is None else tuple(self.shape[axis] for axis in self.axes)


def dtype_code(dtype) -> int:
    """Number of a dtype in the format; TypeError names one that it cannot hold."""
    try:
        return DTYPES.index(np.dtype(dtype))
    except ValueError:
        raise TypeError(f"dtype {dtype} cannot be stored; cast to one of {', '.join(_DTYPE_NAMES)}") from None


def last_first(axes: int) -> tuple[int, ...]:
    """The order of axes that has a code of its own."""
    return axes - 1, *range(axes - 1)
