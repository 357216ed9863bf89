"""The cache: keys hold everything, entries come back bit by bit, what is damaged is never read in silence."""

import concurrent.futures
import functools
import json
import pathlib
import subprocess
import sys
import threading
import time
import typing

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from projects.spray.pipelines import cache, digests


class Pair(typing.NamedTuple):
    first: np.ndarray
    second: object


INPUTS = (np.arange(3.0),)


def meta(inputs=INPUTS, name="f", version="1", **parameters):
    return cache.describe(name, version, parameters, inputs)


def of(value) -> str:
    return digests.digest(value)


def scaled(factor):
    return lambda x: factor * x


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, True), (0.0, -0.0), ("1", 1), ((1, 2), [1, 2]), ((1, (2, 3)), ((1, 2), 3)), (None, "None"),
        (np.float32(1), np.float64(1)), (np.zeros(2, np.int32), np.zeros(2, np.float32)),
        (np.zeros(4), np.zeros((2, 2))), (np.zeros(2), np.zeros(2, np.float32)),
        (np.array([1.0, 1.001]), np.array([1.0, 1.0012])),  # CoRelAy rounds mantissas to two decimals
        (np.array([0.5]), np.array([np.nextafter(0.5, 1)])),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}), (scaled(2.0), scaled(3.0)), ((lambda x: x + 1), (lambda x: x + 2)),
        (functools.partial(np.mean, axis=0), functools.partial(np.mean, axis=1)), (slice(1), slice(2)),
        (scipy.sparse.csr_matrix(np.eye(2)), scipy.sparse.csr_matrix(2 * np.eye(2))),
    ],
)  # fmt: skip
def test_different_values_have_different_digests(one, other):
    assert of(one) != of(other)


def test_equal_values_have_equal_digests():
    assert of({"b": 1, "a": np.arange(3)}) == of({"a": np.arange(3), "b": 1})
    assert of(scaled(2.0)) == of(scaled(2.0))
    assert of(np.arange(6).reshape(2, 3).T) == of(np.ascontiguousarray(np.arange(6).reshape(2, 3).T))


def test_the_key_holds_name_version_parameters_and_inputs():
    keys = [
        cache.key_of(item)
        for item in (
            meta(k=1), meta(k=2), meta(k=1.0), meta(k=1, bins=32), meta(name="g", k=1), meta(version="2", k=1),
            meta((np.arange(3.0, dtype=np.float32),), k=1), meta((np.arange(3.0) + 1e-15,), k=1),
        )
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert cache.key_of(meta(k=1)) == keys[0]


def test_what_has_no_digest_is_named():
    with pytest.raises(TypeError, match="object has no digest"):
        of(object())
    with pytest.raises(TypeError, match="array of objects"):
        of(np.array([object()]))


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3), (np.arange(2), (np.zeros(0), np.array(3.5))), None,
        2.5, "text", 7, Pair(np.arange(3), None), {"a": np.eye(2), "b": [1, np.array([True, False])]},
    ],
)  # fmt: skip
def test_results_come_back_bit_by_bit(tmp_path, value):
    cache.write(tmp_path, meta(), value, (Pair,))
    read = cache.read(tmp_path, meta(), (Pair,))
    assert type(read) is type(value) and of(read) == of(value)


def test_arrays_of_jax_come_back_as_such(tmp_path):
    cache.write(tmp_path, meta(), (jnp.arange(3), np.arange(3)))
    ours, plain = cache.read(tmp_path, meta())
    assert isinstance(ours, jax.Array) and isinstance(plain, np.ndarray)


def test_sparse_matrices_come_back(tmp_path):
    matrix = scipy.sparse.random(8, 8, 0.3, "csr", random_state=0)
    cache.write(tmp_path, meta(), matrix)
    assert (cache.read(tmp_path, meta()) != matrix).nnz == 0


def test_nested_tuples_are_groups_in_corelay_layout(tmp_path):
    path = cache.write(tmp_path, meta(), (np.arange(2), (np.zeros(1), np.ones(1))))
    with h5py.File(path) as file:
        group = file[cache.key_of(meta())]
        assert set(group) >= {"data", "meta", "input", "output"}
        assert set(group["data"]) == {"000", "001"} and set(group["data/001"]) == {"000", "001"}


def test_a_result_is_computed_once(tmp_path):
    calls = []
    for _ in range(2):
        result = cache.remember(tmp_path, meta(), lambda: calls.append(0) or np.arange(4))
        np.testing.assert_array_equal(result, np.arange(4))
    assert len(calls) == 1


def flip(path: pathlib.Path) -> None:
    """Changes one stored number, as a bad disk would."""
    data = bytearray(path.read_bytes())
    place = data.find(np.float64(1234.5).tobytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:900]), lambda path: path.write_bytes(b"")]
)
def test_a_damaged_entry_is_named_and_made_anew(tmp_path, damage):
    path = cache.write(tmp_path, meta(), np.full(100, 1234.5))
    damage(path)
    with pytest.raises(cache.DamagedEntryError, match="is damaged"):
        cache.read(tmp_path, meta())
    with pytest.warns(UserWarning, match=f"{path.name} is damaged.*computed anew"):
        result = cache.remember(tmp_path, meta(), lambda: np.full(100, 1234.5))
    assert (result == 1234.5).all()
    assert (cache.read(tmp_path, meta()) == 1234.5).all()


def test_an_entry_of_another_computation_is_refused(tmp_path):
    path = cache.write(tmp_path, meta(name="other", k=3), np.arange(3))
    mine = cache.path_of(tmp_path, cache.key_of(meta(k=3)))
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(path.read_bytes())
    with h5py.File(mine, "a") as file:
        file.move(cache.key_of(meta(name="other", k=3)), cache.key_of(meta(k=3)))
    for call in (cache.read, lambda *a: cache.remember(*a, lambda: np.zeros(3))):
        with pytest.raises(cache.ClashError, match="holds a result of 'other' with other function"):
            call(tmp_path, meta(k=3))


def test_what_cannot_be_cached_is_named_and_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="f gives a object"):
        cache.remember(tmp_path, meta(), object)
    assert not list(tmp_path.rglob("*.h5")) and not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("workers", [4])
def test_writers_at_once_compute_once(tmp_path, workers):
    """Threads: the lock is flock on files of their own, as between processes."""
    calls, gate, about = [], threading.Barrier(workers), meta()

    def work(_):
        gate.wait()
        return cache.remember(tmp_path, about, lambda: calls.append(0) or time.sleep(0.1) or np.arange(1000.0)).sum()

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        assert list(pool.map(work, range(workers))) == [np.arange(1000.0).sum()] * workers
    assert len(calls) == 1


@pytest.mark.slow
def test_processes_at_once_compute_once(tmp_path):
    program = (
        "import sys, json, pathlib, time, numpy as np\n"
        "from projects.spray.pipelines import cache\n"
        "def count():\n"
        "    (open(sys.argv[1] + '/calls', 'a')).write('x'); time.sleep(1); return np.arange(1000.0)\n"
        "print(cache.remember(sys.argv[1], json.loads(sys.argv[2]), count).sum())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), json.dumps(meta())]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [float(process.communicate(timeout=120)[0]) for process in processes] == [np.arange(1000.0).sum()] * 3
    assert (tmp_path / "calls").read_text() == "x"
