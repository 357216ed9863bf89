"""The inverse Ising problem: exact correlations, expansions at their limits, pairs given all other spins."""

import numpy as np
import pytest

from kernels import ising
from kernels.ising import energies, inverse


def test_correlations_by_enumeration():
    J = energies.sk_couplings(8, 0)
    pairs = ising.brute_force_means(lambda s: energies.pairwise(s, J), 8, lambda s: np.einsum("bi,bj->bij", s, s), 1.0)
    np.testing.assert_allclose(inverse.exact_correlations(J, 1.0), pairs, atol=1e-12)
    with pytest.raises(ValueError, match="beta=nan"):
        inverse.exact_correlations(np.zeros((3, 3)), np.nan)


def test_expansions_are_exact_where_they_should_be():
    """Two spins: independent pairs are all there is. Weak couplings: all three to first order."""
    J = np.array([[0, 0.7], [0.7, 0]])
    C = inverse.exact_correlations(J, 1.3)
    assert inverse.expansions(C, 1.3)["independent pairs"][0, 1] == pytest.approx(0.7, rel=1e-12)
    assert inverse.expansions(C, 1.3)["Sessak-Monasson"][0, 1] == pytest.approx(0.7, rel=1e-12)
    weak = 0.01 * energies.sk_couplings(6, 1)
    for couplings in inverse.expansions(inverse.exact_correlations(weak, 1.0), 1.0).values():
        assert np.sqrt(np.mean(np.square(weak - couplings))) < 1e-4
    with pytest.raises(ValueError, match="C is singular"):
        inverse.expansions(np.ones((3, 3)), 1.0)


def test_pairs_given_all_others():
    """The mean of s_i s_j over its four values with all other spins fixed, from the Boltzmann law."""
    J, beta = energies.sk_couplings(5, 3), 0.9
    spins = np.random.default_rng(0).choice([-1.0, 1.0], (4, 5))
    means = np.asarray(inverse.pair_means(spins, J, beta))
    for n, state in enumerate(spins):
        for i in range(5):
            for j in set(range(5)) - {i}:
                weights, total = [], 0.0
                for a in (-1, 1):
                    for b in (-1, 1):
                        changed = state.copy()
                        changed[i], changed[j] = a, b
                        weights.append(np.exp(-beta * energies.pairwise(changed, J)))
                        total += a * b * weights[-1]
                assert means[n, i, j] == pytest.approx(total / sum(weights), rel=1e-5, abs=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("C", "beta", "named"),
    [
        (np.ones((2, 3)), 1.0, r"C of shape \[2, 3\]"),
        (np.eye(1), 1.0, r"C of shape \[1, 1\]"),
        (np.triu(np.ones((3, 3))), 1.0, "C holds no"),
        (np.full((3, 3), np.nan), 1.0, "C holds no"),
        (np.full((3, 3), 0.5), 1.0, "C holds no"),
        (3 - 2 * np.eye(3), 1.0, "C holds no"),
        (np.eye(3), 0.0, "beta=0"),
        (np.eye(3), np.nan, "beta=nan"),
    ],
)
def test_bad_correlations_are_refused(C, beta, named):
    with pytest.raises(ValueError, match=named):
        inverse.expansions(C, beta)
