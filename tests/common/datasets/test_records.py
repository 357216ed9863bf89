"""Examples come back as they were written, in any order; what is damaged or unlike is named; nothing is half done."""

import numpy as np
import pytest

from common.datasets import DamagedDataError, records


def examples(count, seed=0):
    random = np.random.default_rng(seed)
    for label in range(count):
        yield {"images": random.integers(0, 256, (4, 3, 1), np.uint8), "labels": np.int32(label)}


@pytest.fixture
def folder(tmp_path):
    assert records.write(tmp_path / "set", examples(25), per_file=10) == 25
    return tmp_path / "set"


def test_examples_come_back_in_any_order(folder):
    source = records.Records(folder)
    assert len(source) == 25 and len(list(folder.glob("*.array_record"))) == 3
    assert "25 examples of images uint8 [4, 3, 1], labels int32 []" in repr(source)
    for index, expected in reversed(list(enumerate(examples(25)))):
        example = source[index]
        assert example["labels"] == expected["labels"] and example["labels"].dtype == np.int32
        np.testing.assert_array_equal(example["images"], expected["images"])
    assert [int(example["labels"]) for example in source.__getitems__([24, 0, 13])] == [24, 0, 13]
    with pytest.raises(IndexError):
        source[25]


def test_what_is_unlike_the_first_is_named_and_nothing_is_left(tmp_path):
    for other, message in (
        ({"images": np.zeros((4, 4, 1), np.uint8), "labels": np.int32(0)}, r"example 3: 'images' is uint8 \[4, 4, 1\]"),
        ({"images": np.zeros((4, 3, 1), np.float32), "labels": np.int32(0)}, "example 3: 'images' is float32"),
        ({"images": np.zeros((4, 3, 1), np.uint8)}, "example 3 has images, the first has images, labels"),
    ):
        with pytest.raises(ValueError, match=message):
            records.write(tmp_path / "set", [*examples(2), other])
    with pytest.raises(ValueError, match="no examples"):
        records.write(tmp_path / "set", [])
    assert not list(tmp_path.iterdir())
    records.write(tmp_path / "set", examples(1))
    with pytest.raises(ValueError, match="is there already"):
        records.write(tmp_path / "set", examples(1))


def test_damage_is_told(folder):
    path = sorted(folder.glob("*.array_record"))[1]
    data = path.read_bytes()
    caught = 0
    content = [place for place, byte in enumerate(data) if byte]  # most of a small file is padding
    for place in content[:: len(content) // 40]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        try:
            source = records.Records(folder)
            read = [source[index] for index in range(25)]
        except DamagedDataError:
            caught += 1
            continue
        for expected, example in zip(examples(25), read, strict=True):  # padding between blocks may change
            np.testing.assert_array_equal(example["images"], expected["images"])
    assert caught > 30
    path.unlink()
    with pytest.raises(DamagedDataError, match="holds 15 examples, 25 were written"):
        records.Records(folder)


def test_what_is_no_folder_of_examples_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no folder of examples"):
        records.Records(tmp_path)
    (tmp_path / "schema.json").write_text('{"examples": 3}')
    with pytest.raises(ValueError, match="is no folder of examples"):
        records.Records(tmp_path)


def test_texts_are_refused_where_they_are_written(tmp_path):
    with pytest.raises(ValueError, match="example 1: 't' is <U5: expected numbers"):
        records.write(tmp_path / "set", ({"t": "hello"} for _ in range(3)))
    with pytest.raises(ValueError, match="example 1 is int: expected a dict of arrays"):
        records.write(tmp_path / "set", range(3))
    assert not list(tmp_path.iterdir())


def test_the_schema_tells_other_examples(tmp_path):
    """A run that goes on knows its examples by this file."""
    texts = []
    for value in (1, 1, 2):
        records.write(tmp_path / f"{len(texts)}", ({"x": np.full(4, value + i)} for i in range(3)))
        texts.append((tmp_path / f"{len(texts)}" / "schema.json").read_text())
    assert texts[0] == texts[1] != texts[2]
