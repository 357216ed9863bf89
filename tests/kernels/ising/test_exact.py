"""Exact solutions against each other: enumeration, Kaufman, transfer matrices, triangular product, closed forms."""

import itertools
import math

import numpy as np
import pytest

from kernels import ising
from kernels.ising import energies, exact

TORI = [(3, 3), (4, 4), (3, 4), (3, 5)]
BETAS = [0.1, 0.3, 0.44, 1.2]


def enumerated(rows, columns, beta, J=1.0, **kind):
    """An enumeration from the definition: no code shared with the kernel but the energy, which is summed over bonds."""
    bonds = energies.lattice_bonds(rows, columns, J, **kind)
    states = np.array(list(itertools.product([1, -1], repeat=rows * columns)))
    energy = -(states[:, bonds.first] * states[:, bonds.second]) @ bonds.strength
    weights = np.exp(-beta * energy)
    z, n = weights.sum(), rows * columns
    u = weights @ energy / z
    variance = weights @ (energy - u) ** 2 / z
    return np.log(z), u / n, (np.log(z) + beta * u) / n, beta**2 * variance / n


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("shape", TORI[:3], ids=str)
def test_square_tori_agree(shape, beta):
    expected = enumerated(*shape, beta)
    assert ising.kaufman_torus(*shape, beta) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert ising.transfer_torus(*shape, beta) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("J", [1.0, -1.0])
@pytest.mark.parametrize("beta", [0.1, math.log(3) / 4, 0.44, 2.0])
@pytest.mark.parametrize("shape", TORI[:3], ids=str)
def test_triangular_tori_agree(shape, beta, J):
    expected = enumerated(*shape, beta, J, lattice="triangular")
    assert ising.triangular_torus(*shape, beta, J) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert ising.transfer_torus(*shape, beta, J, lattice="triangular") == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("size", [5, 6, 8])
@pytest.mark.parametrize("beta", [0.2, 1.0, 5.0])
def test_larger_tori_agree_with_transfer_matrices(size, beta):
    actual = ising.triangular_torus(size, size, beta, -1.0)
    other = ising.transfer_torus(size, size, beta, -1.0, lattice="triangular")
    assert actual == pytest.approx(other, rel=1e-12, abs=3e-11)
    assert ising.kaufman_torus(size, size, beta) == pytest.approx(
        ising.transfer_torus(size, size, beta), rel=1e-12, abs=3e-11
    )


@pytest.mark.parametrize("kind", ["square", "triangular"])
@pytest.mark.parametrize("shape", [(1, 5), (2, 2), (3, 4), (4, 3), (5, 1)], ids=str)
def test_open_lattices_agree(shape, kind):
    expected = enumerated(*shape, 0.7, -0.8, lattice=kind, boundary="open")
    assert ising.transfer_open(*shape, 0.7, -0.8, lattice=kind) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("boundary", ["torus", "open"])
