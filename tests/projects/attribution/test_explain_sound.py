"""Relevance over spectrograms with the sound to play, on tones in place of spoken digits."""

import base64
import io
import re
import wave

import matplotlib.pyplot as plt
import numpy as np
import pytest

from common import config, datasets
from common.datasets import fsdd, log_mel
from common.publishing import html_parts, report
from common.runs import run_directory
from projects.attribution import explain_sound, sound
from tests.common.datasets.test_fsdd import FILES


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    place = folder / "fsdd" / "recordings"
    place.mkdir(parents=True)
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(folder))
        yield folder


def test_recordings_are_those_of_the_test_images(data_folder):
    recordings, data = fsdd.load_test_recordings(), datasets.load("fsdd")
    np.testing.assert_array_equal(recordings.digits, data.test_labels)
    assert recordings.speakers == [data.owners[owner] for owner in data.test_owners]
    np.testing.assert_array_equal(log_mel.images(recordings.clips), data.test_images)


@pytest.fixture(scope="module")
def finished(data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    settings = explain_sound.ExplainSoundConfig(width=0.05, epochs=2, batch_size=5, count=9, shown=2)
    result = explain_sound.main(settings, run_directory.open_for_test(folder))
    (folder / "flags.txt").write_text(config.flags_text(settings))
    return folder, settings, result


def test_the_verb_trains_explains_and_shows(finished):
    folder, _, result = finished
    relevance = np.load(folder / "relevance.npy", allow_pickle=False)
    assert relevance.shape == (9, 32, 32) and np.abs(relevance).max() > 0
    assert result["recordings"] == 9 and result["training"]["model"] == "lstm"
    assert ("status" in result) == (result["accuracy"] < 0.9)
    (folder / "meta.json").write_text('{"verb": "attribution.explain_sound", "status": "finished"}')
    page = report.write([folder]).read_text()
    assert "What is heard" in page and "is not shown" not in page
    assert page.count("<audio controls") == 2 and "0, spoken by ann; heard as" in page


def test_an_earlier_network_is_opened_and_nothing_is_lost_with_the_bias_factor(finished, tmp_path):
    folder, *_ = finished
    settings = explain_sound.ExplainSoundConfig(
        checkpoint=str(folder), count=6, shown=1, bias_factor=1.0, target="label",
        compared=("input_times_gradient", "epsilon_plus", "random"),
    )  # fmt: skip
    result = explain_sound.main(settings, run_directory.open_for_test(tmp_path))
    assert {"input_times_gradient", "random"} <= set(result["in_noise"]["methods"])
    assert (tmp_path / "plots" / "frames.png").is_file() and (tmp_path / "tables" / "speech.json").is_file()
    # States before the first frame are zero and keep what the bias factor gives them.
    assert "training" not in result and np.isfinite(result["median_sum_over_output"])
    whole = np.load(tmp_path / "relevance.npy", allow_pickle=False)
    first = np.load(folder / "relevance.npy", allow_pickle=False)
    assert whole.shape == (6, 32, 32) and np.abs(whole - first[:6]).max() > 0


def test_a_wav_file_is_heard_as_it_was():
    samples = np.array([0, 100, -200, 50], np.int16)
    with wave.open(io.BytesIO(sound.wav(samples))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        heard = np.frombuffer(file.readframes(4), "<i2")
    np.testing.assert_allclose(heard, samples * 0.95 * 32767 / 200, atol=0.5)
    assert len(sound.wav(np.zeros(3))) == 44 + 6
    with pytest.raises(ValueError, match="one axis of finite numbers"):
        sound.wav(np.array([np.nan]))


def test_an_element_can_be_shown_and_its_caption_is_escaped():
    drawing = sound.figure(np.zeros(8000), np.zeros((32, 32)), np.zeros((32, 32)))
    markup = sound.element("<b>7</b>", np.zeros(100), drawing)
    assert not plt.fignum_exists(drawing.number) and "<b>" not in markup and "&lt;b&gt;7" in markup
    assert html_parts.rebuilt(markup).count("src=") == 2
    picture, content = (base64.b64decode(data) for data in re.findall(r"base64,([^\"]*)", markup))
    assert picture.startswith(b"\x89PNG") and content.startswith(b"RIFF")


def test_the_largest_relevance_is_drawn_where_it_is():
    """The one cell of relevance is red, the others are as grey as the spectrogram."""
    relevance = np.zeros((32, 32))
    relevance[10, 20] = 1.0
    drawing = sound.figure(np.zeros(8000), np.zeros((32, 32)), relevance)
    layer = drawing.axes[1].images[1].get_array()
    np.testing.assert_allclose(layer[20, 10], [1, 0, 0, 1])
    assert layer[..., 3].sum() == 1.0
    plt.close(drawing)


def test_a_network_that_is_often_wrong_is_said_to_be():
    assert explain_sound.doubts({"of the recordings": (0.9, 100)}) == {}
    for accuracy, level in ((0.25, "doubtful"), (0.15, "not usable")):  # 95 %: from 0.17, and from 0.087
        status = explain_sound.doubts({"of all": (0.95, 100), "in noise": (accuracy, 100)})["status"]
        assert status["level"] == level and status["reasons"][0].startswith(f"{100 * accuracy:.1f} % in noise")


def test_digits_take_turns():
    assert explain_sound.of_different_digits(np.array([0, 0, 1, 0, 2, 1])) == [0, 2, 4, 1, 5, 3]


@pytest.mark.parametrize(("changes", "words"), [({"cmap": "rainbow"}, "coldnhot"), ({"target": "cat"}, "--target=cat")])
def test_a_wrong_flag_is_told(changes, words):
    with pytest.raises(config.FlagError, match=words):
        explain_sound.ExplainSoundConfig(**changes)
