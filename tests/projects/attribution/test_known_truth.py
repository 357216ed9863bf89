"""Relevance on what is known to matter: recordings in noise, tables of several networks; the parts at a tiny size."""

import dataclasses

import numpy as np
import pytest

from common.datasets import log_mel, records
from common.runs import run_directory
from projects.attribution import known_truth, methods, page, pictures, speech, study
from tests.projects.attribution.test_explain_sound import data_folder  # noqa: F401  # a fixture


def test_noise_lies_where_nothing_sounds(tmp_path):
    """Eight frames of a recording, one of them silent; a recording of all frames leaves no room."""
    images = np.zeros((3, log_mel.FRAMES, log_mel.BANDS, 1), np.uint8)
    images[:, [10, 11, 12, 14, 15, 16, 17], 5] = 200
    images[1, :, 5] = 200
    samples = speech.noisy(images, np.array([3, 4, 5]), 5, -20.0, seed=0)
    assert samples.labels.tolist() == [3, 5]
    expected = (np.arange(log_mel.FRAMES) >= 10) & (np.arange(log_mel.FRAMES) <= 17)
    np.testing.assert_array_equal(samples.sounding, [expected] * 2)
    np.testing.assert_array_equal(samples.images[:, 10:18], images[[0, 2], 10:18])
    outside = samples.images[:, ~expected]
    assert outside.max() <= 255 - 80 and outside.mean() > 50  # a step is a quarter of a decibel
    assert np.abs(outside[0].astype(int) - outside[1]).max() > 0
    again = speech.noisy(images, np.array([3, 4, 5]), 1, -20.0, seed=0)
    np.testing.assert_array_equal(again.images[0], samples.images[0])
    assert not speech.noisy(images, np.zeros(3), 1, -64.0, seed=0).images[0, :10].any()
    with pytest.raises(ValueError, match="no recording is shorter"):
        speech.noisy(images[1:2], np.zeros(1), 5, -20.0, 0)
    speech.write_training(tmp_path / "noisy", images, np.array([3, 4, 5]), -20.0, 0)
    both = records.Records(tmp_path / "noisy")
    assert len(both) == 6 and [int(both[n]["labels"]) for n in range(6)] == [3, 4, 5, 3, 4, 5]
    np.testing.assert_array_equal(both[1]["images"], both[4]["images"])  # without room as it is
    assert both[3]["images"][:10].any() and not both[0]["images"][:10].any()


@dataclasses.dataclass
class Linear:
    """A network that looks at the frames of the recording alone, with classes by their sums."""

    params: np.ndarray
    low: float = 0.0
    high: float = 1.0

    def fn(self, params, x):
        return x.reshape(len(x), -1) @ params

    def preprocess(self, images):
        return images / 255.0


def test_shares_of_a_network_that_hears_the_recording_alone():
    random = np.random.default_rng(0)
    sounding = np.zeros((60, log_mel.FRAMES), bool)
    sounding[:, 10:18] = True
    images = random.integers(1, 255, (60, log_mel.FRAMES, log_mel.BANDS, 1)).astype(np.uint8)
    weights = random.normal(size=(log_mel.FRAMES, log_mel.BANDS, 3))
    weights[~sounding[0]] = 0
    network = Linear(weights.reshape(-1, 3).astype(np.float32))
    labels = np.argmax(network.fn(network.params, network.preprocess(images)), -1)
    measured = speech.measure(network, speech.Noisy(images, labels, sounding), ("input_times_gradient", "random"), 0)
    assert measured["accuracy"]["share"] == 1 and measured["chance"] == 0.25 and measured["refused"] == {}
    own, chance = (measured["methods"][name] for name in ("input_times_gradient", "random"))
    assert own["mean"] == pytest.approx(1, abs=1e-6) and chance["low"] < 0.25 < chance["high"]
    np.testing.assert_allclose(sum(measured["curves"]["random"]), 1, rtol=1e-6)


def _share(mean, low, high):
    return {"mean": mean, "low": low, "high": high, "without": 0}


TEXT = [
    {
        "accuracy": {"attractors_1": {"share": share, "low": 0.5, "high": 1.0}},
        "subject_share": {"cp_lrp": _share(mean, mean - 0.1, mean + 0.1), "random": _share(0.5, 0.45, 0.55),
                          "gradient_times_input": _share(0.5 + mean / 10, 0.4, 0.7)},
        **({} if share > 0.9 else {"status": {"level": "doubtful", "reasons": ["often wrong"]}}),
    }
    for share, mean in ((0.95, 0.8), (0.85, 0.9))
]  # fmt: skip


def test_tables_of_several_networks_by_hand():
    result = known_truth.of_text(TEXT)
    columns, rows = known_truth.table(result)
    assert [row[0] for row in rows] == ["cp_lrp", "gradient_times_input", "random"] and len(columns) == len(rows[0])
    # Two networks: the interval is 12.706 times their deviation over the root of 2, which is 0.05.
    assert rows[0][1:] == ["0.850 [0.215, 1.485]", "0.800 [0.700, 0.900]; 0.900 [0.800, 1.000]", "more"]
    assert rows[1][3] == "not told apart in every network" and rows[2][3] == ""
    assert result["status"] == {"level": "doubtful", "reasons": ["often wrong"]}
    text, _, picture, told = known_truth.sections({"text": result | {"pictures": ["text.png"]}})
    assert "2 networks" in text and "95.0 %, 85.0 % of the verbs behind one attractor right" in text
    assert picture.endswith("(results/text.png)") and told == "**doubtful**: often wrong"
    assert {"text", "sound"} <= set(page.page.tables)
    heard = {
        "chance": 0.4, "accuracy": {"share": 1.0, "low": 0.9, "high": 1.0}, "refused": {"attnlrp": "no attention"},
        "methods": {"lstm": _share(0.7, 0.6, 0.8), "random": _share(0.4, 0.3, 0.5)},
    }  # fmt: skip
    sound = known_truth.of_sound([{"in_noise": heard}, {"in_noise": heard | {"refused": {"lstm": "no loop"}}}])
    assert set(sound["methods"]) == {"random"} and set(sound["refused"]) == {"attnlrp", "lstm"}
    assert "Left out, no loop" in known_truth.sections({"sound": sound})


def test_a_window_as_large_as_the_images_is_left_out_by_name():
    network = Linear(np.zeros((64, 3)))
    network.input_shape = (8, 8, 1)
    with pytest.raises(methods.RefusedError, match="--window=8 covers all of 8 x 8 pixels"):
        methods.explainer("occlusion", network, window=8)
    methods.explainer("occlusion", network, window=7)


def test_a_method_has_one_colour_in_all_pictures():
    names = ["gradient", "epsilon_plus", "smoothgrad"]
    assert pictures.colors_of(names) == pictures.colors_of(reversed(names))
    assert len(set(pictures.colors_of(names).values())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("part", known_truth.PARTS)
def test_small_parts(part, tmp_path, request):
    if part == "sound":
        request.getfixturevalue("data_folder")
    results = study.main(study.StudyConfig(parts=(part,)), run_directory.open_for_test(tmp_path))
    columns, rows = known_truth.table(results[part])
    assert "random" in {row[0] for row in rows}
    assert (tmp_path / "tables" / f"{part}.json").is_file()
    (plots,) = (tmp_path / "runs").glob("*/small/plots")
    assert (plots / f"{known_truth.PICTURES[part]}.png").is_file()
