"""Estimates on a law of 64 states whose truth is a sum: values, coverage, streams, reweighting, refusals."""

import importlib
import math
import warnings

import numpy as np
import pytest

from kernels.autoregressive import reverse_ln_z, stream, window
from tests.kernels.autoregressive.laws import BETA, LAW, N

importance = importlib.import_module("kernels.autoregressive.importance")
thermodynamics = importlib.import_module("kernels.autoregressive.thermodynamics")


def estimate(n, seed, beta=BETA):
    return thermodynamics.thermodynamics(*LAW.draw(n, seed), beta, N)


def unjudged(log_w, values):
    """Estimates before they are judged: of two samples, or with one that holds everything, no error is known."""
    state = stream.update(stream.init(1), log_w, np.asarray(values)[None])
    return importance.by_formula(state, ("o",))


def test_formulas_on_two_samples_by_hand():
    """w = 1 and 3: mean 2, r = 1/2 and 3/2; O = 0 and 4: <O> = 3; g = r (O - 3) = -3/2 and 3/2."""
    actual = unjudged(np.log([1.0, 3.0]), [0.0, 4.0])
    assert actual.ln_z == pytest.approx(math.log(2)) and actual.mean["o"] == pytest.approx(3)
    assert actual.err["o"] == pytest.approx(1.5 / math.sqrt(2))
    assert actual.ln_z_err == pytest.approx(0.5 / math.sqrt(2))
    assert actual.ess == pytest.approx(1 / 1.25)
    assert actual.ln_z_bias == pytest.approx(-0.25 / 4)
    assert actual.bias["o"] == pytest.approx(-(0.25 * -3 + 2.25 * 1) / 2 / 2)
    assert actual.raw_ln_z == pytest.approx(math.log(3) / 2)
    assert actual.largest_share == pytest.approx(0.75) and actual.n == 2
    # Leave one out: ln Z is ln 3 or 0, <O> is 4 or 0.
    assert actual.jackknife_err["o"] == pytest.approx(2) and actual.jackknife["o"] == pytest.approx(3 - (2 - 3))
    assert actual.jackknife_bias["ln_z"] == pytest.approx(math.log(3) / 2 - math.log(2))


def test_estimates_of_many_samples_are_right():
    """One set of 200,000 samples: everything within 6 standard errors (2e-9 each)."""
    ln_z, truth = LAW.truth()
    actual = estimate(200_000, 1)
    assert abs(actual.ln_z - ln_z) < 6 * actual.ln_z_err < 0.1
    for name, value in truth.items():
        assert abs(actual.mean[name] - value) < 6 * actual.err[name] < 0.1, name
        assert actual.jackknife_err[name] == pytest.approx(actual.err[name], rel=0.45), name
    # Of the population, 1/ESS = sum p^2/q.
    p = np.exp(-BETA * LAW.energy - ln_z)
    assert actual.ess == pytest.approx(1 / np.sum(p**2 / np.exp(LAW.log_q)), rel=0.05)


def test_one_sigma_intervals_cover():
    """Of 100 seeds 43 to 89 contain the truth: binomial with 0.683 leaves 2e-7 below and above."""
    ln_z, truth = LAW.truth()
    covered = dict.fromkeys(["ln_z", *truth], 0)
    by_jackknife = dict.fromkeys(truth, 0)
    for seed in range(100):
        actual = estimate(2000, 1000 + seed)
        covered["ln_z"] += abs(actual.ln_z - ln_z) < actual.ln_z_err
        for name, value in truth.items():
            covered[name] += abs(actual.mean[name] - value) < actual.err[name]
            by_jackknife[name] += abs(actual.jackknife[name] - value) < actual.jackknife_err[name]
    assert all(43 <= count <= 89 for count in covered.values()), covered
    assert all(43 <= count <= 89 for count in by_jackknife.values()), by_jackknife