@pytest.mark.parametrize("kind", ["square", "triangular"])
@pytest.mark.parametrize("shape", [(3, 3), (3, 4)], ids=str)
def test_law_of_the_magnetisation(shape, kind, boundary):
    n = shape[0] * shape[1]
    bonds = energies.lattice_bonds(*shape, lattice=kind, boundary=boundary)
    states = np.array(list(itertools.product([1, -1], repeat=n)))
    weights = np.exp(0.4 * (states[:, bonds.first] * states[:, bonds.second]).sum(1))
    expected = np.bincount((n - states.sum(1)) // 2, weights, n + 1) / weights.sum()
    values, law = ising.magnetisation_law(*shape, 0.4, lattice=kind, boundary=boundary)
    assert values.tolist() == list(range(n, -n - 1, -2))
    np.testing.assert_allclose(law, expected, atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "beta", "boundary"),
    [
        ((1, 1), 0.7, "open"),
        ((1, 5), 0.0, "open"),
        ((1, 5), 0.3, "open"),
        ((5, 3), 0.0, "open"),
        ((3, 3), 0.0, "torus"),
    ],
)
def test_laws_of_the_magnetisation_whose_transform_vanishes_somewhere(shape, beta, boundary):
    """Free spins and single rows: binomial laws, and those of a chain by its states."""
    n = shape[0] * shape[1]
    values, law = ising.magnetisation_law(*shape, beta, boundary=boundary)
    states = np.array(list(itertools.product([1, -1], repeat=n)))
    energy = -(states[:, 1:] * states[:, :-1]).sum(1) if 1 in shape else np.zeros(len(states))
    expected = np.bincount((n - states.sum(1)) // 2, np.exp(-beta * energy), n + 1)
    np.testing.assert_allclose(law, expected / expected.sum(), atol=1e-14)
    assert values[0] == n


def test_derivatives_of_large_tori_are_those_of_ln_z():
    """Central differences of ln Z, where enumeration cannot go; also through the critical point."""
    for solve in (ising.kaufman_torus, lambda *args: ising.triangular_torus(*args, -1.0)):
        for beta in (0.2, ising.CRITICAL_BETA, 0.9):
            step = 1e-4
            low, here, high = (solve(16, 12, beta + shift) for shift in (-step, 0, step))
            assert here.u * 192 == pytest.approx(-(high.ln_z - low.ln_z) / (2 * step), rel=1e-6)
            assert here.c_v == pytest.approx(-(beta**2) * (high.u - low.u) / (2 * step), rel=1e-5)
            assert here.s == pytest.approx(here.ln_z / 192 + beta * here.u, rel=1e-13)


def test_small_couplings_are_not_lost():
    """Where the four products cancel a series takes over; both are right at the seam (2 N tanh K is exact to K^3)."""
    for beta in (1e-9, 1e-5, 2.99e-4, 3.01e-4):
        actual = ising.kaufman_torus(5, 6, beta)
        assert actual.u == pytest.approx(-2 * beta, rel=1e-6)
        assert actual.c_v == pytest.approx(2 * beta**2, rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 4), (5, 2), (2, 2)], ids=str)
def test_small_couplings_with_double_bonds(shape):
    """u = -2 K to leading order, and -K more for each direction whose bonds are double."""
    extra = sum(1 for length in shape if length == 2)
    for beta in (1e-300, 1e-12, 1e-5, 2.99e-4):
        actual = ising.kaufman_torus(*shape, beta, double_bonds=True)
        assert actual.u == pytest.approx(-(2 + extra) * beta, rel=1e-3, abs=1e-15)


def test_large_couplings_leave_the_ground_states():
    assert ising.kaufman_torus(6, 8, 100.0) == pytest.approx((9600 + math.log(2), -2, math.log(2) / 48, 0), abs=1e-9)
    deep = ising.triangular_torus(6, 6, 40.0, -1.0)
    assert deep.u == pytest.approx(-1, abs=1e-12)
    assert deep.s == pytest.approx(ising.triangular_torus(6, 6, 20.0, -1.0).s, abs=1e-12)


@pytest.mark.parametrize("beta", [20.0, 50.0, 140.0, 200.0, 1e6])
@pytest.mark.parametrize("J", [1.0, -1.0])
def test_strong_couplings_count_the_ground_states(beta, J):
    """ln Z = ln(ground states) - beta E_0, frustrated or not, without overflow or a c_v below 0."""
    states = np.array(list(itertools.product([1, -1], repeat=9)))
    for kind, boundary in itertools.product(("square", "triangular"), ("torus", "open")):
        bonds = energies.lattice_bonds(3, 3, J, lattice=kind, boundary=boundary)
        energy = -(states[:, bonds.first] * states[:, bonds.second]) @ bonds.strength
        count, lowest = (energy == energy.min()).sum(), energy.min()
        transfer = ising.transfer_torus if boundary == "torus" else ising.transfer_open
        actual = [transfer(3, 3, beta, J, lattice=kind)]
        if boundary == "torus" and kind == "triangular":
            actual.append(ising.triangular_torus(3, 3, beta, J))
        if boundary == "torus" and kind == "square" and J > 0:
            actual.append(ising.kaufman_torus(3, 3, beta, J))
        for each in actual:
            assert each.ln_z == pytest.approx(np.log(count) - beta * lowest, rel=1e-14)
            assert each.u == pytest.approx(lowest / 9, rel=1e-14)
            assert each.s == pytest.approx(np.log(count) / 9, abs=2e-13)
            assert 0 <= each.c_v < 1e-11
    assert ising.onsager_bulk(beta, J) == pytest.approx((2 * beta, -2, 0, 0), abs=1e-12)


