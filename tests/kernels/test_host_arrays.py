"""What works on the host says so where it is traced, and what reads bytes says what it was given instead."""

import jax
import numpy as np
import pytest

from kernels import entropy_coding, golomb, host_arrays

MASK, SIGNS = np.array([True, False]), np.array([1, 0])
WRITERS = {
    "mask": (lambda mask: golomb.encode(mask, SIGNS, 1.0), MASK),
    "signs": (lambda signs: golomb.encode(MASK, signs, 1.0), SIGNS),
    "values": (golomb.encode_values, np.ones(2, np.float32)),
    "q": (entropy_coding.encode_tensor, SIGNS),
    "tensor 'w'": (lambda w: entropy_coding.compress({"w": w}, step=0.1), np.ones((2, 2), np.float32)),
}
READERS = {
    "golomb.decode": lambda data: golomb.decode(data, 2),
    "golomb.account": lambda data: golomb.account(data, 2),
    "decode_tensor": lambda data: entropy_coding.decode_tensor(data, (2,)),
    "decompress": entropy_coding.decompress,
    "inspect": entropy_coding.inspect,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_traced_has_no_bytes_yet(name):
    write, value = WRITERS[name]
    with pytest.raises(ValueError, match=f"{name} is traced, of shape .*outside of jit"):
        jax.eval_shape(lambda x: (write(x), x)[1], value)
    assert write(value)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_bytes_is_no_message(read, unchecked):
    for data, kind in (("text", "str"), (None, "NoneType"), (7, "int"), ([1, 2], "list"),
                       (np.ones((4, 4), np.uint8)[:, ::2], "ndarray")):  # fmt: skip
        with pytest.raises(ValueError, match=f"data is {kind}: expected bytes"):
            read(data)
    with pytest.raises(ValueError, match="data is a traced array: expected bytes"):
        jax.eval_shape(lambda data: (read(data), data)[1], np.zeros(4, np.uint8))


def test_bytes_of_all_kinds_are_read():
    data = golomb.encode(MASK, SIGNS, 0.5)
    for same in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        assert golomb.decode(same, 2).tolist() == [0.5, 0.0]
    assert host_arrays.buffer("data", np.zeros((0, 3), np.uint8)).nbytes == 0
    assert host_arrays.buffer("data", np.zeros(3)).nbytes == 24