def test_bias_has_its_leading_term():
    """40,000 sets of 20 samples: the mean of ln Zh and of U are off by what the law says (within 6 errors and terms of
    1/n^2), which is what `ln_z_bias` and `bias` estimate."""
    ln_z, truth = LAW.truth()
    p = np.exp(-BETA * LAW.energy - ln_z)
    r = p / np.exp(LAW.log_q)
    expected = -(np.exp(LAW.log_q) @ r**2 - 1) / (2 * 20)
    rng = np.random.default_rng(5)
    choice = rng.choice(64, (40_000, 20), p=np.exp(LAW.log_q))
    actual = np.log(r[choice].mean(axis=1))
    assert actual.mean() == pytest.approx(expected, abs=6 * actual.std() / 200 + 0.3 * abs(expected))
    assert abs(actual.mean()) > 6 * actual.std() / 200, "the set is too small to show a bias"
    many = estimate(200_000, 2)
    assert many.ln_z_bias * 200_000 == pytest.approx(20 * expected, rel=0.1)
    energy_bias = -np.exp(LAW.log_q) @ (r**2 * (LAW.energy - p @ LAW.energy))
    actual = (r * LAW.energy)[choice].mean(axis=1) / r[choice].mean(axis=1) - p @ LAW.energy
    assert actual.mean() == pytest.approx(energy_bias / 20, abs=6 * actual.std() / 200 + 0.3 * abs(energy_bias / 20))
    assert abs(actual.mean()) > 6 * actual.std() / 200
    assert many.bias["energy"] * 200_000 == pytest.approx(energy_bias, rel=0.1)


def test_a_stream_in_pieces_is_one_shot():
    log_q, energy, m = LAW.draw(5000, 3)
    log_w, numbers = -BETA * energy - log_q, thermodynamics.spin_numbers(energy, m)
    derived = thermodynamics.spin_derived(BETA, N)
    origin = numbers.mean(axis=1)
    whole = importance.finalise(stream.update(stream.init(5, origin), log_w, numbers), thermodynamics.SPINS, derived)
    pieces = stream.init(5, origin)
    for part in np.split(np.arange(5000), [1, 1, 700, 4999]):
        pieces = stream.update(pieces, log_w[part], numbers[:, part])
    same_estimates(importance.finalise(pieces, thermodynamics.SPINS, derived), whole)
    same_estimates(thermodynamics.thermodynamics(log_q, energy, m, BETA, N), whole)


def test_merged_states_are_one_shot():
    """Merged from four machines: in order all is as one, in any other only the size of the jackknife's errors is."""
    log_q, energy, m = LAW.draw(8000, 4)
    log_w, numbers = -BETA * energy - log_q, thermodynamics.spin_numbers(energy, m)
    log_w = log_w + 700  # the weights themselves would overflow
    origin = numbers.mean(axis=1)

    def state(part):
        return stream.update(stream.init(5, origin), log_w[part], numbers[:, part])

    a, b, c, d = (state(part) for part in np.split(np.arange(8000), [100, 3000, 3001]))
    derived = thermodynamics.spin_derived(BETA, N)
    whole = importance.finalise(state(slice(None)), thermodynamics.SPINS, derived)
    in_order = stream.merge(stream.merge(a, b), stream.merge(stream.init(5, origin), stream.merge(c, d)))
    same_estimates(importance.finalise(in_order, thermodynamics.SPINS, derived), whole)
    backwards = stream.merge(d, stream.merge(c, stream.merge(b, stream.merge(a, stream.init(5, origin)))))
    actual = importance.finalise(backwards, thermodynamics.SPINS, derived)
    same_estimates(actual, whole, jackknife=False)
    for name in whole.err:
        assert actual.jackknife_err[name] == pytest.approx(whole.jackknife_err[name], rel=0.6)


def test_streams_of_one_sample_each_have_a_jackknife():
    """Their samples fill all blocks in turn, as those of one stream would, instead of the first block only."""
    log_q, energy, m = LAW.draw(200, 12)
    log_w, numbers = -BETA * energy - log_q, thermodynamics.spin_numbers(energy, m)
    merged = stream.init(5)
    for k in range(200):
        merged = stream.merge(merged, stream.update(stream.init(5), log_w[k : k + 1], numbers[:, k : k + 1]))
    whole = importance.finalise(stream.update(stream.init(5), log_w, numbers), thermodynamics.SPINS)
    same_estimates(importance.finalise(merged, thermodynamics.SPINS), whole)


def test_the_leading_bias_of_what_is_linear():
    """F by ln Z over beta, the entropy by the sum of both, as in the method's table; others: the jackknife's."""
    actual = estimate(5000, 13)
    assert actual.bias["free_energy"] == pytest.approx(-actual.ln_z_bias / BETA / N)
    assert actual.bias["free_energy"] == pytest.approx((1 / actual.ess - 1) / (2 * actual.n * BETA * N))
    assert actual.bias["u"] == pytest.approx(actual.bias["energy"] / N)
    assert actual.bias["entropy"] == pytest.approx((BETA * actual.bias["energy"] + actual.ln_z_bias) / N)
    assert math.isnan(actual.bias["c_v"]) and math.isfinite(actual.jackknife_bias["c_v"])


