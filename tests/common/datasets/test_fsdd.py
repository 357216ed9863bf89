"""Spoken digits: found as .wav files, packed, or fetched; log-mel images against a plain float64 loop."""

import io
import tarfile
import wave

import numpy as np
import pytest

from common import datasets
from common.datasets import DamagedDataError, DatasetNotFoundError, fsdd, log_mel

TAKES, SPEAKERS, DIGITS = (0, 4, 5, 12), ("ann", "bob"), range(3)


def clip(digit, speaker, take):
    """Half a second or more of a tone and noise, int16."""
    random = np.random.default_rng([digit, SPEAKERS.index(speaker), take])
    times = np.arange(3000 + 1500 * take) / log_mel.RATE
    tone = np.sin(2 * np.pi * (300 + 500 * digit) * times)
    return np.rint(8000 * tone + 200 * random.normal(size=times.size)).astype(np.int16)


def wav(samples, channels=1, width=2, rate=8000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


NAMES = [(digit, speaker, take) for digit in DIGITS for speaker in SPEAKERS for take in TAKES]
FILES = {f"{digit}_{speaker}_{take}.wav": wav(clip(digit, speaker, take)) for digit, speaker, take in NAMES}


@pytest.fixture
def folder(tmp_path):
    """A data folder as a clone of the repository is."""
    place = tmp_path / "data" / "free-spoken-digit-dataset" / "recordings"
    place.mkdir(parents=True)
    for name, data in FILES.items():
        (place / name).write_bytes(data)
    (place / "notes.txt").write_text("no recording")
    return tmp_path / "data"


def packed(path, **changes):
    clips = [clip(*name) for name in NAMES]
    arrays = {
        "samples": np.concatenate(clips), "length": np.array([len(samples) for samples in clips]),
        "digit": np.array([name[0] for name in NAMES]), "take": np.array([name[2] for name in NAMES]),
        "speaker": np.array([SPEAKERS.index(name[1]) for name in NAMES]), "speaker_names": np.array(SPEAKERS),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays | changes)


def archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, data in {"README.md": b"digits", "other/0_ann_7.wav": b"no recording"}.items():
            add(file, f"free-spoken-digit-dataset-26eb9aa/{name}", data)
        for name, data in files.items():
            add(file, f"free-spoken-digit-dataset-26eb9aa/recordings/{name}", data)
    return buffer.getvalue()


def add(file, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.addfile(member, io.BytesIO(data))


def load(place, **options):
    return datasets.load("fsdd", data_dir=place, **options)


def test_a_folder_of_recordings(folder):
    data = load(folder)
    assert data.train_images.shape == data.test_images.shape == (12, 32, 32, 1)
    assert data.test_labels.tolist() == [0, 1, 2] * 4 and data.owners == SPEAKERS
    assert data.train_owners.tolist() == data.test_owners.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert "CC BY-SA 4.0" in data.licence and "differ from the published" in data.notice
    assert data.train_images.max(axis=(1, 2, 3)).tolist() == [255] * 12
    # The tone of digit 2 is in higher bands than that of digit 0.
    loudest = data.train_images[..., 0].astype(int).sum(axis=1).argmax(axis=1)
    assert (np.diff(loudest.reshape(-1, 3)) > 0).all()


def test_packed_and_fetched_are_the_same_set(folder, tmp_path, server, monkeypatch):
    expected = load(folder)
    packed(tmp_path / "packed/fsdd/fsdd.npz")
    server.answer(f"/fsdd/{fsdd.RESOURCE.filename}", archive(FILES))
    monkeypatch.setattr(fsdd, "PUBLISHED", fsdd.digest(fsdd.read(folder / fsdd.FOLDERS[1] / "recordings")))
    fetched = datasets.load("fsdd", mirror=server.url)
    again = datasets.load("fsdd", allow_download=False)
    for data in (load(tmp_path / "packed"), fetched, again):
        assert data.notice == "" and np.array_equal(data.train_images, expected.train_images)
        assert np.array_equal(data.test_labels, expected.test_labels) and data.owners == expected.owners
    assert len(server.requests) == 1


def test_other_recordings_are_not_taken_for_the_published_ones(server):
    server.answer(f"/fsdd/{fsdd.RESOURCE.filename}", archive(FILES))
    with pytest.raises(DatasetNotFoundError, match="wrong checksum"):
        datasets.load("fsdd", mirror=server.url)


def test_nowhere_says_what_to_do(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"spoken digits.*7_jackson_0\.wav.*DATA_DIR"):
        load(tmp_path, allow_download=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wav(np.zeros(40, np.int16), channels=2), "2 channels of 16 bits at 8000 Hz"),
        (wav(np.zeros(40, np.int16), width=1), "1 channels of 8 bits"),
        (wav(np.zeros(40, np.int16), rate=16000), "at 16000 Hz"),
        (wav(np.zeros(0, np.int16)), "0 bytes of samples"),
        (FILES["1_ann_5.wav"][:-7], "bytes of samples, its header says"),
        (FILES["1_ann_5.wav"][:20], "not a whole .wav file"),
        (b"RIFF", "not a whole .wav file"),
        (b"\0" * (fsdd.LARGEST_RECORDING + 1), "expected at most"),
    ],
)
def test_damaged_recordings_are_refused(folder, data, message):
    (folder / fsdd.FOLDERS[1] / "recordings" / "1_ann_5.wav").write_bytes(data)
    with pytest.raises(DamagedDataError, match=f"1_ann_5.wav: .*{message}"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": np.ones(len(NAMES), int)}, "lengths add up to 24"),
        ({"length": np.array([-1, 1])}, "lengths"),
        ({"digit": np.full(len(NAMES), 10)}, "digit has 24 values"),
        ({"speaker": np.zeros(2, int)}, "speaker has 2 values"),
        ({"take": np.full(len(NAMES), 3)}, "24 of 24 recordings are takes 0 to 4"),
        ({"take": np.full(len(NAMES), 6)}, "0 of 24 recordings are takes 0 to 4"),
    ],
)
def test_packed_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    packed(tmp_path / "fsdd/fsdd.npz", **changes)
    with pytest.raises(DamagedDataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("data", [archive(FILES)[:2000], b"no archive", archive({"0_ann_5.wav": b"RIFF"})])
def test_damaged_archives_are_refused(tmp_path, data):
    path = tmp_path / fsdd.RESOURCE.filename
    path.write_bytes(data)
    with pytest.raises(DamagedDataError, match=str(path)):
        fsdd.read(path)


def plain_log_mel(samples):
    """Decibels [32, 32] of 8,000 samples: sums over samples and frequencies, a frame and a band at a time."""
    mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)  # noqa: E731
    centres = np.linspace(mel(50), mel(4000), 34)
    frequencies = np.arange(257) * 8000 / 512
    wave = np.exp(-2j * np.pi * np.outer(np.arange(500), np.arange(257)) / 512)
    padded, power = np.concatenate([np.zeros(125), samples, np.zeros(125)]), np.zeros((32, 32))
    for frame in range(32):
        window = np.sin(np.pi * np.arange(500) / 500) ** 2
        energy = np.abs((padded[250 * frame : 250 * frame + 500] * window) @ wave) ** 2
        for band in range(32):
            low, middle, high = (700 * (10 ** (edge / 2595) - 1) for edge in centres[band : band + 3])
            power[frame, band] = energy @ np.interp(frequencies, [low, middle, high], [0, 1, 0])
    return np.maximum(10 * np.log10(power / power.max()), -63.75)


