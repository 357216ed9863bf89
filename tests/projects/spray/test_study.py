"""The small study, whole: a network with a planted artifact from training to the table."""

import pytest

from common import publishing
from common.runs import run_directory
from projects.spray import page, study


def test_arms_are_named_by_what_they_are():
    settings = study.StudyConfig(scale="full", shares=(0.1,), seeds=(0, 1), clean=3)
    arms = study.arms_of("mnist", settings)
    assert [(arm.share, arm.seed) for arm in arms] == [(0.1, 0), (0.1, 1), (0.0, 0), (0.0, 1), (0.0, 2)]
    assert len({piece.key for arm in arms for piece in arm.all}) == 4 * len(arms) + 1  # and one report
    assert arms[0].train.settings.share == 0.1 and arms[-1].train.settings.share == 0
    assert arms[0].analyze.settings.attribution == str(arms[0].explain.path / "attribution.h5")


@pytest.mark.slow
def test_the_small_study_finds_what_was_planted(tmp_path):
    settings = study.StudyConfig(runs=str(tmp_path / "runs"))
    result = study.main(settings, run_directory.open_for_test(tmp_path / "study"))
    row = result["digits"]["shares"]["0.5"]
    assert row["seeds"] == 1 and 0 <= row["best_f1"]["mean"] <= 1 and 1 <= row["place"]["mean"] <= 10
    columns, rows = page.planted_table({"digits": result["digits"]})
    assert len(columns) == len(rows[0]) and isinstance(page.page, publishing.Page)