def test_a_magnetisation_that_is_always_zero():
    """Binder's ratio does not exist; nothing else is lost, and nothing is said but nan."""
    rng = np.random.default_rng(14)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = thermodynamics.thermodynamics(
            np.full(500, -4 * math.log(2)), rng.normal(0, 0.1, 500), np.zeros(500), BETA, 4
        )
    assert math.isnan(actual.mean["binder"]) and math.isnan(actual.err["binder"])
    assert actual.mean["chi"] == 0 and actual.err["u"] > 0


def same_estimates(actual, expected, jackknife=True):
    names = ["mean", "err", "bias"] + ["jackknife", "jackknife_err", "jackknife_bias"] * jackknife
    for name in names:
        for key, value in getattr(expected, name).items():
            assert getattr(actual, name)[key] == pytest.approx(value, rel=1e-8, abs=1e-11, nan_ok=True), (name, key)
    for name in ("ess", "ln_z", "ln_z_err", "ln_z_bias", "raw_ln_z", "largest_share", "n"):
        assert getattr(actual, name) == pytest.approx(getattr(expected, name), rel=1e-10), name


def test_gradients_of_derived_quantities():
    point = 1.3, np.array([1.0, 3.0, 2.0, 5.0, 40.0])
    for name, quantity in thermodynamics.spin_derived(BETA, N).items():
        exact, numeric = quantity.gradient(*point), importance._differences(quantity.value)(*point)
        np.testing.assert_allclose(exact[0], numeric[0], atol=1e-7, err_msg=name)
        np.testing.assert_allclose(exact[1], numeric[1], atol=1e-7, err_msg=name)


def test_a_quantity_of_ones_own():
    """Its gradient by differences: the same error as the one that is built in."""
    log_q, energy, m = LAW.draw(4000, 6)
    own = {"c": importance.Derived(lambda ln_z, means: BETA**2 * (means[1] - means[0] ** 2) / N)}
    actual = importance.importance(-BETA * energy - log_q, {"e": energy, "ee": energy**2}, own)
    expected = thermodynamics.thermodynamics(log_q, energy, m, BETA, N)
    assert actual.mean["c"] == pytest.approx(expected.mean["c_v"], rel=1e-10)
    assert actual.err["c"] == pytest.approx(expected.err["c_v"], rel=1e-5)


def test_exact_weights_leave_only_sampling():
    """Where q is p all weights are equal: ESS 1, of ln Z the error that 500 samples leave, the plain one of a mean.

    Up to rounding, too; and what follows from ln Z alone has its error, not 0.
    """
    rng = np.random.default_rng(7)
    values = rng.normal(size=500)
    half = {"half": importance.Derived(lambda ln_z, means: ln_z / 2, linear=True)}
    for noise in (0.0, 1e-7):
        log_w = -3.2 + noise * rng.normal(size=500)
        actual = importance.importance(log_w, {"x": values}, half)
        assert actual.ess == pytest.approx(1) and actual.ln_z == pytest.approx(-3.2)
        assert actual.ln_z_err == actual.jackknife_err["ln_z"] == 1 / 500
        assert actual.err["half"] == actual.jackknife_err["half"] == pytest.approx(1 / 1000)
        assert actual.err["x"] == pytest.approx(values.std() / math.sqrt(500))
        assert {status.level for status in actual.statuses.values()} == {"trusted"}
    wide = importance.importance(0.5 * rng.normal(size=500), {"x": values})
    assert wide.ln_z_err == pytest.approx(math.sqrt((1 / wide.ess - 1) / 500)), "elsewhere the formula stands"


def test_a_window_of_temperatures():
    samples = LAW.draw(100_000, 8)
    betas = [0.3, 0.35, 0.5, 0.7, 2.5]
    actual = window(*samples, betas, N)
    for beta, at in zip(betas[:4], actual, strict=False):
        ln_z, truth = LAW.truth(beta)
        assert abs(at.ln_z - ln_z) < 6 * at.ln_z_err
        assert abs(at.mean["u"] - truth["u"]) < 6 * at.err["u"]
    assert actual[1].ess > actual[2].ess > actual[3].ess > actual[4].ess, "ESS falls away from the q that was sampled"


def test_infinite_temperature_has_no_free_energy():
    """beta = 0: ln Z is ln of the number of states (as far as q is right), F is undefined, the rest is not."""
    actual = thermodynamics.thermodynamics(*LAW.draw(50_000, 9), 0.0, N)
    assert abs(actual.ln_z - math.log(64)) < 6 * actual.ln_z_err
    assert math.isnan(actual.mean["free_energy"]) and math.isfinite(actual.mean["entropy"])


