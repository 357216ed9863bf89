"""Truncated, altered and random files: a ValueError that says what is wrong, or a tree of the declared shapes."""

import functools
import json
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from kernels import entropy_coding
from kernels.entropy_coding import Codebook, Quantized
from kernels.entropy_coding.container import file, layout
from tests.kernels.entropy_coding import cases, damage, random_tensors, trees

pytestmark = pytest.mark.usefixtures("unchecked")  # time and memory are bounded here, and checks take both

LIMIT = 1 << 20  # max_output_bytes of the damaged files
SLACK = 3 << 20  # pieces in flight, the interpreter


def images() -> list[bytes]:
    """Sound files, small enough that damage meets every byte."""
    sample = trees.sample()
    return [
        entropy_coding.compress(sample, step=1 / 64, small_step=1 / 64),
        entropy_coding.compress(sample),
        entropy_coding.compress({"a": sample["fc1"]["kernel"]}, step=1 / 64, scan=1),
        entropy_coding.compress({"a": sample["fc1"]["kernel"]}, step=1 / 64, scan=3, n_unary=1),
        entropy_coding.compress([sample["integers"][7], sample["mask"]]),
        entropy_coding.compress(np.float32(3)),
        trellis_image(),
        entropy_coding.compress(trees.codebooks(), step=1 / 64),
    ]


GRID = random_tensors.on_trellis_grid(cases.levels(23 * 17, 400, 1, 2).reshape(23, 17), 1)


def trellis_image() -> bytes:
    """A tensor on the grid of dependent quantisation in blocks of 8, step 0.5."""
    stream = (bytes([1, 11, 1 | 1 << 5]), entropy_coding.encode_tensor(GRID, dq=True, scan=1))
    return damage.put_together([stream], b"\1\0\1\0\1t\0\2\x17\x11\4" + struct.pack("<d", 0.5) + b"\0\0")


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for child in tree.values() for leaf in leaves(child)]
    if isinstance(tree, (list, tuple)):
        return [leaf for child in tree for leaf in leaves(child)]
    return [] if tree is None else [tree]


def attempt(data: bytes, seed: int, limit: int = LIMIT) -> str:
    """Reads a file by one of the four readers; returns the message of its ValueError, or ''."""
    try:
        if seed % 8 == 0:
            summary = entropy_coding.inspect(data, max_output_bytes=limit, jobs=1)
            assert sum(tensor.size for tensor in summary.tensors) <= limit
            return ""
        tree = entropy_coding.decompress(data, max_output_bytes=limit, quantized=seed % 8 == 1, jobs=1)
    except ValueError as error:
        message = str(error)
        assert len(message) >= 20 and " " in message, message
        return message
    total = 0
    for leaf in leaves(tree):
        array = leaf.q if isinstance(leaf, Quantized) else leaf.labels if isinstance(leaf, Codebook) else leaf
        assert isinstance(array, np.ndarray)
        total += array.size
    assert total <= limit
    return ""