def test_heat_capacities_at_low_temperature():
    """Of a site's first excitations: ln Z / N = 2 K + x^4 + 2 x^6 + 9/2 x^8 + 12 x^10 with x = exp(-2 K)."""
    for beta in (2.0, 3.0):
        x = math.exp(-2 * beta)
        expected = beta**2 * (64 * x**4 + 288 * x**6 + 1152 * x**8 + 4800 * x**10)
        assert ising.kaufman_torus(24, 24, beta).c_v == pytest.approx(expected, rel=1e-6)


def test_entropies_at_low_temperature():
    """Counted from the ground states, so that beta U and ln Z do not cancel."""
    couplings = energies.hopfield_couplings(energies.orthogonal_patterns(12, 3))
    for beta in (1e3, 1e9):
        actual = ising.brute_force(lambda spins: energies.pairwise(spins, couplings), 12, beta)
        assert actual.s == pytest.approx(math.log(4) / 12, rel=1e-12)
        assert ising.hopfield_two_patterns(12, beta) == pytest.approx(actual, rel=1e-12, abs=1e-12)


def test_the_infinite_lattice_at_high_temperature():
    """u = -2 tanh K, c_v = 2 K^2 to leading order; the series of weak couplings meets the integrals at K = 0.01."""
    for beta in (1e-300, 1e-9, 1e-4):
        actual = ising.onsager_bulk(beta)
        assert actual.u == pytest.approx(-2 * beta, rel=1e-7) and actual.c_v == pytest.approx(2 * beta**2, rel=1e-6)
    low, high = ising.onsager_bulk(0.01), ising.onsager_bulk(0.010000001)
    slope = (high.u - low.u) / 1e-9
    assert slope == pytest.approx(-low.c_v / 0.01**2, rel=1e-4)


def test_antiferromagnets():
    """An even torus does not know the sign of J; an odd one is frustrated, which Kaufman's formula cannot tell."""
    assert ising.kaufman_torus(4, 6, 0.5, -1.0) == ising.kaufman_torus(4, 6, 0.5)
    with pytest.raises(ValueError, match="frustrated"):
        ising.kaufman_torus(5, 4, 0.5, -1.0)


def test_double_bonds_only_when_asked():
    with pytest.raises(ValueError, match="L=2"):
        ising.kaufman_torus(2, 4, 0.4)
    with pytest.raises(ValueError, match="M=2"):
        ising.triangular_torus(4, 2, 0.4)
    states = np.array(list(itertools.product([1, -1], repeat=8))).reshape(-1, 2, 4)
    energy = -(states * (np.roll(states, -1, 1) + np.roll(states, -1, 2))).sum((1, 2))
    expected = np.log(np.exp(-0.4 * energy).sum())
    assert ising.kaufman_torus(2, 4, 0.4, double_bonds=True).ln_z == pytest.approx(expected, rel=1e-13)
    np.testing.assert_array_equal(energies.lattice_energy(states, double_bonds=True), energy)
    for kind, solve in (("square", ising.kaufman_torus), ("triangular", ising.triangular_torus)):
        bonds = energies.lattice_bonds(2, 4, lattice=kind, double_bonds=True)
        flat = states.reshape(-1, 8)
        by_bonds = -(flat[:, bonds.first] * flat[:, bonds.second]).sum(1)
        expected = np.log(np.exp(-0.4 * by_bonds).sum())
        for actual in (
            solve(2, 4, 0.4, double_bonds=True),
            ising.transfer_torus(2, 4, 0.4, lattice=kind, double_bonds=True),
        ):
            assert actual.ln_z == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("n", [2, 6, 12])
@pytest.mark.parametrize("beta", [0.0, 0.7, 2.0])
def test_two_patterns(n, beta):
    patterns = energies.orthogonal_patterns(n, 3)
    actual = ising.hopfield_two_patterns(n, beta)
    expected = ising.brute_force(lambda spins: energies.hopfield(spins, patterns), n, beta)
    assert actual == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert actual == pytest.approx(
        ising.brute_force(lambda spins: energies.hopfield(spins, patterns), n, beta, z2=True), rel=1e-12, abs=1e-12
    )


