"""Array types with shapes, for annotations: jaxtyping's own for type checkers and wherever it has been imported before.

`Float32[Array, "batch n"]` is then checked by whoever asks for it (tests/kernels/shape_checks.py does). Otherwise only
the kind of array remains, here `Array`: importing jaxtyping without JAX takes as long as decoding a network of three
million weights, and the kernels run without it.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike
else:
    ArrayLike = DTypeLike = object  # whatever `numpy.asarray` and `numpy.dtype` take: a check would be theirs again

_is_checked = TYPE_CHECKING or sys.modules.get("jaxtyping") is not None

if TYPE_CHECKING or _is_checked or "jax" in sys.modules:
    from jax import Array
else:
    Array = object  # JAX is not imported for the name of its arrays

if TYPE_CHECKING or _is_checked:
    from jaxtyping import (
        Bool,
        Complex,
        Float,
        Float32,
        Float64,
        Int,
        Int8,
        Int32,
        Int64,
        Integer,
        Key,
        Num,
        Real,
        Shaped,
        UInt8,
        UInt32,
    )
else:

    class Shaped:
        """Any dtype; subscripted by an array type and a shape it is the array type."""

        def __class_getitem__(cls, array_and_shape):
            return array_and_shape[0]

    Bool = Complex = Float = Float32 = Float64 = Int = Int8 = Int32 = Int64 = Integer = Shaped
    Key = Num = Real = UInt8 = UInt32 = Shaped

AnyArray = Array | np.ndarray  # what a function of JAX arrays takes
Scalar = float | np.number | Real[AnyArray, ""]  # one real number
Numbers = Scalar | Real[AnyArray, "..."] | Sequence  # one number, or arrays of them that broadcast
Shape = SupportsIndex | Sequence[SupportsIndex]
Whole = Scalar  # one whole number, whatever its type
Count = int | np.integer  # one number of a type of integers
RandomKey = Key[Array, ""] | UInt32[AnyArray, " words"]  # of jax.random.key, or its raw words
if TYPE_CHECKING:
    from typing_extensions import Buffer
else:
    Buffer = bytes | bytearray | memoryview | np.ndarray  # what holds a file or a codeword

__all__ = [
    "AnyArray",
    "Array",
    "ArrayLike",
    "Bool",
    "Buffer",
    "Complex",
    "Count",
    "DTypeLike",
    "Float",
    "Float32",
    "Float64",
    "Int",
    "Int8",
    "Int32",
    "Int64",
    "Integer",
    "Key",
    "Num",
    "Numbers",
    "Real",
    "RandomKey",
    "Scalar",
    "Shape",
    "Shaped",
    "UInt8",
    "UInt32",
    "Whole",
]
