"""One integer tensor to and from one DeepCABAC codeword (arXiv:1907.11900; ISO/IEC 15938-17, profiles 0 and 1).

Bit-exact with the NNC coder. A tensor of shape [rows, ...] is coded as `rows` rows of the product of its other axes; a
1-D tensor as one column, a scalar as one value. The codeword holds no shape: the reader passes it.
"""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from ..array_types import ArrayLike, Buffer, DTypeLike, Integer
from .codeword import checked_levels, choose_presets, codeword_bits, encode_levels
from .reader import Reader


def encode_tensor(
    q: ArrayLike,
    *,
    n_unary: SupportsIndex = 11,
    presets: bool = True,
    dq: bool = False,
    scan: SupportsIndex = 0,
    profile: SupportsIndex = 0,
) -> bytes:
    """The codeword of an integer tensor.

    Args:
      q: integers of any shape, empty and scalar included, |q| < 2^31 - 13.
      n_unary: number of context-coded "greater than n" flags, 1 to 15, before the Exp-Golomb remainder.
      presets: choose the starting state of every context (the nine of the standard) to make the stream shortest.
      dq: q lies on the grid of dependent quantisation: along the coding order, odd trellis states allow odd values
        and zero, even states even values.
      scan: 0 row by row; 1 to 4 blocks of side 8, 16, 32, 64, with contexts that start anew at each row of blocks.
      profile: 0; or 1, where all-zero rows of a matrix cost one adaptive bin each and are not coded.

    Raises:
      TypeError: q does not hold integers.
      ValueError: a value is out of range or has the wrong parity, or an option is unknown.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> len(entropy_coding.encode_tensor(np.zeros((100, 100), np.int32)))
      18
    """
    levels, options = checked_levels(q, n_unary, dq, scan, profile)
    return encode_levels(levels, options, choose_presets(levels, options) if presets else options.no_presets())


def stream_length(
    q: ArrayLike,
    *,
    n_unary: SupportsIndex = 11,
    presets: bool = True,
    dq: bool = False,
    scan: SupportsIndex = 0,
    profile: SupportsIndex = 0,
) -> int:
    """Length in bytes of what `encode_tensor` with the same arguments returns, without writing it.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> q = np.array([[0, 1], [-2, 0]])
      >>> entropy_coding.stream_length(q) == len(entropy_coding.encode_tensor(q))
      True
    """
    levels, options = checked_levels(q, n_unary, dq, scan, profile)
    states = choose_presets(levels, options) if presets else options.no_presets()
    return (codeword_bits(levels, options, states) + 7) // 8


def decode_tensor(
    data: Buffer,
    shape: Sequence[SupportsIndex],
    *,
    n_unary: SupportsIndex = 11,
    dq: bool = False,
    scan: SupportsIndex = 0,
    profile: SupportsIndex = 0,
    dtype: DTypeLike = np.int32,
) -> Integer[np.ndarray, "*shape"]:
    """The integers of a codeword, as an array of `shape`.

    Whether presets were used stands in the stream. Damaged data raise, or, where the damage happens to form another
    legal codeword, return an array of the declared shape; time and memory are bounded by shape and length of data.

    Args:
      data: bytes-like, one whole codeword.
      shape: the tensor's shape.
      n_unary, dq, scan, profile: as given to `encode_tensor`.
      dtype: int8, int16 or int32; a value it cannot hold raises.

    Raises:
      ValueError: the data are no codeword of that shape and these options.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> data = entropy_coding.encode_tensor(np.array([[0, 1], [-2, 0]]))
      >>> entropy_coding.decode_tensor(data, (2, 2)).tolist()
      [[0, 1], [-2, 0]]
    """
    sizes = tuple(operator.index(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"shape {sizes} has a negative axis")
    if np.dtype(dtype) not in (np.int8, np.int16, np.int32):
        raise ValueError(f"dtype {np.dtype(dtype)} is not one of int8, int16, int32")
    reader = Reader(data, sizes, n_unary=n_unary, dq=dq, scan=scan, profile=profile)
    levels = np.empty((reader.height, reader.width), dtype)
    reader.read(levels)
    reader.finish()
    return levels.reshape(sizes)
