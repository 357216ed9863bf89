"""CIFAR-10 in every form it travels in, made small here; the real JPEG form where the data folder has it."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from common import datasets
from common.datasets import DamagedDataError, DatasetNotFoundError, cifar10_binary, cifar10_jpeg, download

QUICK = download.Policy(timeout=2.0, rounds=2, backoff=0.02)


def records(count: int, seed: int = 0) -> tuple[bytes, np.ndarray, np.ndarray]:
    """The bytes of a batch file, its images [n, 32, 32, 3] and labels, laid out independently of the reader."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, count)
    parts = []
    for image, label in zip(images, labels, strict=True):
        parts.append(bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3)))
    return b"".join(parts), images, labels


def tar(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def six_files() -> dict[str, bytes]:
    return {name: records(7, seed)[0] for seed, name in enumerate(cifar10_binary.PUBLISHED)}


def in_archive(files: dict[str, bytes]) -> dict[str, bytes]:
    """As the official archive has them: in a folder, beside files that are no batches."""
    inside = {f"cifar-10-batches-bin/{name}": data for name, data in reversed(files.items())}
    return {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"} | inside


def load(folder, **options):
    return datasets.load("cifar10", data_dir=folder, allow_download=False, **options)


FOLDERS = ["cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "CIFAR-10", "cifar10_binary", "."]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(("ending", "wrap"), [("", bytes), (".gz", gzip.compress)])
def test_files_in_a_folder(tmp_path, folder, ending, wrap):
    files = six_files()
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (tmp_path / folder / (name + ending)).write_bytes(wrap(data))
    data = load(tmp_path)
    expected = [records(7, seed) for seed in range(6)]
    np.testing.assert_array_equal(data.train_images, np.concatenate([images for _, images, _ in expected[:5]]))
    np.testing.assert_array_equal(data.train_labels, np.concatenate([labels for _, _, labels in expected[:5]]))
    np.testing.assert_array_equal(data.test_images, expected[5][1])
    assert data.train_labels.dtype == np.int32 and data.train_images.flags.c_contiguous
    assert "35 of 50000 training and 7 of 10000 test images (6 of 6 files" in data.notice


@pytest.mark.parametrize(
    "place", ["cifar10/cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz", "cifar10/cifar10_bin.tar"]
)
def test_archive(tmp_path, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(tar(in_archive(six_files()), "w" if place.endswith("tar") else "w:gz"))
    data = load(tmp_path)
    np.testing.assert_array_equal(data.train_images[:7], records(7, 0)[1])
    np.testing.assert_array_equal(data.test_labels, records(7, 5)[2])
    assert data.name == "CIFAR-10 (part)" and place in data.source
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [place.split("/")[-1]]


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (["data_batch_2.bin"], 7, 0),
        (["data_batch_1_first4000.bin.gz"], 7, 0),
        (["data_batch_4.bin.gz", "test_batch.bin"], 7, 7),
        (["test_batch.bin.gz"], 0, 7),
        (["train.bin", "test.bin"], 7, 7),
        (["cifar10_test.bin"], 0, 7),
    ],
)
def test_a_part_loads_and_says_how_much(tmp_path, names, train, test):
    (tmp_path / "cifar10").mkdir()
    for name in names:
        data = records(7)[0]
        (tmp_path / "cifar10" / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    data = load(tmp_path, form="binary")
    assert (len(data.train_images), len(data.test_images)) == (train, test)
    assert data.name == "CIFAR-10 (part)" and f"{train} of 50000 training and {test} of 10000 test" in data.notice
    images = data.train_images if train else data.test_images
    assert data.mean[0] == pytest.approx(images[..., 0].mean() / 255, abs=1e-4)


def test_order_of_batches_is_by_number(tmp_path):
    names = ["data_batch_10.bin", "data_batch_2.bin", "data_batch_1.bin.gz", "data_batch_1.bin"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    actual = [path.name for path in cifar10_binary.files_in(tmp_path)]
    assert actual == ["data_batch_1.bin", "data_batch_2.bin", "data_batch_10.bin"]


BATCH = records(7)[0]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("data_batch_1.bin", BATCH[:-1], "7.00 records of 3073 bytes: cut short|21,510 bytes"),
        ("data_batch_1.bin", b"", "0 bytes"),
        ("data_batch_1.bin", BATCH[:3073] + b"\x0a" + BATCH[3074:], "record 1 has label 10, above 9"),
        ("data_batch_1.bin.gz", gzip.compress(BATCH)[:-20], "damaged or cut short"),
        ("cifar-10-binary.tar.gz", tar({"data_batch_1.bin": BATCH})[:-2000], "damaged or cut short"),
        ("cifar-10-binary.tar.gz", tar({"data_batch_1.bin": BATCH}, "w")[:9000], "damaged or cut short"),
        ("cifar-10-binary.tar.gz", tar({"data_batch_1": BATCH}), "is it the binary version"),
        ("cifar-10-binary.tar.gz", b"<html>", "damaged or cut short"),
    ],
)
def test_damage_names_the_file(tmp_path, name, data, message):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / name).write_bytes(data)
    with pytest.raises(DamagedDataError, match=message) as caught:
        load(tmp_path)
    assert name in str(caught.value)


def test_an_archive_with_a_huge_member_is_refused(tmp_path):
    """Only the header is huge: nothing of that size is read or kept."""
    member = tarfile.TarInfo("data_batch_1.bin")
    member.size = 1 << 40
    path = tmp_path / "cifar-10-binary.tar"
    path.write_bytes(member.tobuf() + bytes(10240))
    with pytest.raises(DamagedDataError, match="more than"):
        cifar10_binary.read_archive(path)


def test_members_outside_the_folder_write_nothing(tmp_path):
    path = tmp_path / "data" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    path.write_bytes(tar({"../../data_batch_1.bin": BATCH, "/tmp/test_batch.bin": BATCH}))
    assert len(load(path.parent).test_labels) == 7
    assert [item.name for item in tmp_path.rglob("*") if item.is_file()] == [path.name]


def test_the_pickled_form_is_never_read(tmp_path):
    folder = tmp_path / "cifar10/cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(DatasetNotFoundError, match="cifar-10-batches-py is the pickled .* binary version") as caught:
        load(tmp_path)
    assert "cifar-10-binary.tar.gz" in str(caught.value)


@pytest.mark.parametrize(("form", "wanted"), [("jpeg", "cifar10_jpeg.npz"), ("binary", "cifar-10-binary.tar.gz")])
def test_nowhere_says_what_to_do(form, wanted):
    with pytest.raises(DatasetNotFoundError, match=f"form={form}.*not set.*refused.*{wanted}.*DATA_DIR"):
        datasets.load("cifar10", form=form, policy=QUICK)


@pytest.mark.parametrize(("option", "value"), [("form", "pickle"), ("train_count", -1)])
def test_options_are_checked(option, value):
    with pytest.raises(ValueError, match=f"{option}={value!r}"):
        datasets.load("cifar10", **{option: value})


def test_archive_is_fetched_checked_and_mended(server, tmp_path, monkeypatch, capsys):
    files = six_files()
    published = {name: cifar10_binary.hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(cifar10_binary, "PUBLISHED", published)
    address = "/cifar10/cifar-10-binary.tar.gz"
    options = {"mirror": server.url, "policy": QUICK, "progress": lambda *_: None}
    for wrong in ({"data_batch_1.bin": BATCH}, files | {"test_batch.bin": BATCH}):
        server.answer(address, tar(in_archive(wrong)))
        with pytest.raises(DatasetNotFoundError, match="wrong checksum.*test_batch.bin"):
            datasets.load("cifar10", **options)
    server.answer(address, tar(in_archive(files)))
    data = datasets.load("cifar10", **options)
    assert "cache" in data.source and len(data.test_labels) == 7
    queries = len(server.requests)
    datasets.load("cifar10", **options)
    assert len(server.requests) == queries
    copy = tmp_path / "cache/datasets" / address[1:]
    copy.write_bytes(copy.read_bytes()[:1000])
    assert len(datasets.load("cifar10", **options).test_labels) == 7
    assert len(server.requests) == queries + 1 and "fetching it again" in capsys.readouterr().err


def jpeg_npz(path, train=20, test=10, **changes):
    """A small .npz of the JPEG form; returns the images that Pillow decodes from the same streams."""
    from PIL import Image

    random = np.random.default_rng(0)
    arrays, decoded = {"jpeg_header": np.frombuffer(b"\xff\xd8", np.uint8)}, {}
    for half, count in (("train", train), ("test", test)):
        streams, images = [], []
        for _ in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((32, 32))
            buffer = io.BytesIO()
            coarse.save(buffer, "JPEG", quality=75)
            streams.append(buffer.getvalue()[2:])
            images.append(np.asarray(Image.open(buffer)))
        arrays[f"{half}_scan"] = np.frombuffer(b"".join(streams), np.uint8)
        arrays[f"{half}_length"] = np.array([len(stream) for stream in streams], np.uint16)
        arrays[f"{half}_label"] = (np.arange(count) % 10).astype(np.uint8)
        decoded[half] = np.stack(images)
    arrays |= changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return decoded


def test_jpeg_form_is_decoded_once_and_kept(tmp_path, monkeypatch):
    decoded = jpeg_npz(tmp_path / "cifar10/cifar10_jpeg.npz")
    part = load(tmp_path, train_count=10, test_count=0)
    np.testing.assert_array_equal(part.train_images, decoded["train"][:10])
    assert part.test_images.shape == (0, 32, 32, 3)
    stored = tmp_path / "cache/datasets/cifar10"
    assert not list(stored.glob("*train.npy"))  # a part is not kept
    whole = load(tmp_path)
    assert whole.name == "CIFAR-10 (JPEG)" and "differs from the published" in whole.notice
    np.testing.assert_array_equal(whole.train_images, decoded["train"])
    np.testing.assert_array_equal(whole.test_images, decoded["test"])
    assert sorted(path.suffix for path in stored.iterdir()) == [".lock", ".lock", ".npy", ".npy"]
    monkeypatch.setattr(cifar10_jpeg.packed_jpeg, "decode", None)  # now only the stored arrays can answer
    np.testing.assert_array_equal(load(tmp_path, train_count=5).train_images, decoded["train"][:5])
    assert [path.name for path in tmp_path.rglob("*.npz")] == ["cifar10_jpeg.npz"]


def test_a_stored_array_that_is_not_whole_is_made_again(tmp_path):
    decoded = jpeg_npz(tmp_path / "cifar10/cifar10_jpeg.npz")
    load(tmp_path)
    for stored in (tmp_path / "cache").rglob("*.npy"):
        stored.write_bytes(stored.read_bytes()[:-100])
    np.testing.assert_array_equal(load(tmp_path).train_images, decoded["train"])


def test_without_a_cache_to_write_to_the_jpeg_form_still_loads(tmp_path, monkeypatch, capsys):
    decoded = jpeg_npz(tmp_path / "cifar10/cifar10_jpeg.npz")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAVEL_CACHE", str(tmp_path / "file"))
    np.testing.assert_array_equal(load(tmp_path).test_images, decoded["test"])
    assert "HAVEL_CACHE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_label": None}, "has no array train_label"),
        ({"train_label": np.zeros(3, np.uint8)}, "20 train images of uint8 with 3 labels"),
        ({"test_label": np.full(10, 11, np.uint8)}, "a test label is 11"),
        ({"test_length": np.full(10, 5, np.uint16)}, "add up to 50"),
        ({"jpeg_header": np.zeros(2, np.uint8)}, "image 0 is not a whole JPEG"),
        ({"train_label": np.array([print] * 20)}, "Object arrays cannot be loaded"),
    ],
)
def test_jpeg_form_that_does_not_fit(tmp_path, changes, message):
    jpeg_npz(tmp_path / "cifar10/cifar10_jpeg.npz", **changes)
    with pytest.raises(DamagedDataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_jpeg_form_cut_short(tmp_path, keep):
    path = tmp_path / "cifar10/cifar10_jpeg.npz"
    jpeg_npz(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedDataError, match="cifar10_jpeg.npz: damaged or not an .npz"):
        load(tmp_path)


def test_a_part_of_the_binary_form_gives_way_to_the_jpeg_form_unless_asked_for(tmp_path):
    jpeg_npz(tmp_path / "cifar10/cifar10_jpeg.npz")
    (tmp_path / "cifar10/data_batch_1.bin").write_bytes(BATCH)
    automatic = load(tmp_path)
    assert automatic.name == "CIFAR-10 (JPEG)" and "form='binary' picks" in automatic.description
    assert load(tmp_path, form="binary").name == "CIFAR-10 (part)"
    assert load(tmp_path, form="jpeg").name == "CIFAR-10 (JPEG)"


def test_the_whole_binary_form_comes_first(tmp_path, monkeypatch):
    jpeg_npz(tmp_path / "cifar10/cifar10_jpeg.npz")
    for name in cifar10_binary.PUBLISHED:
        with open(tmp_path / "cifar10" / name, "wb") as file:
            file.truncate(3073 * 10_000)  # zeros, without writing them
    data = load(tmp_path, train_count=30, test_count=20)
    assert data.name == "CIFAR-10" and (len(data.train_labels), len(data.test_labels)) == (30, 20)
    assert "checksum differs from the published set in data_batch_1.bin" in data.notice


def test_real_jpeg_form(real_data):
    path = real_data("cifar10/cifar10_jpeg.npz")
    data = load(path.parents[1], form="jpeg", train_count=500, test_count=100)
    assert data.name == "CIFAR-10 (JPEG)" and data.notice == ""
    assert np.bincount(data.train_labels).tolist() == [50] * 10  # every prefix is balanced
    mean, std = datasets.dataset.channel_statistics(data.train_images)
    np.testing.assert_allclose(mean, data.mean, atol=0.03)
    np.testing.assert_allclose(std, data.std, atol=0.03)
