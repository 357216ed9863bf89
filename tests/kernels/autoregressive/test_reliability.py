"""What is told of estimates that do not know their error: collapse, lost halves, heavy tails, forbidden states.

Coverage and false alarms of whole runs are measured by `projects.van.study --figure=coverage`; here stands each case
with its reason.
"""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import autoregressive
from kernels.autoregressive import (
    Evidence,
    evidence,
    finalise,
    importance,
    log_weights,
    mirror_difference,
    reliability,
    reverse_ln_z,
    stream,
    thermodynamics,
    window,
)
from kernels.ising import brute_force, energies, states, systems
from tests.kernels.autoregressive.laws import BETA, LAW, N


def level(result) -> str:
    return result.status.level


def every_error(estimates) -> list[float]:
    return [*estimates.err.values(), *estimates.jackknife_err.values(), estimates.ln_z_err]


def test_good_weights_are_trusted_without_a_warning():
    """Of the law of 64 states: exact value, states and shape of the tail have nothing to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = thermodynamics(*LAW.draw(5000, 1), BETA, N)
        with_exact = thermodynamics(*LAW.draw(5000, 1), BETA, N, Evidence(exact={"ln_z": LAW.truth()[0]}))
    assert result.status == reliability.Status("trusted", (), ("exact value", "samples of p"))
    assert with_exact.status.unchecked == ("samples of p",) and str(with_exact.status) == "trusted"
    assert set(result.statuses) == {"ln_z", *result.mean} and result.zeros == 0


def test_a_network_that_collapsed_on_one_state():
    """It had ESS 1 and ln Z = -0.507 +- 0: -beta E of the one state that it draws."""
    log_q, energy, m = np.full(10_000, -1e-7), np.full(10_000, 1.69), np.full(10_000, 4.0)
    with pytest.warns(UserWarning, match="not usable: the samples cover about 1 state: weights cannot see lost ones"):
        result = thermodynamics(log_q, energy, m, 0.3, 12)
    assert result.ess == pytest.approx(1) and result.ln_z == pytest.approx(-0.507)
    assert level(result) == "not usable" and every_error(result) == [math.inf] * len(every_error(result))
    # Two states, by the mixture with the mirror image, are no better; nor are weights alone.
    with pytest.warns(UserWarning, match="about 2 states"):
        assert level(thermodynamics(log_q - math.log(2), energy, m, 0.3, 12)) == "not usable"
    with pytest.warns(UserWarning, match="nothing tells whether the samples cover more than one state"):
        assert importance(np.zeros(50), {}).ln_z_err == math.inf
    # Equal weights of many states are what an exact network has.
    uniform = np.full(10_000, -12 * math.log(2))
    exact = thermodynamics(uniform, np.zeros(10_000), np.random.default_rng(0).integers(-6, 7, 10_000), 0.3, 12)
    assert level(exact) == "trusted" and exact.ln_z == pytest.approx(12 * math.log(2)) and exact.ln_z_err == 1e-4
    assert exact.err["free_energy"] == pytest.approx(1e-4 / 0.3 / 12) and exact.statuses["free_energy"] == exact.status


def test_collapse_with_a_little_noise_is_doubtful_unless_something_confirms_it():
    """Nearly all mass on one state: weights vary, ESS is 0.9999, and one of two halves may be lost."""
    rng = np.random.default_rng(1)
    excited = rng.random(10_000) < 0.005
    energy, m = np.where(excited, -24.0, -32.0), np.where(excited, 14.0, 16.0)
    log_q = np.where(excited, math.log(0.004 / 16), math.log(0.995)) + 1e-6 * rng.normal(size=10_000)
    with pytest.warns(UserWarning, match="cover about 1.* weights cannot see lost ones"):
        blind = thermodynamics(log_q, energy, m, 1.0, 16)
    assert blind.ess > 0.99 and level(blind) == "doubtful"
    right = Evidence(exact={"ln_z": blind.ln_z + blind.ln_z_err})
    assert level(thermodynamics(log_q, energy, m, 1.0, 16, right)) == "trusted"
    lost = Evidence(exact={"ln_z": blind.ln_z + math.log(2)})
    with pytest.warns(UserWarning, match="of its errors off the exact value"):
        assert level(thermodynamics(log_q, energy, m, 1.0, 16, lost)) == "not usable"


def lattice_of_16():
    spins = np.concatenate(list(states(16)))
    energy = energies.square(spins.reshape(-1, 4, 4))
    return spins, energy, brute_force(lambda s: energies.square(s.reshape(-1, 4, 4)), 16, 0.35)


def test_a_lost_half_is_seen_by_samples_of_p_and_by_the_mirror_image():
    """4 x 4 at beta 0.35, q = p where the magnetisation is not negative, and next to nothing elsewhere."""
    spins, energy, exact = lattice_of_16()
    m = spins.sum(axis=1, dtype=np.int64)
    log_p = -0.35 * energy - exact.ln_z
    q = np.exp(log_p) * np.where(m > 0, 1, np.where(m == 0, 0.5, 1e-9))
    log_q = np.log(q / q.sum())
    rng = np.random.default_rng(2)
    draws = rng.choice(len(q), 10_000, p=np.exp(log_q))
    sample = log_q[draws], energy[draws], m[draws]
    alone = thermodynamics(*sample, 0.35, 16)
    assert level(alone) == "trusted" and alone.ln_z < exact.ln_z - 0.5, "its own weights do not know"
    of_p = rng.choice(len(q), 1000, p=np.exp(log_p))
    reverse = reverse_ln_z(log_weights(log_q[of_p], energy[of_p], 0.35))
    assert level(reverse) == "trusted" and abs(reverse.ln_z - exact.ln_z) < 6 * reverse.error
    with pytest.warns(UserWarning, match="errors off what samples of p say"):
        assert level(thermodynamics(*sample, 0.35, 16, Evidence(reverse=reverse))) == "not usable"
    mirror = mirror_difference(log_weights(*sample[:2], 0.35), log_q[draws], log_q[::-1][draws])
    assert mirror[0] == pytest.approx(math.log(2), abs=0.05)
    with pytest.warns(UserWarning, match="it lost a part"):
        assert level(thermodynamics(*sample, 0.35, 16, Evidence(mirror=mirror))) == "not usable"
    # A lopsided q that has both halves: nothing to report.
    lopsided = np.exp(log_p) * np.where(m > 0, 1.5, np.where(m == 0, 1, 0.5))
    log_q = np.log(lopsided / lopsided.sum())
    draws = rng.choice(len(q), 10_000, p=np.exp(log_q))
    mirror = mirror_difference(log_weights(log_q[draws], energy[draws], 0.35), log_q[draws], log_q[::-1][draws])
    assert abs(mirror[0]) < 5 * mirror[1]
    assert level(thermodynamics(log_q[draws], energy[draws], m[draws], 0.35, 16, Evidence(mirror=mirror))) == "trusted"


def test_heavy_weights_are_told_and_light_ones_are_not():
    """Log-normal weights of 10,000 samples, 100 seeds each: deviation 3 is told (98.9 % by k-hat alone; fewer than 90
    by a chance of 1e-8), deviation 1.1 (ESS 0.3) is not (none in 600; more than 5 by less than 1e-6 were it 0.3 %)."""
    rng = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = {
            deviation: sum(level(importance(rng.normal(0, deviation, 10_000), {})) != "trusted" for _ in range(100))
            for deviation in (1.1, 3.0)
        }
    assert told[3.0] >= 90 and told[1.1] <= 5


def test_reasons_of_the_weights():
    rng = np.random.default_rng(4)
    with pytest.warns(UserWarning, match=r"k-hat [0-9.]+ of the weights, above 0.67: no number of samples in reach"):
        heavy = importance(2.0 * rng.exponential(size=1000), {})
    assert heavy.k_hat > 1 and level(heavy) == "not usable" and heavy.ln_z_err == math.inf
    with pytest.warns(UserWarning, match="doubtful: 60 effective samples, fewer than 100"):
        few = importance(np.zeros(60), {"x": rng.normal(size=60)})
    assert few.ln_z_err == 1 / 60 < few.err["x"] < math.inf
    one = np.zeros(1000)
    one[5] = math.log(999 / 3)
    with pytest.warns(UserWarning, match="one of 1000 samples holds 25% of all weight"):
        assert level(importance(one, {})) != "trusted"


def test_a_quantity_that_never_varies_has_no_error():
    """|M| the same in 10,000 samples: an error of 0 by the formula is not one."""
    log_q, energy, _ = LAW.draw(10_000, 5)
    result = thermodynamics(log_q, energy, np.full(10_000, 3.0), BETA, N)
    assert level(result) == "trusted" and result.statuses["abs_m_site"].level == "doubtful"
    assert result.err["abs_m_site"] == result.jackknife_err["abs_m_site"] == math.inf > result.err["u"] > 0


def test_an_exact_value_of_any_quantity_counts():
    _, truth = LAW.truth()
    sample = LAW.draw(20_000, 6)
    assert level(thermodynamics(*sample, BETA, N, Evidence(exact=truth))) == "trusted"
    wrong = truth | {"c_v": truth["c_v"] * 1.5}
    with pytest.warns(UserWarning, match="c_v is .* of its errors off the exact value"):
        assert level(thermodynamics(*sample, BETA, N, Evidence(exact=wrong))) == "not usable"


def test_a_reverse_estimate_that_one_sample_holds():
    """It was -43.1 +- 1.0, silently; equal weights had no error either."""
    with pytest.warns(UserWarning, match="one of 1000 samples holds 100% of all inverse weight"):
        result = reverse_ln_z([0.0] * 999 + [-50.0])
    assert result.ln_z == pytest.approx(-43.09, abs=0.01) and result.error == math.inf and level(result) == "not usable"
    with pytest.warns(UserWarning, match="all inverse weights are equal"):
        assert reverse_ln_z(np.zeros(1000)).error == math.inf
    # It neither confirms nor accuses.
    beside = thermodynamics(*LAW.draw(5000, 1), BETA, N, Evidence(reverse=result))
    assert level(beside) == "trusted" and beside.status.unchecked[1:] == ("samples of p (what they say is not usable)",)


def test_reverse_weights_where_q_is_zero():
    """An inverse weight of zero is one; where all are, ln Z is unbounded; p = 0 at a sample of p is refused."""
    log_w = np.random.default_rng(7).normal(0, 0.5, 1000)
    half = np.concatenate([log_w, np.full(1000, np.inf)])
    assert reverse_ln_z(half).ln_z == pytest.approx(reverse_ln_z(log_w).ln_z + math.log(2))
    with pytest.warns(UserWarning, match="q is zero at all samples of p"):
        assert reverse_ln_z(np.full(5, np.inf))[:2] == (math.inf, math.inf)
    with pytest.raises(ValueError, match=r"log_w\[1\]=-inf"):
        reverse_ln_z([0.0, -np.inf, 1.0])
    with pytest.raises(ValueError, match=r"nan"):
        reverse_ln_z([0.0, np.nan, 1.0])


class Constrained:
    """The law of 64 states with every third of them forbidden, in a q that does not know."""

    energy = np.where(np.arange(64) % 3 == 0, np.inf, LAW.energy)
    truth = math.log(np.exp(-BETA * LAW.energy[np.arange(64) % 3 != 0]).sum())

    @classmethod
    def draw(cls, n, seed):
        draws = np.random.default_rng(seed).choice(64, n, p=np.exp(LAW.log_q))
        return LAW.log_q[draws], cls.energy[draws], LAW.m[draws]


def test_forbidden_states_have_no_weight_and_count():
    result = thermodynamics(*Constrained.draw(20_000, 8), BETA, N)
    assert level(result) == "trusted" and abs(result.ln_z - Constrained.truth) < 6 * result.ln_z_err < 0.2
    allowed = np.isfinite(Constrained.energy)
    p = np.exp(-BETA * LAW.energy[allowed] - Constrained.truth)
    assert abs(result.mean["energy"] - p @ LAW.energy[allowed]) < 6 * result.err["energy"]
    assert result.raw_ln_z == -math.inf and 5000 < result.zeros < 15_000 and result.n == 20_000
    assert np.isfinite(list(result.jackknife_err.values())).all()
    by_beta = window(*Constrained.draw(20_000, 8), [0.0, 0.4], N)
    assert abs(by_beta[0].ln_z - math.log(42)) < 6 * by_beta[0].ln_z_err, "forbidden at any temperature"


def test_forbidden_states_go_through_streams():
    """In pieces of which some hold nothing else, and merged: the same estimates."""
    log_q, energy, m = Constrained.draw(3000, 9)
    order = np.argsort(np.isfinite(energy), kind="stable")  # the forbidden ones first
    log_w = log_weights(log_q, energy, BETA)[order]
    numbers = np.stack([energy, m])[:, order]
    whole = finalise(stream.update(stream.init(2), log_w, numbers), ("e", "m"))
    pieces, parts = stream.init(2), [stream.init(2)]
    for part in np.split(np.arange(3000), [10, 700, 1500]):
        pieces = stream.update(pieces, log_w[part], numbers[:, part])
        parts.append(stream.update(stream.init(2), log_w[part], numbers[:, part]))
    merged = parts[0]
    for each in parts[1:]:
        merged = stream.merge(merged, each)
    for state in (pieces, merged):
        result = finalise(state, ("e", "m"))
        assert result.mean == pytest.approx(whole.mean) and result.err == pytest.approx(whole.err)
        assert (result.zeros, result.k_hat) == (whole.zeros, pytest.approx(whole.k_hat))
        assert result.jackknife_err["ln_z"] == pytest.approx(whole.jackknife_err["ln_z"], rel=1e-9)


def test_nothing_but_forbidden_states():
    with pytest.warns(UserWarning, match="not usable: all 50 weights are zero"):
        result = importance(np.full(50, -np.inf), {"x": np.full(50, np.nan)})
    assert result.ln_z == -math.inf and math.isnan(result.mean["x"]) and result.ln_z_err == math.inf
    assert result.zeros == 50 and result.err["x"] == math.inf and level(result) == "not usable"
    with pytest.warns(UserWarning, match="all 9 weights are zero"):
        thermodynamics(np.zeros(9), np.full(9, np.inf), np.zeros(9), BETA, N)


def test_the_tail_of_a_long_stream(monkeypatch):
    """As long as the tail fits k-hat is that of all samples, however they came."""
    rng = np.random.default_rng(10)
    log_w = rng.normal(0, 2, 20_000)
    log_w[1] = 8.0  # the largest stands where the lowest would after the tail is full
    monkeypatch.setattr(stream, "TAIL", 450)  # 3 sqrt(20,000) and one more are 426
    for sizes in ([20_000], [1000] * 20, [1, 449, 450, 100, 19_000]):
        state, rest = stream.init(0), log_w
        for size in sizes:
            state, rest = stream.update(state, rest[:size], np.zeros((0, size))), rest[size:]
            so_far = np.sort(np.concatenate([np.full(450, -np.inf), log_w[: int(state.n)]]))
            np.testing.assert_array_equal(np.sort(state.tail), so_far[-450:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert finalise(state).k_hat == autoregressive.k_hat(log_w)


def test_how_statuses_go_together():
    trusted, doubtful = reliability.Status(unchecked=("a",)), reliability.Status("doubtful", ("b",))
    useless = reliability.Status("not usable", ("c", "b"))
    assert reliability.worst(trusted, doubtful, useless) == ("not usable", ("c", "b"), ("a",))
    assert reliability.worst(trusted, doubtful).level == "doubtful" and reliability.worst() == reliability.Status()
    assert str(useless) == "not usable: c; b"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: importance(np.array([0.0, 1.0]), {}, log_q=np.zeros(3)), r"log_q of shape \[3\]"),
        (lambda: importance(np.array([0.0, 1.0]), {}, log_q=np.array([0, np.nan])), "log_q"),
        (lambda: importance(np.array([0.0, -np.inf]), {"x": np.array([np.inf, 1])}), "'x'"),
        (lambda: log_weights([0.0, 0.0], [1.0, np.nan], 1.0), r"energy\[1\]=nan"),
        (lambda: log_weights([0.0, 0.0], [-np.inf, 1.0], 1.0), r"energy\[0\]=-inf"),
        (lambda: log_weights([0.0, np.nan], [0.0, 1.0], 1.0), r"log_q\[1\]=nan"),
        (lambda: thermodynamics([0.0, -np.inf], [0.0, 1.0], [1.0, 1.0], 1.0, 1), r"log_w\[1\]=inf"),
        (lambda: stream.update(stream.init(1), np.array([0.0, np.inf]), np.zeros((1, 2))), r"log_w\[1\]=inf"),
        (lambda: stream.update(stream.init(1), np.array([0.0, np.nan]), np.zeros((1, 2))), r"log_w\[1\]=nan"),
        (lambda: mirror_difference(np.zeros(3), np.zeros(3), np.zeros(2)), "log_q_mirrored"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


@pytest.mark.usefixtures("unchecked")
def test_log_weights_join_no_shapes_by_broadcasting():
    with pytest.raises(ValueError, match=r"log_q of shape \[3\] and energy of shape \[3, 1\]"):
        log_weights(np.zeros(3), np.zeros((3, 1)), 1.0)


@pytest.mark.parametrize("kind", [np.float32, jnp.float32])
def test_an_inverse_temperature_of_single_precision_leaves_the_rest_in_double(kind):
    log_q, energy = np.array([-3.3, -1.1, -2.2]), np.array([-1234.5678901234, 7.0, -1234.0])
    weights = log_weights(log_q, energy, kind(0.5))  # a power of two: the same number in both
    assert isinstance(weights, np.ndarray) and weights.dtype == np.float64
    np.testing.assert_array_equal(weights, log_weights(log_q, energy, 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        single, double = (thermodynamics(log_q, energy, [2, 0, 4], beta, 4) for beta in (kind(0.5), 0.5))
    assert single.mean == double.mean and single.jackknife == double.jackknife


def test_samples_of_p_need_couplings():
    system = systems.of_energy(lambda spins: -spins.sum((1, 2)), 2, 2, "a field")
    with pytest.raises(ValueError, match="a field: clusters need couplings"):
        evidence.samples_of_p(system, 0.5, 4, jax.random.key(0))
