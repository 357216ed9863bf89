"""Array types with shapes, for annotations: jaxtyping's own for type checkers and wherever it has been imported before.

Otherwise only the kind of array remains, `Int32[np.ndarray, "rows columns"]` being `np.ndarray`: importing jaxtyping
takes as long as decoding a network of three million weights, and this room is used without JAX, too.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax import Array
else:
    Array = object  # JAX's, which is not imported for its name

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Float, Float64, Int32, Int64, Integer, Shaped, UInt8
else:

    class Shaped:
        """Any dtype; an array type subscripted by itself and its shape is the array type."""

        def __class_getitem__(cls, array_and_shape):
            return array_and_shape[0]

    Float = Float64 = Int32 = Int64 = Integer = UInt8 = Shaped

Buffer = bytes | bytearray | memoryview  # what holds a file or a codeword

__all__ = ["Array", "Buffer", "Float", "Float64", "Int32", "Int64", "Integer", "Shaped", "UInt8"]