def run(first: int, last: int, sound: list[bytes]) -> dict:
    """Damages and reads; returns counts of outcomes and the longest processor time in seconds."""
    assert not any([attempt(image, 0) or attempt(image, 1) for image in sound])  # compiles, too
    read, longest, messages = 0, 0.0, {}
    for seed in range(first, last):
        rng = np.random.default_rng(seed)
        data = damage.damaged(sound[seed % len(sound)], rng)
        start = time.process_time()
        message = attempt(data, seed // len(sound))
        longest = max(longest, time.process_time() - start)
        read += not message
        kind = "".join(letter for letter in message if letter.isalpha() or letter == " ")[:40]
        messages[kind] = messages.get(kind, 0) + 1
    return {"files": last - first, "read": read, "longest": longest, "kinds": len(messages)}


def test_the_frame_of_the_damage_is_the_format():
    for image in images():
        assert damage.put_together(**damage.take_apart(image)) == damage.plain(image)
        if image != damage.plain(image):
            assert damage.with_header(image, damage.header_of(image)) == image


def test_three_thousand_damaged_files():
    result = run(0, 3000, images())
    assert result["longest"] < 10
    assert 50 < result["read"] < 1500  # some damage is harmless, most is found
    assert result["kinds"] > 15


# The address space of the process is what it takes to start, plus 1 GiB: an allocation of a declared size that was not
# checked first ends in a MemoryError, which `attempt` does not catch.
WORKER = """
import json, resource, sys
from tests.kernels.entropy_coding import test_hostile
sound = test_hostile.images()
for image in sound:
    test_hostile.attempt(image, 0), test_hostile.attempt(image, 2)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = test_hostile.run(int(sys.argv[1]), int(sys.argv[2]), sound)
result["grown"] = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(json.dumps(result))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
@pytest.mark.parametrize("part", range(4))
def test_a_hundred_thousand_damaged_files(part):
    first = 10_000 + 25_000 * part
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(first), str(first + 25_000)], capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    print(result)
    assert result["files"] == 25_000 and result["longest"] < 10
    assert result["grown"] < 64 << 20


def peak_of(function) -> int:
    """Peak bytes that a call allocates, NumPy's included."""
    tracemalloc.start()
    try:
        function()
    except ValueError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_memory_of_damaged_files():
    sound = images()
    for seed in range(300):
        data = damage.damaged(sound[seed % len(sound)], np.random.default_rng(seed))
        assert peak_of(functools.partial(attempt, data, seed)) < 10 * len(data) + LIMIT + SLACK, seed


def element(name: str) -> bytes:
    encoded = name.encode()
    return b"\0" + damage.varint(len(encoded)) + encoded


ZERO_TENSOR = b"\0\1\1\6"  # float32, one axis of size 1, all zero


def test_very_many_very_small_tensors():
    """A header of five bytes a tensor must not turn into a hundred times its size in objects, nor take long."""
    count = 200_000
    tensors = damage.varint(count) + b"".join(b"\0\1\2" + damage.varint(i) + ZERO_TENSOR for i in range(count))
    data = damage.put_together([], tensors)
    assert peak_of(lambda: entropy_coding.decompress(data, max_output_bytes=LIMIT)) < 10 * len(data) + LIMIT + SLACK
    with pytest.raises(ValueError, match="max_output_bytes"):
        entropy_coding.decompress(data, max_output_bytes=LIMIT)


def test_deep_paths_with_long_names():
    """Each tensor adds ten bytes and lies under 60 names of 4,000 bytes: names must not be joined for each."""
    count = 3000
    deep = b"\0" + damage.varint(61) + b"".join(element("x" * 4000) for _ in range(60)) + b"\1\0" + ZERO_TENSOR
    tensors = damage.varint(count) + deep
    tensors += b"".join(b"\x3c\1\1" + damage.varint(i) + ZERO_TENSOR for i in range(1, count))
    data = damage.put_together([], tensors)
    start = time.process_time()
    peak = peak_of(lambda: entropy_coding.decompress(data, max_output_bytes=1 << 24))
    assert peak < 10 * len(data) + (1 << 24) + SLACK
    assert time.process_time() - start < 5


def test_very_many_streams():
    """Tensors find their streams in linear time."""
    count = 20_000
    streams = [(b"\0", b"abcd")] * count
    tensors = damage.varint(count)
    tensors += b"".join(b"\0\1\2" + damage.varint(i) + b"\0\1\1\0" + damage.varint(i) + b"\0" for i in range(count))
    data = damage.put_together(streams, tensors)
    start = time.process_time()
    tree = entropy_coding.decompress(data, max_output_bytes=1 << 28, jobs=1)
    assert len(tree) == count or len(tree[0]) == 1
    entropy_coding.inspect(data, max_output_bytes=1 << 28, jobs=1)
    assert time.process_time() - start < 20


def test_skipped_rows_of_a_trellis_in_blocks():
    """The trellis moves a row's width for every block of a skipped row: 10^12 steps here, unless the cycle is known."""
    width = 3_000_000
    stream = entropy_coding.encode_tensor(np.zeros((9, width), np.int8), profile=1)
    back = entropy_coding.decode_tensor(stream, (9, width), profile=1, dtype=np.int8)
    assert not back.any()
    try:  # the trellis' header is longer: the same bytes may or may not end where they should
        entropy_coding.decode_tensor(stream, (9, width), profile=1, scan=1, dq=True, dtype=np.int8)
    except ValueError:
        pass


@pytest.mark.parametrize("scan", [0, 4])
def test_memory_of_wide_rows(scan):
    """Rows longer than a piece are read in parts: an int8 or bfloat16 tensor is not held as int32 on the way."""
    wide = np.zeros((70, 30_000), np.uint8)
    wide[0, ::1000] = 3
    data = entropy_coding.compress({"a": wide}, scan=scan)
    assert peak_of(lambda: entropy_coding.decompress(data, jobs=1)) < 10 * len(data) + wide.nbytes + SLACK
    np.testing.assert_array_equal(entropy_coding.decompress(data)["a"], wide)
    np.testing.assert_array_equal(entropy_coding.read_tensor(data, "a"), wide)


def test_random_bytes_as_codewords():
    """The raw decoder cannot know every damage: it raises, or returns the declared shape."""
    returned = 0
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        q, options = random_tensors.draw(seed)
        settings = random_tensors.coder_options(options)
        kind = seed % 3
        data = rng.bytes(int(rng.integers(80))) if kind == 0 else entropy_coding.encode_tensor(q, **options)
        if kind == 1:
            data = damage.mutate(data, rng)
        if kind == 2:
            settings[str(rng.choice(["n_unary", "scan"]))] = int(rng.integers(1, 5))
            settings["dq"] = bool(rng.integers(2))
        try:
            back = entropy_coding.decode_tensor(data, q.shape, **settings)
        except ValueError as error:
            assert "codeword" in str(error) or "cannot hold" in str(error)
        else:
            returned += 1
            assert back.shape == q.shape and (not q.size or np.abs(back.astype(np.int64)).max() <= cases.LARGEST_LEVEL)
    assert returned > 20


@pytest.mark.parametrize("cut", range(1, 12))
def test_truncated_codewords(cut):
    q = cases.levels(400, 500, 2, 1).reshape(20, 20)
    stream = entropy_coding.encode_tensor(q)
    with pytest.raises(ValueError, match="codeword"):
        entropy_coding.decode_tensor(stream[:-cut], q.shape)
    for tail in (b"\0", b"\x80", b"\0" * cut):
        with pytest.raises(ValueError, match="does not end where"):
            entropy_coding.decode_tensor(stream + tail, q.shape)


def test_wrong_shapes():
    stream = entropy_coding.encode_tensor(np.arange(-10, 10))
    for shape in ((19,), (21,), (1,), (0,), (5, 5)):
        with pytest.raises(ValueError, match="codeword"):
            entropy_coding.decode_tensor(stream, shape)
    with pytest.raises(ValueError, match="cannot hold"):
        entropy_coding.decode_tensor(stream, (2**40, 2**40))
    with pytest.raises(ValueError, match="negative axis"):
        entropy_coding.decode_tensor(stream, (-20,))
    with pytest.raises(ValueError, match="uint8 is not one of"):
        entropy_coding.decode_tensor(stream, (20,), dtype=np.uint8)


def test_every_single_byte_changed():
    """Each byte of a file lies under a check sum or is checked itself."""
    image = entropy_coding.compress(
        {"a": trees.weights((6, 7), 1), "b": np.arange(5), "raw": np.arange(3.0)}, step=1 / 64
    )
    payload = sum(len(data) for _, data in damage.take_apart(image)["streams"])
    for one, actual in ((image, "check sum is wrong"), (damage.plain(image), "check sum of stream")):
        for at in range(len(one)):
            altered = bytearray(one)
            altered[at] ^= 0x41
            with pytest.raises(ValueError, match=actual if at >= len(one) - payload else " "):
                entropy_coding.decompress(bytes(altered))


def test_every_truncation():
    for image in (images()[0], damage.plain(images()[0])):
        for length in range(len(image)):
            if length < 300 or length % 37 == 0:
                with pytest.raises(ValueError, match="cut off|few"):
                    entropy_coding.decompress(image[:length])
    with pytest.raises(ValueError, match="1 bytes follow the last stream"):
        entropy_coding.decompress(image + b"\0")
    with pytest.raises(ValueError, match="check sum is wrong"):
        entropy_coding.decompress(images()[0] + b"\0")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"magic": b"PK\3\4"}, "begins with b'PK"),
        ({"version": 2}, "format version 2; this program reads version 1"),
        ({"version": 0}, "format version 0"),
        ({"features": 4}, "features 0x4"),
        ({"features": 2}, "features 0x2"),  # deflated, with check sums that nothing writes
        ({"features": 7}, "features 0x7"),
    ],
)
def test_foreign_files(changes, message):
    parts = damage.take_apart(entropy_coding.compress({"a": np.arange(3)}))
    for function in (entropy_coding.decompress, entropy_coding.inspect):
        with pytest.raises(ValueError, match=message):
            function(damage.put_together(**parts, **changes))


