"""A file is whole or not there; JSON says what numbers are; fingerprints notice a changed file."""

import dataclasses
import json
import math
import pathlib
import stat
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from common import files


def test_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"), files.beside(path) as temporary:
        temporary.write_bytes(b"half")
        raise OSError("disk full")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"]


def test_write_makes_the_folder_and_gives_ordinary_permissions(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    files.write_atomically(path, "text \u00e4")
    plain = tmp_path / "plain"
    plain.touch()
    assert path.read_text(encoding="utf-8") == "text \u00e4"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    with pytest.raises(IsADirectoryError, match="is a directory"):
        files.write_atomically(path.parent, "x")


def test_fingerprint_of_files_and_folders(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = files.fingerprint(tmp_path / "d")
    assert files.fingerprint(tmp_path / "d") == first
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert files.fingerprint(tmp_path / "d") != first
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        files.fingerprint(tmp_path / "nothing")


def test_fingerprint_of_a_run_is_its_weights(tmp_path):
    for name in ("meta.json", "flags.txt", "model.safetensors"):
        (tmp_path / name).write_text("1")
    first = files.fingerprint(tmp_path)
    (tmp_path / "meta.json").write_text("2")
    assert files.fingerprint(tmp_path) == first
    (tmp_path / "model.safetensors").write_text("2")
    assert files.fingerprint(tmp_path) != first


class Pair(NamedTuple):
    left: int
    right: float


@dataclasses.dataclass
class Record:
    value: np.float32


def test_clean_numbers(tmp_path):
    value = {
        "single": np.float32(0.1), "double": np.float64(0.1), "count": np.int64(3), "flag": np.bool_(True),
        "device": jnp.asarray(0.5), "half": jnp.asarray(1.5, jnp.bfloat16), "list": np.arange(3), "pair": Pair(1, 2.0),
        "record": Record(np.float32(0.3)), "path": pathlib.Path("a/b"), "nan": math.nan, "up": np.float32(np.inf),
        "down": -math.inf, "none": None, 3: "three", "matrix": np.array([[1.5, np.nan]]),
    }  # fmt: skip
    files.write_json(tmp_path / "r.json", value)
    text = (tmp_path / "r.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "single": 0.1, "double": 0.1, "count": 3, "flag": True, "device": 0.5, "half": 1.5, "list": [0, 1, 2],
        "pair": {"left": 1, "right": 2.0}, "record": {"value": 0.3}, "path": "a/b", "nan": "NaN", "up": "Infinity",
        "down": "-Infinity", "none": None, "3": "three", "matrix": [[1.5, "NaN"]],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"b": object()}}, "result.a.b: object has no form in JSON"),
        ({"a": np.zeros(20_000)}, r"result.a: an array of float64 \[20000\] does not belong in JSON"),
        ({1: 0, "1": 0}, "two keys are the same text"),
        ({"a": [1, {2, 3}]}, r"result.a\[1\]: set has no form"),
        ({"a": np.array([None])}, "result.a: an array of object"),
    ],
)
def test_what_has_no_form_in_json_is_named(value, message):
    with pytest.raises(TypeError, match=message):
        files.clean(value)


def test_damaged_json_is_none(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert files.read_json(tmp_path / "a.json") is None
    assert files.read_json(tmp_path / "deep.json") is None
    assert files.read_json(tmp_path / "none.json") is None
