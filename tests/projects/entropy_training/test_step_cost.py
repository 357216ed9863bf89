"""The measurement of a step runs, compares with a plain step, and its page says what it found."""

import pytest

from common.runs import run_directory
from projects.entropy_training import published, step_cost


@pytest.mark.slow
def test_it_measures_three_kinds_of_steps(tmp_path):
    found = step_cost.main(step_cost.StepCostConfig(repeats=5), run_directory.open_for_test(tmp_path))
    assert set(found["median_s"]) == {"plain", "coded", "noisy"} and found["times_plain"]["plain"] == 1
    assert "times a plain step" in published.step_cost_text(found)