INTEGER_STREAM = (bytes([1, 11, 0]), entropy_coding.encode_tensor(np.array([5, -6])))
STEP = struct.pack("<d", 0.5)


@pytest.mark.parametrize(
    "streams, tensors, message",
    [
        ([], b"\0", "at least one leaf"),
        ([], b"\1\0\0\x20\0\6", "unknown dtype 32"),
        ([], b"\1\0\0\0\1\5\5", "coding 5, which this version does not read"),
        ([], b"\1\0\0\6\1\5\3", "int32 cannot have a codebook"),
        ([], b"\1\0\0\0\1\5\3\0\0", "no place among 0 values"),
        ([], b"\1\0\0\0\1\5\3\2\2" + bytes(8), "no place among 2 values"),
        ([], b"\1\0\0\0\1\5\3\2\1" + bytes(7), "middle of a field"),
        ([], b"\1\0\0\0\1\5\3\2\1" + struct.pack("<2f", 1, np.inf), "NaN or infinite"),
        ([INTEGER_STREAM], b"\1\0\0\0\1\2\3\2\1" + struct.pack("<2f", 1, 2) + b"\0\0", "has no value for"),
        ([], b"\1\0\0\0\1\5\x09", "coding 9"),
        ([], b"\2\0\0\0\0\6\0\0\0\0\6", "occurs twice"),
        ([], b"\2\0\1\0\1a\0\0\6\0\1\4\1a\0\0\6", "occurs twice"),
        ([], b"\2\0\1\0\1a\0\0\6\1\1\0\1b\0\0\6", "inside a tensor"),
        ([], b"\1\0\1\2\1\0\0\6", "misses an index"),
        ([], b"\1\0\1\x05\0\0\6", "unknown kind 5"),
        ([], b"\1\0\1\0\2\xff\xfe\0\0\6", "not UTF-8"),
        ([], b"\1\1\0\0\0\6", "path is 1, more than 0"),
        ([], b"\1\0\x41" + b"\1\0" * 65 + b"\0\0\6", "path is 65, more than 64"),
        ([], b"\1\0\0\0\x21" + b"\1" * 33 + b"\6", "axes is 33"),
        ([], b"\1\0\0\0\2" + damage.varint(2**40) * 2 + b"\6", "impossible shape"),
        ([], b"\1\0\0\0\2\0" + damage.varint(2**62) + b"\6", "impossible shape"),
        ([], b"\1\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\6", "is no number"),
        ([], b"\1\0\0\0\0\6\0", "1 bytes follow the header"),
        ([], b"\1\0\0\0\0", "ends in the middle"),
        ([(b"\2", b"")], b"\1\0\0\0\0\6", "unknown kind 2"),
        ([(bytes([1, 0, 0]), b"")], b"\1\0\0\0\0\6", "options that do not exist"),
        ([(bytes([1, 11, 5]), b"")], b"\1\0\0\0\0\6", "options that do not exist"),
        ([(bytes([1, 11, 64]), b"")], b"\1\0\0\0\0\6", "options that do not exist"),
        ([INTEGER_STREAM], b"\1\0\0\6\1\2\6", "stream 0 belongs to no tensor"),
        ([INTEGER_STREAM], b"\1\0\0\6\1\2\1\1\0", "stream 1 of 1"),
        ([INTEGER_STREAM], b"\1\0\0\6\1\2\0\0\0", "disagree on how it is coded"),
        ([(b"\0", b"12345678")], b"\1\0\0\6\1\2\1\0\0", "disagree on how it is coded"),
        ([(b"\0", b"1234567")], b"\1\0\0\6\1\2\0\0\0", "take 8 bytes, their stream has 7"),
        ([(b"\0", b"\1\2")], b"\1\0\0\x0c\1\2\0\0\0", "booleans other than 0 and 1"),
        ([INTEGER_STREAM], b"\1\0\0\0\1\2\1\0\0", "float32 cannot be stored as integers"),
        ([INTEGER_STREAM], b"\1\0\0\0\1\2\4" + STEP + b"\0\0", "disagree on dependent quantisation"),
        ([(bytes([1, 11, 32]), b"abc")], b"\1\0\0\0\1\2\2" + STEP + b"\0\0", "disagree on dependent quantisation"),
        ([INTEGER_STREAM], b"\1\0\0\x08\1\2\1\0\0", "a value that uint8 cannot"),
        ([INTEGER_STREAM], b"\1\0\0\6\1\2\2" + STEP + b"\0\0", "a step of 0.5 for dtype int32"),
        ([INTEGER_STREAM], b"\1\0\0\0\1\2\2" + struct.pack("<d", -1) + b"\0\0", "a step of -1.0"),
        ([INTEGER_STREAM], b"\1\0\0\0\1\2\2" + struct.pack("<d", np.nan) + b"\0\0", "a step of nan"),
        ([INTEGER_STREAM], b"\1\0\0\6\1\2\1\0\1\1", "no permutation"),
        ([INTEGER_STREAM], b"\1\0\0\6\1\2\1\0\2", "axis order of unknown kind 2"),
        ([INTEGER_STREAM], b"\1\0\0\6\1\3\1\0\0", "tensor '': .*codeword"),
        ([INTEGER_STREAM], b"\2\0\1\1\0\6\1\1\1\0\0\0\1\1\1\6\1\1\1\0\1\0", "share a stream with options"),
    ],
)
def test_headers_that_lie(streams, tensors, message):
    with pytest.raises(ValueError, match=message):
        entropy_coding.decompress(damage.put_together(streams, tensors), max_output_bytes=LIMIT)


