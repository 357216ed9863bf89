"""The photographs: chosen ones are decoded, cropped, and named; the file is never needed whole in memory as pixels."""

import io

import numpy as np
import pytest

from common import datasets
from common.datasets import DamagedDataError, DatasetNotFoundError, download, imagenet_samples

COUNT = 6


@pytest.fixture
def folder(tmp_path):
    """A data folder with six photographs; their file can be changed by the test."""
    write(tmp_path)
    return tmp_path


def write(root, **changes):
    from PIL import Image

    streams = []
    for index in range(COUNT):
        ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, 256))
        image = np.stack([ramp, ramp.T, np.full_like(ramp, 40 * index)], axis=-1)
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
        streams.append(buffer.getvalue())
    arrays = {
        "jpeg": np.frombuffer(b"".join(streams), np.uint8),
        "length": np.array([len(stream) for stream in streams], np.uint32),
        "wnid": np.array([f"n{index:08d}" for index in range(COUNT)]),
        "name": np.array([f"large_dog_{index}" for index in range(COUNT)]),
    } | changes
    (root / "imagenet_samples").mkdir(exist_ok=True)
    np.savez(root / "imagenet_samples/imagenet_samples_256.npz", **arrays)


def load(folder, **options):
    return datasets.load("imagenet_samples", data_dir=folder, **options)


def test_all(folder):
    data = load(folder)
    assert data.test_images.shape == (COUNT, 256, 256, 3) and data.train_images.shape == (0, 256, 256, 3)
    assert data.test_labels.tolist() == list(range(COUNT)) and data.test_labels.dtype == np.int32
    assert data.wnids[2] == "n00000002" and data.classes[2] == "large dog 2"
    assert np.abs(data.test_images[3, ..., 2].astype(int) - 120).max() <= 8
    assert "checksum of imagenet_samples_256.npz differs" in data.notice


def test_indices_and_centre_crop(folder):
    data = load(folder, indices=[4, 1], crop=224)
    assert data.test_labels.tolist() == [4, 1] and data.test_images.shape == (2, 224, 224, 3)
    np.testing.assert_array_equal(data.test_images[1], load(folder).test_images[1, 16:240, 16:240])


def test_batches_are_the_whole_in_pieces(folder):
    pieces = list(imagenet_samples.batches(4, crop=224, data_dir=folder))
    assert [len(labels) for _, labels in pieces] == [4, 2]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in pieces]), load(folder, crop=224).test_images)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"indices": [0, 6]}, "image index 6: choose 0 to 5"), ({"indices": [-1]}, "-1"), ({"crop": 257}, "crop=257")],
)
def test_options_are_checked(folder, options, message):
    with pytest.raises(ValueError, match=message):
        load(folder, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": np.full(COUNT, 100, np.uint32)}, "add up to 600"),
        ({"wnid": np.array(["n1"])}, "6 images with 1 WNIDs"),
        ({"jpeg": np.zeros(600, np.uint8), "length": np.full(COUNT, 100, np.uint32)}, "image 0 is not a whole JPEG"),
    ],
)
def test_a_file_that_does_not_fit(folder, changes, message):
    write(folder, **changes)
    with pytest.raises(DamagedDataError, match=message):
        load(folder)


def test_an_image_of_another_size(folder):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 32)).save(buffer, "JPEG")
    one = np.frombuffer(buffer.getvalue(), np.uint8)
    write(folder, jpeg=np.tile(one, COUNT), length=np.full(COUNT, len(one), np.uint32))
    with pytest.raises(DamagedDataError, match="image 0 is 64x32, not 256x256"):
        load(folder)


def test_only_the_jpeg_decoder_is_reached(folder):
    """Other decoders of Pillow have more to go wrong: a whole PNG of the right size is refused too."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (256, 256)).save(buffer, "PNG")
    one = np.frombuffer(buffer.getvalue(), np.uint8)
    write(folder, jpeg=np.tile(one, COUNT), length=np.full(COUNT, len(one), np.uint32))
    with pytest.raises(DamagedDataError, match="image 0 is not a whole JPEG"):
        load(folder)


def test_nowhere_says_that_no_address_has_it(monkeypatch):
    monkeypatch.setenv("HAVEL_MIRROR", "")
    with pytest.raises(DatasetNotFoundError, match="no public address.*imagenet_samples_256.npz.*HAVEL_MIRROR"):
        datasets.load("imagenet_samples")


def test_a_mirror_may_serve_it(server, folder, tmp_path, monkeypatch):
    path = folder / "imagenet_samples/imagenet_samples_256.npz"
    server.answer("/imagenet_samples/imagenet_samples_256.npz", path.read_bytes())
    options = {"mirror": server.url, "progress": lambda *_: None, "policy": download.Policy(rounds=1)}
    with pytest.raises(DatasetNotFoundError, match="wrong checksum"):
        datasets.load("imagenet_samples", **options)
    digest = datasets.content.sha256(path, 10_000_000)
    monkeypatch.setattr(imagenet_samples, "PUBLISHED", digest)
    assert "cache" in datasets.load("imagenet_samples", indices=[0], **options).source


def test_real_photographs(real_data):
    path = real_data("imagenet_samples/imagenet_samples_256.npz")
    data = load(path.parents[1], indices=[0, 1, 999], crop=224)
    assert data.notice == "" and len(data.classes) == 1000
    assert data.wnids[0] == "n01440764" and data.classes[:2] == ("tench", "goldfish")
    red, _, blue = data.test_images[1].reshape(-1, 3).mean(axis=0)
    assert red > 1.5 * blue  # the goldfish: channels are red, green, blue


def photograph(path, size=(40, 30), colour=(10, 200, 60)):
    from PIL import Image

    Image.new("RGB", size, colour).save(path, "JPEG", quality=95)


def test_a_folder_of_photographs_stands_in_for_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet_samples, "CLASSES", 3)
    (tmp_path / "imagenet_samples").mkdir()
    for name, colour in (
        ("n00000002_cat.JPEG", (0, 0, 200)),
        ("n00000001_red_fox.jpg", (200, 0, 0)),
        ("n00000003.jpeg", (0, 200, 0)),
    ):
        photograph(tmp_path / "imagenet_samples" / name, colour=colour)
    (tmp_path / "imagenet_samples" / "README.md").write_text("no photograph")
    data = load(tmp_path, crop=224, allow_download=False)
    assert data.test_images.shape == (3, 224, 224, 3) and data.test_labels.tolist() == [0, 1, 2]
    assert data.wnids == ("n00000001", "n00000002", "n00000003") and data.classes[0] == "red fox"
    assert np.abs(data.test_images.mean((1, 2)) - 200 * np.eye(3)[[0, 2, 1]]).max() < 4
    assert "photographs of the folder" in data.notice
    photograph(tmp_path / "imagenet_samples" / "n00000003_again.jpg")
    with pytest.raises(DamagedDataError, match="4 photographs of 3 classes"):
        load(tmp_path, allow_download=False)


def test_an_error_says_where_photographs_are(tmp_path, monkeypatch):
    monkeypatch.delenv("HAVEL_MIRROR", raising=False)
    with pytest.raises(DatasetNotFoundError, match="imagenet-sample-images"):
        load(tmp_path, allow_download=False, cache_dir=tmp_path / "cache")