def test_reverse_estimate_sees_what_forward_misses():
    """q has only one of two mirror halves: forward settles at ln Z - ln 2, reverse has no finite expectation below."""
    ln_z, _ = LAW.truth()
    rng = np.random.default_rng(10)
    p = np.exp(-BETA * LAW.energy - ln_z)
    choice = rng.choice(64, 50_000, p=p)
    right = reverse_ln_z(-BETA * LAW.energy[choice] - LAW.log_q[choice])
    assert abs(right.ln_z - ln_z) < 6 * right.error < 0.1 and right.status.level == "trusted"
    # Every state twice, a mirror image with q of e^-12 there: forward samples (nearly) never see it.
    log_w = -BETA * LAW.energy[choice] - LAW.log_q[choice] + np.where(rng.random(50_000) < 0.5, 12.0, 0.0)
    assert reverse_ln_z(log_w).ln_z == pytest.approx(ln_z + math.log(2), abs=0.05)
    assert reverse_ln_z(log_w, 2.0).error == pytest.approx(2 * reverse_ln_z(log_w).error)


def test_one_heavy_sample_is_told():
    log_w = np.zeros(50)
    log_w[7] = 5
    with pytest.warns(UserWarning, match="one of 50 samples holds 75%"):
        importance.importance(log_w, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importance.importance(np.zeros(500), {"x": np.random.default_rng(0).normal(size=500)})


@pytest.mark.parametrize("height", [5.0, 50.0, 500.0])
def test_the_jackknife_with_one_heavy_sample(height):
    """Without it ln Z is 0, with it the height less ln 40: the others' sum is not lost beside it."""
    log_w, values = np.zeros(40), np.arange(40.0)
    log_w[7] = height
    actual = unjudged(log_w, values)
    each = [np.log(np.mean(np.exp(np.delete(log_w, k)))) for k in range(40)]
    assert actual.jackknife_err["ln_z"] == pytest.approx(math.sqrt(39 * np.var(each)), rel=1e-9)
    each = [np.average(np.delete(values, k), weights=np.exp(np.delete(log_w - height, k))) for k in range(40)]
    assert actual.jackknife_err["o"] == pytest.approx(math.sqrt(39 * np.var(each)), rel=1e-9)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: importance.importance(np.zeros(1), {}), "n=1"),
        (lambda: importance.importance(np.zeros((2, 2)), {}), "log_w of shape"),
        (lambda: importance.importance(np.array([0, np.inf]), {}), r"log_w\[1\]=inf"),
        (lambda: importance.importance(np.array([np.nan, 0]), {}), r"log_w\[0\]=nan"),
        (lambda: importance.importance(np.zeros(3), {"x": np.zeros(4)}), "'x'"),
        (lambda: importance.importance(np.zeros(3), {"x": np.array([0, np.nan, 1])}), "'x'"),
        (lambda: importance.finalise(stream.init(0)), "n=0"),
        (lambda: importance.finalise(stream.update(stream.init(1), np.zeros(2), np.zeros((1, 2)))), "names"),
        (lambda: stream.init(2, blocks=1), "blocks=1"),
        (lambda: stream.init(2, np.zeros(3)), "origin"),
        (lambda: stream.update(stream.init(2), np.zeros(3), np.zeros((1, 3))), "numbers of shape"),
        (lambda: stream.update(stream.init(1), np.zeros(3), np.full((1, 3), np.inf)), "not finite"),
        (lambda: stream.update(stream.init(1), np.array([0, -2e3]), np.array([[0, np.inf]])), "not finite"),
        (lambda: stream.update(stream.init(1), np.array([0, -2e3]), np.array([[0, np.nan]])), "not finite"),
        (lambda: stream.merge(stream.init(1), stream.init(2)), "merge"),
        (lambda: stream.merge(stream.init(1), stream.init(1, np.ones(1))), "merge"),
        (lambda: reverse_ln_z(np.zeros(3), 0.1), "time=0.1"),
        (lambda: thermodynamics.thermodynamics(-1.0, np.zeros(9), np.zeros(9), BETA, 4), r"log_q \[\]"),
        (lambda: thermodynamics.thermodynamics(np.zeros(9), np.zeros(9), np.zeros(8), BETA, 4), r"magnetisation \[8\]"),
        (lambda: thermodynamics.thermodynamics(np.zeros(9), np.zeros(9), np.zeros(9), math.nan, 4), "beta=nan"),
        (lambda: thermodynamics.thermodynamics(np.zeros(9), np.zeros(9), np.zeros(9), BETA, 0), "sites=0"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
