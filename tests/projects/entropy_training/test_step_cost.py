"""The measurement of a step runs, compares with a plain step, and its page says what came out."""

import pytest

from common.runs import run_directory
from projects.entropy_training import page, step_cost


@pytest.mark.slow
def test_it_measures_three_kinds_of_steps(tmp_path):
    result = step_cost.main(step_cost.StepCostConfig(repeats=5), run_directory.open_for_test(tmp_path))
    assert set(result["median_s"]) == {"plain", "coded", "noisy"} and result["times_plain"]["plain"] == 1
    assert "times a plain step" in page.step_cost_text(result)