def test_log_mel_is_that_of_the_formulas():
    samples = np.random.default_rng(0).normal(size=(2, 8000)) * np.linspace(0, 1, 8000) ** 4
    values = log_mel.log_mel(samples)
    np.testing.assert_allclose(values, [plain_log_mel(row) for row in samples], atol=1e-6)
    assert values.max() == 0 and values.min() == -63.75
    images = log_mel.images(list(samples))
    np.testing.assert_allclose(images[..., 0] / 4 - 63.75, values, atol=0.1251)


def test_silence_and_loudness():
    noise = np.random.default_rng(0).normal(size=8000)
    assert not log_mel.images([np.zeros(100, np.int16)]).any()
    np.testing.assert_array_equal(log_mel.images([1000 * noise]), log_mel.images([noise]))


def test_clips_are_centred():
    assert log_mel.centred(np.arange(1, 4), 6).tolist() == [0, 1, 2, 3, 0, 0]
    assert log_mel.centred(np.arange(7), 4).tolist() == [1, 2, 3, 4]
    assert log_mel.centred(np.arange(4), 4).tolist() == [0, 1, 2, 3]


def test_every_band_has_frequencies():
    assert (log_mel.mel_filters() > 0).sum(axis=0).min() >= 2


def test_the_published_recordings(real_data):
    data = load(real_data("fsdd/fsdd.npz").parents[1])
    assert data.notice == "" and len(data.owners) == 6 and len(data.train_labels) == 2700
    assert np.bincount(data.test_labels).tolist() == [30] * 10
    assert np.bincount(data.train_owners).tolist() == [450] * 6
    assert np.bincount(data.train_labels[:60], minlength=10).tolist() == [6] * 10
