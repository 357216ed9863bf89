"""Cluster Monte Carlo against enumeration: both signs of J, lattices, couplings. Seeds fixed; bounds are 6 sigma."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import ising
from kernels.ising import energies

SYSTEMS = {"square": 1.0, "triangular": -1.0}
CHAINS = 1024  # independent ones, so that errors need no correlation times
SIGMAS = 6  # two-sided: 2e-9 a comparison


def law_of_energies(energy_fn, n, beta):
    energy = np.concatenate([np.asarray(energy_fn(block)) for block in ising.states(n)])
    values, place = np.unique(np.round(energy, 9), return_inverse=True)
    law = np.bincount(place, np.exp(-beta * (energy - energy.min())))
    return values, law / law.sum()


def check_against(values, law, energy):
    """Compares every frequency with its probability: Poisson tails under 1e-8 in all."""
    counts = np.array([np.sum(np.abs(energy - value) < 1e-4) for value in values])
    assert counts.sum() == len(energy)
    expected = len(energy) * law
    assert np.all(np.abs(counts - expected) <= SIGMAS * np.sqrt(expected) + 8), (counts, expected)


@pytest.mark.parametrize("kind", ["square", pytest.param("triangular", marks=pytest.mark.slow)])
def test_swendsen_wang_has_the_law_of_enumeration(kind):
    J, beta = SYSTEMS[kind], 0.35

    def energy(spins):
        return energies.lattice_energy(spins.reshape(*spins.shape[:-1], 4, 4), J, lattice=kind)

    spins = jnp.ones((CHAINS, 4, 4), jnp.int8)
    spins = ising.swendsen_wang(jax.random.key(1), spins, beta, J, 60, lattice=kind)
    assert spins.dtype == jnp.int8 and spins.shape == (CHAINS, 4, 4)
    check_against(*law_of_energies(energy, 16, beta), np.asarray(energy(spins.reshape(-1, 16))))
    m = np.asarray(spins, np.int64).sum((1, 2))
    square = ising.brute_force_means(energy, 16, lambda s: s.sum(1, dtype=np.int64) ** 2, beta)
    assert np.mean(m**2) == pytest.approx(square, abs=SIGMAS * np.std(m**2) / np.sqrt(CHAINS))
    assert abs(np.mean(m)) < SIGMAS * np.std(m) / np.sqrt(CHAINS)


@pytest.mark.parametrize("kind", ["square", pytest.param("triangular", marks=pytest.mark.slow)])
def test_wolff_has_the_law_of_enumeration(kind):
    J, beta = SYSTEMS[kind], 0.35

    def energy(spins):
        return energies.lattice_energy(spins.reshape(*spins.shape[:-1], 4, 4), J, lattice=kind)

    start = jax.random.rademacher(jax.random.key(7), (CHAINS, 4, 4), jnp.int8)
    spins, sizes = ising.wolff(jax.random.key(2), start, beta, J, 120, lattice=kind)
    assert spins.dtype == jnp.int8 and sizes.shape == (120, CHAINS)
    check_against(*law_of_energies(energy, 16, beta), np.asarray(energy(spins.reshape(-1, 16))))
    if J > 0:  # the improved estimator of <m^2>
        square = ising.brute_force_means(energy, 16, lambda s: (s.sum(1, dtype=np.int64) / 16) ** 2, beta)
        each = np.asarray(sizes[60:]).mean(0) / 16
        assert each.mean() == pytest.approx(square, abs=SIGMAS * each.std() / np.sqrt(CHAINS))


def test_couplings_of_any_graph():
    J = energies.sk_couplings(8, 3)
    spins = ising.swendsen_wang(jax.random.key(3), jnp.ones((CHAINS, 8)), 0.8, J, 80)
    actual = np.asarray(energies.pairwise(np.asarray(spins, np.float64), J))
    exact = ising.brute_force(lambda s: energies.pairwise(s, J), 8, 0.8)
    assert actual.mean() == pytest.approx(8 * exact.u, abs=SIGMAS * actual.std() / np.sqrt(CHAINS))
    correlations = np.einsum("bi,bj->ij", spins, spins) / CHAINS
    target = ising.brute_force_means(lambda s: energies.pairwise(s, J), 8, lambda s: np.einsum("bi,bj->bij", s, s), 0.8)
    assert np.abs(correlations - target).max() < SIGMAS / np.sqrt(CHAINS)


def test_bonds_and_couplings_are_one_graph():
    """The same bonds in three forms give the same spins from the same key, up to the order of bonds."""
    bonds = energies.lattice_bonds(3, 3, 0.9)
    start = jnp.ones((4, 9), jnp.int8)
    by_bonds = ising.swendsen_wang(jax.random.key(4), start, 0.5, bonds, 5)
    by_lattice = ising.swendsen_wang(jax.random.key(4), start.reshape(4, 3, 3), 0.5, 0.9, 5)
    np.testing.assert_array_equal(by_bonds.reshape(4, 3, 3), by_lattice)


def test_extremes():
    """At beta 0 spins are free; where nothing thaws the whole lattice turns as one."""
    free = ising.swendsen_wang(jax.random.key(5), jnp.ones((2000, 3, 3), jnp.int8), 0.0, 1.0, 1)
    assert np.abs(np.asarray(free, float).mean(0)).max() < SIGMAS / np.sqrt(2000)
    frozen, sizes = ising.wolff(jax.random.key(6), jnp.ones((3, 16, 16), jnp.int8), 50.0, 1.0, 3)
    assert np.all(sizes == 256) and np.all(np.asarray(frozen) == -1)
    snake = ising.swendsen_wang(jax.random.key(6), jnp.ones((5, 1, 64)), 50.0, 1.0, 1, boundary="open")
    assert np.all(np.abs(np.asarray(snake).sum(-1)) == 64), "labels must travel along a chain of any length"
    same = ising.swendsen_wang(jax.random.key(6), jnp.ones((4, 4)), 0.5, 1.0, 0)
    assert np.all(np.asarray(same) == 1) and same.shape == (4, 4)


def test_series_of_an_observable():
    spins, series = ising.swendsen_wang(
        jax.random.key(8), jnp.ones((6, 4, 4), jnp.int8), 0.4, 1.0, 7, observable=energies.square
    )
    assert series.shape == (7, 6)
    np.testing.assert_array_equal(series[-1], energies.square(spins))
    np.testing.assert_array_equal(
        spins, ising.swendsen_wang(jax.random.key(8), jnp.ones((6, 4, 4), jnp.int8), 0.4, 1.0, 7)
    )


def of_bonds(*bonds):
    return ising.swendsen_wang(jax.random.key(0), np.ones(4), 0.4, energies.Bonds(*map(np.array, bonds)))


def test_couplings_that_are_traced():
    """A graph must be known, its strengths need not be."""
    bonds, start = energies.lattice_bonds(3, 3), jnp.ones((2, 9), jnp.int8)

    def sweep(strength):
        return ising.swendsen_wang(jax.random.key(1), start, 0.4, bonds._replace(strength=strength), 2)

    np.testing.assert_array_equal(jax.jit(sweep)(bonds.strength), sweep(bonds.strength))
    with pytest.raises(TypeError, match=r"give energies\.Bonds"):
        jax.jit(lambda J: ising.swendsen_wang(jax.random.key(1), start, 0.4, J))(np.zeros((9, 9)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ising.swendsen_wang(jax.random.key(0), np.full((4, 4), 2), 0.4), "spins hold 2"),
        (lambda: ising.swendsen_wang(jax.random.key(0), np.ones((4, 4)), -0.4), "beta"),
        (lambda: ising.swendsen_wang(jax.random.key(0), np.ones((2, 4)), 0.4), "2 x 4"),
        (lambda: ising.swendsen_wang(jax.random.key(0), np.ones(4), 0.4), "rows, columns"),
        (lambda: ising.swendsen_wang(jax.random.key(0), np.ones(4), 0.4, np.eye(4)), "diagonal"),
        (lambda: ising.swendsen_wang(jax.random.key(0), np.ones((4, 4)), 0.4, 1.0, -1), "n_sweeps=-1"),
        (lambda: ising.wolff(jax.random.key(0), np.ones((4, 4)), 0.4, 1.0, 1.5), "n_steps=1.5"),
        (lambda: ising.swendsen_wang(jax.random.key(0), np.ones((4, 4)), 0.4, np.nan), "J=nan"),
        (lambda: ising.swendsen_wang(jax.random.key(0), np.ones((4, 4), bool), 0.4), "spins of dtype bool"),
        (lambda: of_bonds([0], [4], [1.0]), "bond 0 joins sites 0 and 4"),
        (lambda: of_bonds([0, 2], [1, 2], [1.0, 1.0]), "bond 1 joins sites 2 and 2"),
        (lambda: of_bonds([0, 1], [1], [1.0]), "bonds of shapes"),
        (lambda: of_bonds([0], [1], [np.inf]), "J of bonds"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