def test_a_minimal_file_by_hand():
    image = damage.put_together([INTEGER_STREAM], b"\1\0\0\6\1\2\1\0\0")
    np.testing.assert_array_equal(entropy_coding.decompress(image), [5, -6])
    short = entropy_coding.compress(np.array([5, -6], np.int32), n_unary=11)
    options, data = INTEGER_STREAM
    start = damage.PREFIX.pack(b"DCBN", 1, 1, 14) + b"\1" + options + bytes([len(data)]) + b"\1\0\0\6\1\2\1\0\0"
    same_by_hand = start + struct.pack("<I", zlib.crc32(start + data)) + data
    np.testing.assert_array_equal(entropy_coding.decompress(same_by_hand), [5, -6])
    assert damage.plain(short) == damage.plain(same_by_hand) == image
    assert len(short) <= len(same_by_hand) == len(image) - 4


def test_deflated_headers_that_lie():
    """A header that grows without end, ends early, goes on, or is no deflated data, under a check sum that is right."""
    image = entropy_coding.compress({f"layer{i}": np.arange(9.0) for i in range(40)})
    assert damage.PREFIX.unpack_from(image)[2] == 3
    deflated = zlib.compress(damage.header_of(image), 9, -zlib.MAX_WBITS)
    bomb = zlib.compress(bytes(1 << 24), 9, -zlib.MAX_WBITS)
    for stored, message in (
        (bomb, "more than 64 times"),
        (deflated[:-1], "too early or too late"),
        (deflated + b"\0", "too early or too late"),
        (b"\xff" * 40, "cannot be inflated"),
        (b"", "too early or too late"),
    ):
        with pytest.raises(ValueError, match=message):
            entropy_coding.decompress(damage.with_stored_header(image, stored, 3))


