"""k-hat is ArviZ's to rounding, and series that emcee calls too short are told here, too.

`make peers` builds the environment and runs this.
"""

import warnings

import numpy as np
import pytest

from kernels.autoregressive import chain_estimate, k_hat

PEER = "arviz"


@pytest.mark.parametrize("n", [25, 100, 1000, 10_000, 100_000])
def test_shapes_of_tails(peer, n):
    """Log-normal weights of several deviations, Pareto ones, bounded ones, some of them zero."""
    rng = np.random.default_rng(n)
    rows = [rng.normal(0, deviation, n) for deviation in (0.1, 0.5, 1, 2, 3, 10, 100)]
    rows += [shape * rng.exponential(size=n) for shape in (0.3, 0.7, 1.5)]
    rows += [np.log(rng.random(n)), np.where(rng.random(n) < 0.3, -np.inf, rng.normal(size=n))]
    rows += [np.log(rng.integers(1, 400, n))]  # ties, also with the threshold
    theirs = peer.ask("k_hat", log_w=np.array(rows))["k_hat"]
    np.testing.assert_allclose([k_hat(row) for row in rows], theirs, rtol=1e-9, atol=1e-9)


def test_where_theirs_is_infinite_for_want_of_a_tail(peer):
    """Equal weights, and a bound that many reach: infinite there, nan here, as there is nothing heavy about them."""
    rows = np.array([np.zeros(1000), np.random.default_rng(0).choice([0.0, 1.0, 2.0], 1000)])
    assert peer.ask("k_hat", log_w=rows)["k_hat"] == [np.inf, np.inf]
    assert np.isnan([k_hat(row) for row in rows]).all()


@pytest.mark.parametrize(("rho", "n"), [(0.9, 100), (0.99, 1000), (0.9, 5000), (0.0, 1000)])
def test_series_that_are_too_short(peer, rho, n):
    """Of 100 series: told here wherever emcee raises, but for 5 that lie at the edge; its times are twice ours."""
    rng = np.random.default_rng(1)
    series = np.zeros((100, n))
    state = rng.normal(size=100)
    for t in range(n):
        state = rho * state + np.sqrt(1 - rho**2) * rng.normal(size=100)
        series[:, t] = state
    theirs = peer.ask("integrated_time", series=series)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = [chain_estimate(row) for row in series]
    told = np.array([each.status.level != "trusted" for each in ours])
    raised = np.array(theirs["raised"])
    assert np.sum(raised & ~told) <= 5 and (raised.mean() > 0.9) == (n in (100,) or rho == 0.99)
    if not raised.any():
        assert told.mean() <= 0.05
        assert np.median([2 * each.time for each in ours]) == pytest.approx(np.median(theirs["times"]), rel=0.1)
