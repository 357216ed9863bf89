"""Estimates of any network and energy: own networks, lost halves, what a system fixes, chains that are too sure."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import ising
from kernels.autoregressive import (
    MADE,
    ChainEstimate,
    Law,
    Proposal,
    Status,
    accumulate,
    estimate,
    estimates,
    from_sums,
    init,
    network_law,
)
from kernels.autoregressive.chain_stream import ChainMeans
from kernels.ising import systems

NETWORK = MADE(1, 8, depth=1, channels=1)
UNIFORM = jax.tree.map(np.zeros_like, init(NETWORK, jax.random.key(0)))
KEY = jax.random.key(1)


def biased(log_odds: float) -> Proposal:
    """Returns free spins with these log-odds of up but for the first, which is even."""
    layer = UNIFORM["layer_0"]
    return Proposal([network_law({"layer_0": layer | {"bias": np.full_like(layer["bias"], log_odds)}}, NETWORK)])


UP = biased(math.log(9) + 0.05)  # nothing is out of reach, and what is lost is not lost for ever


def own_law() -> Law:
    """Returns an engineer's own network: eight spins, each up with probability 0.6, in NumPy."""

    def sample(key, n, first):
        rng = np.random.default_rng(int(jax.random.bits(jax.random.fold_in(key, first))))
        spins = np.where(rng.random((n, 2, 4)) < 0.6, 1, -1).astype(np.int8)
        return jnp.asarray(spins), log_prob(spins)

    def log_prob(spins):
        return np.where(np.asarray(spins) > 0, np.log(0.6), np.log(0.4)).sum((1, 2))

    return Law(sample, log_prob)


OWN = Proposal([own_law()])


def test_a_network_and_an_energy_of_ones_own():
    """No class of ours: two functions and an energy; and the same with a loop of one's own over the chunks."""
    system = systems.of_energy(lambda spins: -(spins[:, :, 1:] * spins[:, :, :-1]).sum((1, 2)), 2, 4)
    chunks = []
    result = estimate(Proposal([own_law()]), system, 0.3, 5300, key=KEY, chunk=500, progress=chunks.append)
    exact = system.exact(0.3)
    assert result.status.level == "trusted" and chunks == [500] * 10 + [300]
    assert abs(result.corrected.ln_z - exact.ln_z) < 6 * result.corrected.ln_z_err < 0.2
    assert abs(result.chain["u"][0] - exact.u) < 6 * result.chain["u"][1] < 0.2
    law, sums = own_law(), None
    for k in range(10):
        spins, log_q = law.sample(KEY, 500, 500 * k)
        energy, m = system.energy(spins), np.asarray(spins, int).sum((1, 2))
        sums = accumulate.init(accumulate.origin(energy, m)) if sums is None else sums
        sums = accumulate.update(sums, jax.random.fold_in(KEY, k), log_q, energy, m, 0.3)
    alone = from_sums(sums, 0.3, 8)
    assert alone.status.unchecked == ("exact value", "samples of p") and alone.status.level == "trusted"
    assert abs(alone.corrected.ln_z - exact.ln_z) < 6 * alone.corrected.ln_z_err < 0.2


SYSTEM = systems.of_energy(lambda spins: -(spins[:, :, 1:] * spins[:, :, :-1]).sum((1, 2)), 2, 4)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate(OWN, SYSTEM, 0.3, 1, key=KEY), "n=1: expected an integer of at least 2: errors need"),
        (lambda: estimate(OWN, SYSTEM, 0.3, 100.0, key=KEY), "n=100.0: expected an integer of at least 2"),
        (lambda: estimate(OWN, SYSTEM, 0.3, 100, key=KEY, chunk=0), "chunk=0: expected an integer of at least 1"),
        (lambda: estimate(OWN, SYSTEM, 0.3, 100, key=KEY, chunk=True), "chunk=True: expected an integer"),
        (lambda: estimate(own_law(), SYSTEM, 0.3, 100, key=KEY), r"proposal is Law; .*Proposal\(\[law\]\)"),
        (lambda: next(estimates.sample_chunks(OWN, SYSTEM, 0.3, 10, key=KEY, chunk=2.5)), "chunk=2.5: expected"),
        (lambda: next(estimates.sample_chunks(OWN, SYSTEM, 0.3, 0, key=KEY, chunk=5)), "n=0: expected"),
        (lambda: Proposal([]), "laws is empty; expected one Law or more"),
        (lambda: Proposal(own_law()), r"laws is Law; expected a list of laws: \[Law\("),
        (lambda: Proposal([None]), "laws is list; expected a list of laws"),
        (lambda: OWN.sample(KEY, 2.0), "n=2.0: expected an integer of at least 1"),
        (lambda: OWN.sample(KEY, 2, -1), "first=-1: expected an integer of at least 0"),
        (lambda: OWN.counts(0), "n=0: expected an integer of at least 1"),
        (lambda: OWN.log_prob(np.ones((1, 2, 4), np.int8), 0), "n=0: expected an integer of at least 1"),
    ],
)
def test_bad_arguments_stop_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.filterwarnings("ignore:the energy")
def test_what_the_system_fixes_makes_nothing_doubtful():
    """Free spins whose magnetisation is fixed, and the same without energy: all samples and a chain that moves agree on
    a number, whose own error stays unknown; beta^2 Var E at beta 0 is known from no sample at all."""
    uniform = Proposal([network_law(UNIFORM, NETWORK)])
    system = systems.sk(8)
    fixed = systems.of_energy(lambda spins: jnp.where(jnp.abs(spins.sum((1, 2))) == 2, 0.0, jnp.inf), 1, 8)
    fixed = dataclasses.replace(fixed, exact=lambda beta: None)
    result = estimate(uniform, fixed, 0.7, 5000, key=KEY)
    assert result.status.level == "trusted" and result.corrected.mean["abs_m_site"] == pytest.approx(0.25)
    assert math.isinf(result.corrected.err["abs_m_site"]) and math.isinf(result.chain["abs_m_site"][1])
    assert "same in all samples" in str(result.corrected.statuses["abs_m_site"])
    cold = estimate(uniform, system, 0.0, 5000, key=KEY)
    assert (cold.corrected.mean["c_v"], cold.corrected.err["c_v"]) == (0, 0)
    assert cold.corrected.statuses["c_v"].level == "trusted" == cold.status.level