def test_the_infinite_lattice():
    """Onsager's constants at the critical point, the logarithm of c_v, and what a large torus comes to away from it."""
    catalan = 0.915965594177219015
    critical = ising.onsager_bulk(ising.CRITICAL_BETA)
    assert critical.ln_z == pytest.approx(math.log(2) / 2 + 2 * catalan / math.pi, rel=1e-13)
    assert critical.u == pytest.approx(-math.sqrt(2), rel=1e-13)
    assert critical.c_v == math.inf
    for beta in (0.2, 0.35, 0.6, 1.0):
        torus = ising.kaufman_torus(128, 128, beta)
        bulk = ising.onsager_bulk(beta)
        assert bulk.ln_z + (math.log(2) / 128**2 if beta > 0.45 else 0) == pytest.approx(torus.ln_z / 128**2, rel=1e-11)
        assert bulk[1:2] + bulk[3:] == pytest.approx((torus.u, torus.c_v), rel=1e-8)


def test_residual_entropy():
    steps = (np.arange(100_000) + 0.5) / 100_000 * math.pi / 3
    assert np.log(2 * np.cos(steps)).mean() * 2 / 3 == pytest.approx(ising.RESIDUAL_ENTROPY, abs=1e-9)
    assert ising.triangular_torus(96, 96, 15.0, -1.0).s == pytest.approx(ising.RESIDUAL_ENTROPY, abs=1e-3)


def test_infinite_temperature():
    for actual in (
        ising.kaufman_torus(3, 4, 0.0), ising.triangular_torus(3, 4, 0.0), ising.transfer_torus(3, 4, 0.0),
        ising.transfer_open(3, 4, 0.0), ising.hopfield_two_patterns(12, 0.0),
        ising.brute_force(lambda spins: spins.sum(1), 12, 0.0),
    ):  # fmt: skip
        assert actual.ln_z == pytest.approx(12 * math.log(2)) and actual.s == pytest.approx(math.log(2))
        assert actual.c_v == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.int64, int, np.asarray])
def test_numbers_of_any_kind_are_computed_in_double(kind):
    """A beta and a coupling that come in float32 or whole give what the same numbers give as Python's floats."""
    assert ising.kaufman_torus(kind(4), kind(6), 0.4) == ising.kaufman_torus(4, 6, 0.4)
    assert ising.transfer_torus(kind(3), kind(4), 0.4) == ising.transfer_torus(3, 4, 0.4)
    assert ising.transfer_open(kind(3), kind(4), 0.4) == ising.transfer_open(3, 4, 0.4)
    beta = kind(1) if kind in (int, np.int64) else kind(0.4)
    J, plain = kind(-1), float(beta)
    for solve in (
        lambda beta, J: ising.kaufman_torus(4, 6, beta, J),
        lambda beta, J: ising.triangular_torus(4, 5, beta, J),
        lambda beta, J: ising.transfer_torus(3, 4, beta, J),
        lambda beta, J: ising.transfer_open(3, 4, beta, J, lattice="triangular"),
        ising.onsager_bulk,
        lambda beta, J: ising.hopfield_two_patterns(10, beta),
        lambda beta, J: ising.brute_force(lambda s: s[:, 0] * s[:, 1], 3, beta),
    ):
        assert solve(beta, J) == solve(plain, -1.0)
    law = ising.magnetisation_law(3, 4, beta, J)[1]
    np.testing.assert_array_equal(law, ising.magnetisation_law(3, 4, plain, -1.0)[1])


def test_states_are_all_states_once():
    seen = np.concatenate(list(ising.states(5, block=7)))
    assert seen.dtype == np.int8 and set(np.unique(seen)) == {-1, 1}
    assert len(np.unique(seen, axis=0)) == 32
    np.testing.assert_array_equal(seen, list(itertools.product([1, -1], repeat=5)))


