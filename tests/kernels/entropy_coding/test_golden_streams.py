"""Short streams written down beside their integers, from the compiled coder and from the plain oracle."""

import hashlib

import numpy as np
import pytest

from kernels import entropy_coding
from tests.kernels.entropy_coding import random_tensors
from tests.kernels.oracles import cabac
from tests.kernels.oracles import presets as preset_oracle

MIXED = [0, 1, -1, 2, 0, 0, -3, 7, 20, -40, 0, 0, 1, -1, 0, 100]
TENSOR_B = np.array([(7919 * i % 23) - 11 if 31 * i % 5 == 0 else 0 for i in range(1536)], np.int32).reshape(64, 24)
THINNED_B = np.where(np.arange(64)[:, None] % 3 == 0, 0, TENSOR_B)


@pytest.mark.parametrize(
    "values, options, expected",
    [
        (MIXED, {}, "8d0040d5332fec10744454fb2a807d75c0"),
        (MIXED, {"n_unary": 10}, "8d004855332fec1348893862740252e7"),
        ([0] * 64, {}, "8d0023400cd8"),
        ([0] * 4096, {}, "8d002340000000000000015b"),
        ([0] * 4096, {"presets": True}, "09a0000000000000017f"),
        ([0, -2, 2, 0, 0, 5, 0, 2], {"dq": True}, "8d0016438476"),
    ],
)
def test_printed_streams(values, options, expected):
    options = {"presets": False, **options}
    q = np.array([values])
    assert entropy_coding.encode_tensor(q, **options).hex() == expected
    assert entropy_coding.stream_length(q, **options) == len(expected) // 2
    settings = random_tensors.coder_options(options)
    np.testing.assert_array_equal(entropy_coding.decode_tensor(bytes.fromhex(expected), q.shape, **settings), q)
    choice = preset_oracle.choose([values]) if options["presets"] else {}
    assert cabac.encode([values], presets=choice, **settings).hex() == expected
    assert cabac.decode(bytes.fromhex(expected), 1, len(values), **settings) == [values]


@pytest.mark.parametrize(
    "q, options, length, digest",
    [
        (TENSOR_B, {}, 335, "c9b33eb46e27fbe0"),
        (TENSOR_B, {"presets": True}, 312, "dd94b2d96d489d06"),
        (TENSOR_B, {"scan": 1}, 389, "9fe62d193d0e30b8"),
        (TENSOR_B, {"scan": 2}, 366, "65b1b9889fc7e879"),
        (TENSOR_B, {"scan": 1, "presets": True}, 320, "6f322ca0ea6fd336"),
        (THINNED_B, {"profile": 1}, 234, "d3ad503a64626fa5"),
        (THINNED_B, {}, 243, None),
    ],
)
def test_tensor_b(q, options, length, digest):
    options = {"presets": False, **options}
    stream = entropy_coding.encode_tensor(q, **options)
    assert len(stream) == length == entropy_coding.stream_length(q, **options)
    assert digest is None or hashlib.sha256(stream).hexdigest()[:16] == digest
    settings = random_tensors.coder_options(options)
    np.testing.assert_array_equal(entropy_coding.decode_tensor(stream, q.shape, **settings), q)
    choice = preset_oracle.choose(q.tolist(), scan=settings.get("scan", 0)) if options["presets"] else {}
    assert cabac.encode(q.tolist(), presets=choice, **settings).hex() == stream.hex()
    assert cabac.decode(stream, *q.shape, **settings) == q.tolist()