def test_a_lost_half_shows_in_the_mirror_and_is_cured_by_it():
    """No exact value at hand: q leans up so much that down is never drawn. The mirror image tells; the mean over both
    images has the right ln Z again."""
    two_sided = systems.of_energy(lambda spins: -3.0 * jnp.abs(spins.sum((1, 2))), 1, 8)
    with pytest.warns(UserWarning, match="averaged with its mirror image"):
        lost = estimate(UP, two_sided, 0.8, 5000, key=KEY)
    assert lost.status.level == "not usable" and lost.corrected.ln_z_err == math.inf
    cured = estimate(dataclasses.replace(UP, images=two_sided.images(2)), two_sided, 0.8, 5000, key=KEY)
    states = np.concatenate(list(ising.states(8)))
    truth = np.logaddexp.reduce(-0.8 * np.asarray(two_sided.energy(jnp.asarray(states.reshape(-1, 1, 8)))))
    assert abs(cured.corrected.ln_z - truth) < 6 * cured.corrected.ln_z_err < 0.5
    assert not any("mirror" in reason for reason in cured.status.reasons)
    blind = dataclasses.replace(systems.sk(8), exact=lambda beta: None, bonds=None)
    fair = estimate(biased(0.0), blind, 0.3, 5000, key=KEY)
    assert not any("mirror" in reason for reason in fair.status.reasons), "a network that has both halves"


def test_a_network_alone_that_lost_a_half_is_told_by_its_mean_with_the_mirror_image():
    """No exact value: its own weights see nothing, those of the mean over both images do."""
    two_sided = systems.of_energy(lambda spins: -0.6 * jnp.abs(spins.sum((1, 2))), 1, 8)
    up = biased(math.log(9))
    result = estimate(dataclasses.replace(up, images=two_sided.images(2)), two_sided, 0.8, 5000, key=KEY)
    assert result.status.level == "trusted"
    better = result.corrected._replace(ln_z=result.single.ln_z + 1.0, ln_z_err=0.01)
    *_, (sums, _) = estimates.sample_chunks(up, two_sided, 0.8, 500, key=KEY, chunk=500)
    exact = two_sided.exact(0.8)
    alone = estimates.of_single(sums, 0.8, 8, exact, better)
    assert any("off what the mixture or mean over symmetries says" in reason for reason in alone.status.reasons)
    doubted = better._replace(status=Status("doubtful", ("it",)))
    alone = estimates.of_single(sums, 0.8, 8, exact, doubted)
    assert not any("mixture" in reason for reason in alone.status.reasons)


def test_a_chain_that_missed_heavy_samples_is_told():
    """Seen on 4 x 4 at beta 1: weights of which one in 10,000 counts 33 times, a chain that left it out with its
    burn-in, U 17 of its errors off the exact value and an error 12 times smaller than that by weights, and trusted."""
    good = estimate(biased(0.0), systems.sk(8), 0.1, 5000, key=jax.random.key(0))
    numbers = tuple(
        ChainEstimate(scale * mean, scale * error, 0.5, Status())
        for (mean, error), scale in zip(good.chain.values(), (8, 8, 64), strict=True)
    )
    chain = ChainMeans(numbers, 0.5, 0.9, Status(), 50)
    truth = {"u": good.exact.u}
    assert estimates.statuses_of(good.corrected.status, chain, 8, good.corrected, truth)[0].level == "trusted"
    too_sure = numbers[0]._replace(error=0.4 * 8 * good.corrected.err["u"])
    sure = chain._replace(estimates=(too_sure, *numbers[1:]))
    status, each = estimates.statuses_of(good.corrected.status, sure, 8, good.corrected)
    assert status.level == each["u"].level == "doubtful" and "missed heavy samples" in status.reasons[0]
    assert each["abs_m_site"].level == "trusted"
    off = numbers[0]._replace(mean=8 * good.exact.u + 17 * numbers[0].error)
    far = chain._replace(estimates=(off, *numbers[1:]))
    status, each = estimates.statuses_of(good.corrected.status, far, 8, good.corrected, truth)
    assert each["u"].level == "not usable" and status.level == "doubtful", "the weights may still be used"
    assert "NMCMC, u is 17 of its errors off the exact value" in status.reasons
