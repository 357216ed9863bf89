"""Sums over chunks do not depend on the chunks; the chain goes on from one to the next, and says what it is worth."""

import math

import jax
import numpy as np
import pytest

from kernels.autoregressive import accumulate, chain_stream, nmcmc
from kernels.autoregressive.thermodynamics import spin_numbers


def in_order(sums):
    """All that is not the chain's; of the largest weights their order does not count."""
    streams = [state._replace(tail=np.sort(state.tail)) for state in (sums.weighted, sums.raw)]
    return *streams, sums.head


def test_sums_do_not_know_chunks():
    """The same samples in one piece and in many: all that is not the chain's randomness is the same."""
    rng = np.random.default_rng(0)
    log_q, energy, m = rng.normal(-3, 1, 3000), rng.normal(0, 2, 3000), rng.integers(-4, 5, 3000)
    origin = accumulate.origin(energy, m)
    np.testing.assert_array_equal(origin, spin_numbers(energy, m).mean(axis=1))
    key = jax.random.key(0)
    one = accumulate.update(accumulate.init(origin), key, log_q, energy, m, 0.5)
    many = accumulate.init(origin)
    for k, part in enumerate(np.split(np.arange(3000), [10, 11, 1500])):
        many = accumulate.update(many, jax.random.fold_in(key, k), log_q[part], energy[part], m[part], 0.5)
    for a, b in zip(*(jax.tree.leaves(in_order(each)) for each in (one, many)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    assert many.chain.steps == 3000


@pytest.mark.filterwarnings("ignore:max r / n")  # of two samples one holds the chain
def test_the_chain_goes_on_from_chunk_to_chunk():
    """Chunks of one: the first sample of each is offered to the state before, by the same rule as in one piece."""
    rng = np.random.default_rng(1)
    log_w = rng.normal(0, 1, 60)
    state = accumulate.init(np.zeros(5))
    position, states = 0, []
    for t in range(60):
        key = jax.random.key(t)
        state = accumulate.update(state, key, -log_w[t : t + 1], np.zeros(1), np.array([t]), 1.0)
        if t:
            index, _ = nmcmc(key, np.array([log_w[position], log_w[t]]))
            position = t if int(index[1]) else position
        states.append(position)
    np.testing.assert_array_equal(state.chain.head[1, :60], states)
    assert state.chain.accepted == len(set(states))


def test_bins_double_when_they_are_full(monkeypatch):
    monkeypatch.setattr(chain_stream, "BINS", 8)
    chain = chain_stream.init()._replace(bins=np.zeros((3, 8)))
    series = np.arange(3 * 50.0).reshape(3, 50)
    for part in np.split(np.arange(50), [3, 4, 33]):
        chain = chain_stream._fill_bins(chain, series[:, part])
    assert chain.bin_size == 8 and chain.steps == 50
    np.testing.assert_allclose(chain.bins[0, :7], [series[0, k : k + 8].sum() for k in range(0, 50, 8)])


def test_a_chain_that_never_moves_and_one_that_is_too_short():
    """One sample holds everything: no move, no error. Few moves: doubtful, where the warning was suppressed."""
    rng = np.random.default_rng(0)
    energy, m = rng.normal(size=3000), rng.integers(-8, 9, 3000).astype(float)

    def chain_of(log_q):
        sums = accumulate.init(np.zeros(5))
        for k, part in enumerate(np.split(np.arange(3000), 3)):
            sums = accumulate.update(sums, jax.random.key(k), log_q[part], energy[part], m[part], 1.0)
        return chain_stream.means(sums.chain)

    heavy = np.zeros(3000)
    heavy[0] = -1000.0
    stuck = chain_of(heavy)
    assert stuck.status.level == "not usable" and "no move was accepted in 3000 steps" in stuck.status.reasons
    assert all(each.error == math.inf for each in stuck.estimates)
    slow = chain_of(-energy + rng.normal(0, 4.0, 3000))
    assert "doubtful" in {each.status.level for each in slow.estimates} | {slow.status.level}
    good = chain_of(-energy - 3.0)
    assert good.status.level == "trusted" and {each.status.level for each in good.estimates} == {"trusted"}
    assert good.acceptance == 1 and good.burn_in == 30, "1 % is left out"


def test_stays_are_counted_over_chunks(monkeypatch):
    """The longest stay and the first one, as of the whole series of flags."""
    flags = np.array([1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1], bool)
    for sizes in ((12,), (1, 2, 3, 6), (4, 4, 4)):
        chain, rest = chain_stream.init(), flags
        for size in sizes:
            part, rest = rest[:size], rest[size:]
            chain = chain_stream._count_stays(chain, part)
            chain = chain._replace(accepted=chain.accepted + part.sum(), steps=chain.steps + size)
        assert (int(chain.first), int(chain.longest), int(chain.stay)) == (3, 5, 1), sizes
    chain = chain_stream.init()
    for part in ([1, 0, 0], [1, 0, 0], [0, 1]):  # a later stay of the length of the first
        chain = chain_stream._count_stays(chain, np.array(part, bool))
        chain = chain._replace(accepted=chain.accepted + sum(part), steps=chain.steps + len(part))
    assert (int(chain.first), int(chain.longest), int(chain.stay)) == (3, 4, 1)
