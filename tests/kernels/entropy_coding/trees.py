"""Small trees made by formula: the same values with every library version, for golden images and for damage."""

import ml_dtypes
import numpy as np

from kernels.entropy_coding import Codebook, Quantized
from tests.kernels.entropy_coding import cases


def weights(shape, seed, density=400, dtype=np.float32):
    """Multiples of 1/64: exact in every float dtype that is used here."""
    return (cases.levels(int(np.prod(shape)), density, 2, seed).reshape(shape) / 64).astype(dtype)


def sample():
    """Every coding, several dtypes and containers, names in two alphabets; about 40 kB of tensors."""
    skipping = weights((60, 70), 1, 200)
    skipping[::2] = 0
    return {
        "fc1": {"kernel": skipping, "bias": weights((70,), 2)},
        "conv": [weights((3, 3, 16, 20), 3), weights((20,), 4)],
        "größe": (weights((50, 42), 5, dtype=ml_dtypes.bfloat16), None, {}, [], ()),
        "integers": {0: cases.levels(2500, 100, 0, 6).reshape(50, 50), 7: np.array([3, -4], np.int64)},
        "half": weights((5, 4), 7, dtype=np.float16),
        "mask": cases.levels(30, 500, 0, 8).reshape(5, 6) > 0,
        "scalar": np.float64(0.25),
        "empty": np.zeros((0, 3), np.float32),
        "zero": np.zeros((40, 90), np.float32),
        "quantized": Quantized(cases.levels(64, 700, 1, 9).reshape(8, 8), 0.5),
        "complex": np.array([1 + 2j], np.complex64),
        "big": np.array([2**63, 5], np.uint64),
    }


def codebooks():
    """Tensors of a few values: alone and small, several dtypes, label 0 for 0.0 and for another value."""
    values = np.array([-0.75, -0.25, 0, 0.125, 1, 3], np.float32)
    return {
        "alone": Codebook(np.clip(cases.levels(2400, 300, 1, 10).reshape(3, 40, 20), -2, 3), values),
        "small": Codebook(np.clip(cases.levels(64, 700, 1, 11).reshape(8, 8), -2, 3).astype(np.int8), values),
        "half": Codebook(cases.levels(30, 500, 0, 12) > 0, np.array([-1, 1], np.float16), 0),
        "one value": Codebook(np.zeros((50, 50), int), np.array([0.5], ml_dtypes.bfloat16), 0),
        "zero": Codebook(np.zeros((50, 50), int), values),
        "plain": weights((30,), 13),
    }


def same(a, b):
    """Asserts that two trees are equal to the bit, dtypes and shapes included."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert set(a) == set(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            same(left, right)
    elif a is not None:
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()
