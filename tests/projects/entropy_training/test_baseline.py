"""The search of the uniform baseline: one bisection a rate weight, whoever decides and however many at once."""

import numpy as np
import pytest

from kernels import entropy_coding
from projects.entropy_training import baseline

OCTAVES, RATES = np.array([-3.0, -2.5, -2.0, -1.0]), (0.0, 0.1, 0.3)
WEIGHTS = {"fc1": {"kernel": np.random.default_rng(0).laplace(0, 0.1, (30, 20)).astype(np.float32),
                   "bias": np.ones(20, np.float32)}}  # fmt: skip
LEAST = 0.935


def accuracy(weights) -> float:
    """Falls with the squared error."""
    error = np.square(weights["fc1"]["kernel"] - WEIGHTS["fc1"]["kernel"]).mean()
    return float(1 - 300 * error)


def one_after_another() -> list[tuple[float, float]]:
    """Step and rate weight of each file that the bisections try, one rate weight after another."""
    kernel = WEIGHTS["fc1"]["kernel"]
    largest, trials = float(np.abs(kernel).max()), []
    for rate in RATES:
        low, high = 0, len(OCTAVES) - 1
        while low <= high:
            middle = (low + high) // 2
            step = largest / 4 * 2.0 ** float(OCTAVES[middle])
            trials.append((step, rate))
            q = entropy_coding.quantize_rdo(kernel, step, rate)
            is_enough = accuracy({"fc1": {"kernel": entropy_coding.dequantize(q, step)}}) >= LEAST
            low, high = (middle + 1, high) if is_enough else (low, middle - 1)
    return trials


@pytest.mark.parametrize("implementation", [None, "xla"])
def test_files_are_those_of_one_search_after_another(implementation, monkeypatch):
    monkeypatch.setattr(baseline, "STEP_OCTAVES", OCTAVES)
    monkeypatch.setattr(baseline, "RATE_WEIGHTS", RATES)
    files = baseline.uniform(WEIGHTS, accuracy, LEAST, implementation)
    trials = [(file.rule["step"], file.rule["rate_weight"]) for file in files]
    assert trials == one_after_another()
    assert len({len([one for one in trials if one[1] == rate]) for rate in RATES}) > 1  # they do not all end together
    for file in files:
        q = entropy_coding.quantize_rdo(WEIGHTS["fc1"]["kernel"], file.rule["step"], file.rule["rate_weight"])
        expected = entropy_coding.dequantize(q, file.rule["step"])
        np.testing.assert_array_equal(file.decoded["fc1"]["kernel"], expected)
