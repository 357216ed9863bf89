"""The median length of vectors of stable values: closed forms, draws, and the table."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from kernels import alpha_stable, boundary_step
from kernels.alpha_stable import lengths


@pytest.mark.parametrize("dim", [1, 2, 7, 784, 150_528])
def test_gaussian_lengths_are_those_of_chi(dim):
    assert alpha_stable.log_median_length(2.0, dim) == pytest.approx(
        0.5 * math.log(2 * stats.chi2.median(dim)), abs=1e-8
    )


def test_one_value_has_the_median_of_its_law():
    assert alpha_stable.log_median_length(1.0, 1) == pytest.approx(0, abs=1e-8)
    for alpha in (0.3, 0.9, 1.3, 1.95):
        upper = float(jnp.exp(alpha_stable.sas_log_survival(math.exp(alpha_stable.log_median_length(alpha, 1)), alpha)))
        assert upper == pytest.approx(0.25, abs=2e-6)


@pytest.mark.parametrize(("alpha", "dim"), [(0.5, 3), (1.0, 50), (1.5, 784), (1.9, 300)])
def test_half_of_the_draws_are_longer(alpha, dim):
    """10,000 vectors: six deviations of the share, false alarms below 1e-8."""
    with jax.enable_x64(True):
        draws = np.asarray(alpha_stable.sas(jax.random.key(1), alpha, (10_000, dim)))
    share = np.mean(np.linalg.norm(draws, axis=1) > math.exp(alpha_stable.log_median_length(alpha, dim)))
    assert abs(share - 0.5) < 0.03


@pytest.mark.parametrize("alpha", [pytest.param(0.2, marks=pytest.mark.slow), 1.0])
def test_many_values_have_the_scale_of_a_sum(alpha):
    """Sums of squares grow like d^(2 / alpha): ln median of four times as many values is higher by ln(4) / alpha."""
    grown = alpha_stable.log_median_length(alpha, 400_000) - alpha_stable.log_median_length(alpha, 100_000)
    assert grown == pytest.approx(math.log(4) / alpha, abs=1e-3)


def test_the_table_is_the_median():
    result = jax.jit(lambda alpha: boundary_step.table_log_median_length(alpha, 300))(
        np.float32([0.1, 0.77, 1.4, 1.97, 2.0])
    )
    expected = [alpha_stable.log_median_length(alpha, 300) for alpha in (0.1, 0.77, 1.4, 1.97, 2.0)]
    np.testing.assert_allclose(result, expected, atol=1e-4)
    assert alpha_stable.length_table(300) is alpha_stable.length_table(300)  # made once


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("alpha", "dim", "words"),
    [
        (2.1, 5, "alpha=2.1"),
        (0.01, 5, "alpha=0.01"),
        (float("nan"), 5, "alpha=nan"),
        (1.0, 0, "dim=0"),
        (1.0, 2.5, "dim=2.5"),
    ],
)
def test_bad_arguments_are_named(alpha, dim, words):
    with pytest.raises(ValueError, match=words):
        alpha_stable.log_median_length(alpha, dim)


@pytest.mark.parametrize(("dim", "says"), [(784, False), (150_528, True)])
def test_a_table_that_takes_long_says_so(dim, says, monkeypatch, caplog):
    """The medians themselves are left out here, which take a minute."""
    monkeypatch.setattr(lengths, "_log_median", lambda alpha, dim, guess: 1.0)
    lengths.length_table.__wrapped__(dim)
    assert (f"vectors of {dim} values is made, once: about 61 seconds" in caplog.text) is says
    assert bool(caplog.text) is says
