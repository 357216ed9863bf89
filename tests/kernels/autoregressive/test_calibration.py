"""Calibration of error bars: coverage as counted by hand, and statuses that tell of heavy weights."""

import numpy as np
import pytest

from kernels.autoregressive import calibration


def test_coverage_counts_and_states_no_share_of_few():
    trials = [{"u": (0.5, 1.0, "trusted")}] * 30 + [{"u": (2.0, 1.0, "doubtful")}] * 10
    shares = calibration.coverage(trials)["u"]
    assert shares == {"all": 0.75, "trusted": 1.0, "told": 0.25}
    assert calibration.coverage(trials[:19])["u"]["trusted"] is None
    assert calibration.quantiles([np.nan]) is None and calibration.quantiles([1.0, np.nan]) == [1.0] * 3


def test_heavy_weights_are_told():
    """Log-normal weights of deviation 3: k-hat tells of 98.9 % of the seeds."""

    def draw(seed, n):
        z = np.random.default_rng(seed).normal(size=n)
        return calibration.Draw(np.zeros(n), -3 * z, z)

    truth = {"ln_z": 4.5, "u": -9.0 / 4, "entropy": -4.5 / 4, "c_v": 9 / 4, "abs_m_site": 0.75}
    row = calibration.calibration(calibration.Case("heavy", draw, truth, 1.0, 4), range(3), 400)
    assert row["told"]["exact"] >= row["told"]["weights"] > 0.5
    assert set(row["methods"]) == set(calibration.METHODS)
    assert set(row["methods"]["delta"]) == set(calibration.QUANTITIES) == set(row["methods"]["jackknife"])
    assert set(row["methods"]["nmcmc"]) == set(calibration.OF_CHAIN) and row["ess"] == pytest.approx(0.02, abs=0.03)


def test_truths_of_log_normal_weights():
    """By quadrature over z: ln Z, U, S, c_v and |M| under p."""
    deviation, beta, sites, log_q = 3.0, 0.5, 36, -20.0
    case = calibration.log_normal_case(deviation, beta, sites, log_q)
    z = np.linspace(-12, 18, 300_001)
    density = np.exp(-0.5 * (z - deviation) ** 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    E = -(deviation * z + log_q) / beta
    u = density @ E
    assert case.truth["u"] == pytest.approx(u / sites)
    assert case.truth["c_v"] == pytest.approx(beta**2 * (density @ E**2 - u**2) / sites)
    assert case.truth["abs_m_site"] == pytest.approx(density @ np.abs(z) / sites)
    assert case.truth["entropy"] == pytest.approx((beta * u + case.truth["ln_z"]) / sites)
    draw = case.draw(5, 10)
    assert np.allclose(-beta * draw.energy - draw.log_q, deviation * draw.magnetisation)
