"""The study: sets that fit together, and all of it in a small size."""

import pytest

from common.runs import run_directory
from projects.eharq import study
from projects.eharq.study import SCALES, SPLITS


@pytest.mark.parametrize("scale", SCALES)
def test_sets_are_of_other_seeds_and_one_link(scale, tmp_path):
    links = study.settings_of(scale, str(tmp_path))
    seeds = [piece.settings.seed for link in links for piece in link.sets.values()]
    assert len(set(seeds)) == len(seeds) == len(SPLITS) * (len(SCALES[scale].snr_db) + 1)
    assert [link.name for link in links][-1] == study.RARE and links[-1].sets["test"].settings.strata
    for link in links:
        assert link.evaluation.settings.test == str(link.sets["test"].path)
        assert link.training.settings.data == str(link.sets["train"].path)


@pytest.mark.slow
def test_small_study(tmp_path):
    result = study.main(study.StudyConfig(), run_directory.open_for_test(tmp_path))
    assert not result["missing"] and result["pieces"] == 11
    assert len(result["sets"]) == 6 and len(result["best"]) == 4
    plain, rare = (result["sets"][name]["bler"]["value"] for name in ("2 dB, test", f"{study.RARE}, test"))
    assert 0.02 < plain < 0.6 and rare < 0.1