def test_means_by_enumeration():
    h = np.array([0.3, -0.2, 0.1])
    actual = ising.brute_force_means(lambda spins: -(spins @ h), 3, lambda spins: spins, 1.5)
    np.testing.assert_allclose(actual, np.tanh(1.5 * h), rtol=1e-13)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ising.brute_force(lambda s: s.sum(1), 25), "n=25"),
        (lambda: ising.brute_force(lambda s: s.sum(1), 0), "n=0"),
        (lambda: ising.brute_force(lambda s: s.sum(1) * np.nan, 3), "energy_fn"),
        (lambda: ising.brute_force(lambda s: s.sum(), 3), "energy_fn"),
        (lambda: ising.kaufman_torus(4, 4, -0.1), "beta=-0.1"),
        (lambda: ising.kaufman_torus(4, 4, math.nan), "beta=nan"),
        (lambda: ising.kaufman_torus(4.5, 4, 0.1), "L=4.5"),
        (lambda: ising.kaufman_torus(4, 4, 1e300, 1e300), "beta=1e\\+300, J=1e\\+300"),
        (lambda: ising.kaufman_torus("4", 4, 0.1), "L='4'"),
        (lambda: ising.kaufman_torus(4, 4, "0.1"), "beta='0.1'"),
        (lambda: ising.transfer_open(3, 0, 0.1), "M=0"),
        (lambda: ising.brute_force(lambda s: s.sum(1), 4.5), "n=4.5"),
        (lambda: ising.brute_force(lambda s: s.sum(1), 4, z2=True), "z2=True"),
        (lambda: ising.triangular_torus(1, 4, 0.1), "L=1"),
        (lambda: ising.transfer_torus(11, 11, 0.1), "L=11"),
        (lambda: ising.transfer_torus(2, 4, 0.1), "L=2"),
        (lambda: ising.transfer_torus(4, 4, 0.1, lattice="kagome"), "kagome"),
        (lambda: ising.transfer_open(15, 15, 0.1), "L=15"),
        (lambda: ising.magnetisation_law(4, 4, 0.1, boundary="cylinder"), "cylinder"),
        (lambda: ising.hopfield_two_patterns(7, 0.1), "n=7"),
        (lambda: ising.onsager_bulk(-1.0), "beta=-1"),
        (lambda: ising.transfer_open(3, 3, 0.4, math.nan), "J=nan"),
        (lambda: ising.kaufman_torus(4, 4, 0.4, math.inf), "J=inf"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named.replace("(", r"\(")):
        call()


def test_blocks_of_states_are_one_enumeration(monkeypatch):
    bonds = energies.lattice_bonds(3, 4)

    def energy(spins):
        return -(spins[:, bonds.first].astype(int) * spins[:, bonds.second]).sum(1)

    whole = ising.brute_force(energy, 12, 0.5)
    monkeypatch.setattr(exact, "BLOCK", 100)
    monkeypatch.setattr(exact.states, "__defaults__", (100,))
    assert ising.brute_force(energy, 12, 0.5) == pytest.approx(whole, rel=1e-14)
    assert ising.brute_force(energy, 12, 0.5, z2=True) == pytest.approx(whole, rel=1e-14)


def test_forbidden_states_have_no_weight():
    """Three up of six, in a field on the first spin: ten such states have it up, ten down."""

    def energy(spins):
        spins = np.asarray(spins)
        return np.where((spins == 1).sum(1) == 3, -0.3 * spins[:, 0], np.inf)

    for beta in (0.0, 0.7, 5.0):
        actual = exact.brute_force(energy, 6, beta)
        assert actual.ln_z == pytest.approx(np.log(10 * 2 * np.cosh(0.3 * beta)), abs=1e-12)
        assert 6 * actual.u == pytest.approx(-0.3 * np.tanh(0.3 * beta), abs=1e-12)
        mean = exact.brute_force_means(energy, 6, lambda spins: spins.sum(1), beta)
        assert mean == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="forbids every state"):
        exact.brute_force(lambda spins: np.full(len(spins), np.inf), 3)
    for bad in (np.nan, -np.inf):
        with pytest.raises(ValueError, match="nan or -inf"):
            exact.brute_force(lambda spins, bad=bad: np.where(spins[:, 0] == 1, bad, 0.0), 3)
