"""MNIST and its relatives: found under every usual name, fetched when missing, told apart from damage."""

import gzip
import hashlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from common import datasets
from common.datasets import DamagedDataError, DatasetNotFoundError, download, fashion_mnist, idx, idx_sets, mnist

QUICK = download.Policy(timeout=2.0, rounds=2, backoff=0.02)
ROOT = Path(__file__).parents[3]


def contents(seed=0, train=60, test=20, height=28, classes=10) -> dict[str, bytes]:
    """Unpacked IDX files by role, of random images."""
    random = np.random.default_rng(seed)
    files = {}
    for prefix, count in (("train", train), ("t10k", test)):
        files[f"{prefix}-images-idx3"] = idx.dump(random.integers(0, 256, (count, height, height), dtype=np.uint8))
        files[f"{prefix}-labels-idx1"] = idx.dump((np.arange(count) % classes).astype(np.uint8))
    return files


def published(raw: bytes) -> idx_sets.Published:
    edges = [len(raw) * part // 8 for part in range(9)]
    sums = [f"{zlib.crc32(raw[first:last]):08x}" for first, last in zip(edges, edges[1:], strict=False)]
    return idx_sets.Published(hashlib.sha256(raw).hexdigest(), len(raw), " ".join(sums))


FILES = contents()
TOY = idx_sets.IdxSet(
    name="Toy",
    folders=("toy", "Toy/raw"),
    files={role: published(raw) for role, raw in FILES.items()},
    bases=("http://127.0.0.1:9/",),
    classes=tuple("0123456789"),
    mean=(0.5,),
    std=(0.3,),
    licence="none",
)


def write(folder: Path, files: dict[str, bytes], pattern: str = "{role}-ubyte.gz", wrap=gzip.compress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for role, raw in files.items():
        name = pattern.format(role=role, dotted=role.replace("-idx", ".idx"))
        (folder / name).write_bytes(wrap(raw))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("folder", TOY.folders)
@pytest.mark.parametrize(
    ("pattern", "wrap"),
    [
        ("{role}-ubyte.gz", gzip.compress),
        ("{role}-ubyte", bytes),
        ("{dotted}-ubyte", bytes),
        ("{dotted}-ubyte.gz", bytes),
    ],
)
def test_found_under_every_usual_name(tmp_path, folder, pattern, wrap):
    write(tmp_path / folder, FILES, pattern, wrap)
    before = snapshot(tmp_path)
    toy = idx_sets.load(TOY, data_dir=tmp_path)
    assert toy.train_images.shape == (60, 28, 28, 1) and toy.train_images.dtype == np.uint8
    assert toy.test_labels.tolist() == [label % 10 for label in range(20)] and toy.test_labels.dtype == np.int32
    np.testing.assert_array_equal(toy.train_images[..., 0], idx.parse(FILES["train-images-idx3"], ""))
    assert toy.mean == (0.5,) and toy.notice == "" and str(tmp_path / folder) in toy.source
    assert snapshot(tmp_path) == before


def test_data_dir_from_the_environment_comes_before_the_cache(tmp_path, monkeypatch):
    write(tmp_path / "data/toy", contents(seed=1))
    write(tmp_path / "cache/datasets/toy", FILES)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert idx_sets.load(TOY).source.endswith("data/toy")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "nowhere"))
    assert idx_sets.load(TOY).source.endswith("cache/datasets/toy")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HAVEL_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a/datasets"),
        ({"HAVEL_CACHE": "", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/havel/datasets"),
        ({"HAVEL_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/havel/datasets"),
    ],
)
def test_place_of_the_cache(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(datasets.locate.cache_dir()) == expected


def test_fetched_when_missing_then_taken_from_the_cache(server, tmp_path):
    for role, raw in FILES.items():
        server.answer(f"/toy/{role}-ubyte.gz", gzip.compress(raw))
    first = idx_sets.load(TOY, mirror=server.url, policy=QUICK, progress=lambda *_: None)
    assert len(server.requests) == 4
    second = idx_sets.load(TOY, mirror=server.url)
    offline = idx_sets.load(TOY, allow_download=False)
    assert len(server.requests) == 4 and first.source == second.source == offline.source
    np.testing.assert_array_equal(first.test_images, offline.test_images)


def test_a_folder_that_lacks_a_file_is_not_mixed_with_the_cache(server, tmp_path):
    write(tmp_path / "data/toy", contents(seed=1))
    (tmp_path / "data/toy/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetNotFoundError, match="Missing: t10k-labels-idx1-ubyte.gz"):
        idx_sets.load(TOY, data_dir=tmp_path / "data", mirror=server.url, policy=QUICK)


def test_nowhere_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(DatasetNotFoundError) as caught:
        datasets.load("mnist", policy=QUICK)
    message = str(caught.value)
    for part in (
        "DATA_DIR=",
        "absent (no such folder)",
        "train-images-idx3-ubyte.gz",
        "http://127.0.0.1:9/mnist/",
        "/mnist",
    ):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError) and "\n" not in message


def test_digits_stand_in_loudly_only_when_the_set_is_nowhere(tmp_path):
    stand_in = datasets.load("mnist", fallback="digits", policy=QUICK)
    assert stand_in.name == "digits" and stand_in.fallback_for == "mnist"
    assert stand_in.train_images.shape[1:] == (28, 28, 1)
    assert "mnist is not available" in stand_in.notice and "DATA_DIR" in stand_in.notice
    write(tmp_path / "mnist", {role: raw[:-1] for role, raw in FILES.items()})
    with pytest.raises(DamagedDataError):
        datasets.load("mnist", fallback="digits", data_dir=tmp_path)


def test_another_set_in_the_format_loads_with_a_notice(tmp_path):
    write(tmp_path / "toy", contents(seed=7))
    other = idx_sets.load(TOY, data_dir=tmp_path)
    assert "checksum differs from the published set" in other.notice and other.notice in other.description
    assert "train-images" in other.notice and "labels" not in other.notice  # the labels are the published ones
    assert other.mean != TOY.mean
    assert other.mean[0] == pytest.approx(other.train_images.mean() / 255, abs=1e-4)
    assert other.std[0] == pytest.approx(other.train_images.std() / 255, abs=1e-4)


def test_a_part_and_other_sizes_and_more_classes_load(tmp_path):
    write(tmp_path / "toy", contents(train=40, test=5, height=20, classes=26))
    part = idx_sets.load(TOY, data_dir=tmp_path)
    assert part.train_images.shape == (40, 20, 20, 1) and len(part.test_labels) == 5
    assert len(part.classes) == 26 and part.classes[25] == "25"


def test_a_damaged_copy_of_the_published_file_is_refused(tmp_path):
    damaged = dict(FILES)
    raw = bytearray(FILES["train-images-idx3"])
    raw[5000] ^= 1
    damaged["train-images-idx3"] = bytes(raw)
    write(tmp_path / "toy", damaged, "{role}-ubyte", bytes)
    with pytest.raises(DamagedDataError, match="train-images-idx3-ubyte: damaged: 7 of 8 parts"):
        idx_sets.load(TOY, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("role", "array", "message"),
    [
        ("t10k-labels-idx1", np.zeros(19, np.uint8), "19 labels for the 20 images"),
        ("t10k-labels-idx1", np.zeros((20, 1), np.uint8), "expected uint8"),
        ("t10k-images-idx3", np.zeros((20, 28, 28), np.float32), "expected uint8"),
        ("t10k-images-idx3", np.zeros((20, 14, 14), np.uint8), "test images"),
    ],
)
def test_files_that_do_not_fit_each_other(tmp_path, role, array, message):
    write(tmp_path / "toy", FILES | {role: idx.dump(array)})
    with pytest.raises(DamagedDataError, match=message):
        idx_sets.load(TOY, data_dir=tmp_path)


def test_unknown_names_and_fallbacks():
    with pytest.raises(ValueError, match="unknown data set 'mnits': choose one of mnist"):
        datasets.load("mnits")
    with pytest.raises(ValueError, match="fallback='cifar10'"):
        datasets.load("mnist", fallback="cifar10")


@pytest.mark.parametrize("data", [mnist.MNIST, fashion_mnist.FASHION_MNIST], ids=lambda data: data.name)
def test_published_sets_are_what_their_tables_say(real_data, data):
    path = real_data(f"{data.folders[0]}/train-images-idx3-ubyte.gz")
    real = idx_sets.load(data, data_dir=path.parents[1], allow_download=False)
    assert real.notice == "" and real.name == data.name
    assert real.train_images.shape == (60000, 28, 28, 1) and real.test_images.shape == (10000, 28, 28, 1)
    mean, std = datasets.dataset.channel_statistics(real.train_images)
    assert mean == data.mean and std == data.std
    per_class = np.bincount(real.test_labels)
    assert per_class.tolist() == ([1000] * 10 if data.name != "MNIST" else MNIST_TEST_COUNTS)


MNIST_TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_two_processes_fetch_mnist_over_the_command_line(server, real_data, tmp_path):
    """The whole path with the real files: each is served once, both processes end with the published set."""
    for role in idx_sets.ROLES:
        path = real_data(f"mnist/{role}-ubyte.gz")
        server.answer(f"/mnist/{path.name}", path.read_bytes())
    environment = os.environ | {"HAVEL_MIRROR": server.url, "HAVEL_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "common.datasets", "mnist", "--fetch"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "checksums are those of the published set" in out
    assert sorted(server.requests) == sorted(f"/mnist/{role}-ubyte.gz" for role in idx_sets.ROLES)