@pytest.mark.parametrize("qp", [-1000, -75, -33, -32, -1, 0, 1, 7, 999])
def test_steps_of_parameters_take_two_bytes(qp):
    step = entropy_coding.qp_to_step(qp)
    entry = layout.Entry((("key", "a"),), np.dtype(np.float64), (2,), layout.UNIFORM, step, 0)
    stream = layout.Stream(layout.CABAC_STREAM, entropy_coding.encode_tensor([1, 2]))
    sizes = []
    for exact in (step, step * 1.0001):
        entry.step = exact
        image = file.write([entry], [stream])
        sizes.append(len(image))
        assert file.read(image)[0][0].step == exact
        assert file.read(damage.plain(image))[0][0].step == exact
    assert sizes[1] - sizes[0] in (7, 8)
    header = damage.header_of(image).replace(b"\0" + struct.pack("<d", entry.step), damage.varint(2002))
    with pytest.raises(ValueError, match="step is 2002"):
        entropy_coding.decompress(damage.with_header(image, header))


def test_a_trellis_stream():
    np.testing.assert_array_equal(entropy_coding.decompress(trellis_image())["t"], (GRID * 0.5).astype(np.float32))
    kept = entropy_coding.decompress(trellis_image(), quantized=True)["t"]
    np.testing.assert_array_equal(kept.q, GRID)
    (tensor,) = entropy_coding.inspect(trellis_image()).tensors
    assert (tensor.coding, tensor.step, kept.step) == ("trellis", 0.5, 0.5)


def test_a_scalar_with_an_empty_axis_order():
    stream = (bytes([1, 11, 0]), entropy_coding.encode_tensor(np.array(5)))
    image = damage.put_together([stream], b"\1\0\0\6\0\1\0\1")
    assert entropy_coding.decompress(image) == 5


def test_max_output_bytes():
    image = entropy_coding.compress({"a": np.zeros((1000, 1000), np.float32), "b": np.arange(4)})
    with pytest.raises(ValueError, match="max_output_bytes=4000000"):
        entropy_coding.decompress(image, max_output_bytes=4_000_000)
    assert entropy_coding.decompress(image, max_output_bytes=4_010_000)["a"].shape == (1000, 1000)
    with pytest.raises(ValueError, match="'a', with what shares its stream, takes 4000000 bytes"):
        entropy_coding.read_tensor(image, "a", max_output_bytes=3_999_999)
    np.testing.assert_array_equal(entropy_coding.read_tensor(image, "b", max_output_bytes=32), np.arange(4))
    with pytest.raises(ValueError, match="max_output_bytes"):
        entropy_coding.inspect(image, max_output_bytes=1000)
