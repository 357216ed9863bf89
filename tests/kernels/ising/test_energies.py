"""Energies from the definition, bond by bond; the same in NumPy, JAX and from couplings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import ising
from kernels.ising import energies

RNG = np.random.default_rng(0)


def plain(spins, J, kind, boundary):
    """A loop over sites and bonds."""
    rows, columns = spins.shape
    total = 0.0
    for i in range(rows):
        for j in range(columns):
            for down, right in ((0, 1), (1, 0), (1, 1))[: 2 if kind == "square" else 3]:
                k, l = i + down, j + right  # noqa: E741
                if boundary == "torus":
                    k, l = k % rows, l % columns  # noqa: E741
                elif k >= rows or l >= columns:
                    continue
                total -= J * spins[i, j] * spins[k, l]
    return total


@pytest.mark.parametrize("boundary", energies.BOUNDARIES)
@pytest.mark.parametrize("kind", energies.LATTICES)
@pytest.mark.parametrize("shape", [(3, 3), (4, 6)], ids=str)
def test_lattices(kind, boundary, shape):
    spins = RNG.choice([-1, 1], (5, *shape)).astype(np.int8)
    expected = [plain(each.astype(int), -0.7, kind, boundary) for each in spins]
    actual = energies.lattice_energy(spins, -0.7, lattice=kind, boundary=boundary)
    np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-13)
    assert actual.dtype == np.float64
    traced = jax.jit(lambda s: energies.lattice_energy(s, -0.7, lattice=kind, boundary=boundary))(jnp.asarray(spins))
    np.testing.assert_allclose(traced, expected, rtol=1e-6, atol=1e-6)
    couplings = energies.lattice_couplings(*shape, -0.7, lattice=kind, boundary=boundary)
    np.testing.assert_allclose(energies.pairwise(spins.reshape(5, -1), couplings), expected, rtol=1e-12, atol=1e-12)


def test_short_names():
    spins = RNG.choice([-1, 1], (2, 3, 4))
    np.testing.assert_array_equal(energies.square(spins), energies.lattice_energy(spins))
    np.testing.assert_array_equal(
        energies.triangular(spins, -1.0, boundary="open"),
        energies.lattice_energy(spins, -1.0, lattice="triangular", boundary="open"),
    )


def test_ground_states():
    """All up: two bonds a site, three on a triangular lattice; its antiferromagnet has -1 a site at best."""
    up = np.ones((6, 6))
    assert energies.square(up) == -72 and energies.triangular(up) == -108
    stripes = np.where(np.arange(6)[:, None] % 2 == 0, 1, -1) * np.ones((1, 6), int)
    assert energies.triangular(stripes, -1.0) == -36


def test_fields_and_couplings():
    J = energies.sk_couplings(7, 5)
    h = RNG.normal(size=7)
    spins = RNG.choice([-1, 1], (4, 7))
    expected = [-sum(J[i, j] * s[i] * s[j] for i in range(7) for j in range(i)) - h @ s for s in spins]
    np.testing.assert_allclose(energies.pairwise(spins, J, h), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(energies.pairwise)(jnp.asarray(spins), J, h), expected, rtol=1e-5)
    np.testing.assert_allclose(energies.sk(spins, 5), expected + spins @ h, rtol=1e-12)


def test_couplings_that_are_traced():
    """Gradients in J and h, of spins that are NumPy's: -1/2 s s^T and -s."""
    spins = np.array([1, -1, 1])
    of_J, of_h = jax.grad(lambda J, h: energies.pairwise(spins, J, h), argnums=(0, 1))(jnp.zeros((3, 3)), jnp.ones(3))
    np.testing.assert_allclose(of_J, -np.outer(spins, spins) / 2)
    np.testing.assert_allclose(of_h, -spins)


def test_sizes_of_any_type():
    assert np.array_equal(energies.orthogonal_patterns(6.0, 2), energies.orthogonal_patterns(6, 2))
    assert np.array_equal(energies.sk_couplings(np.float32(6)), energies.sk_couplings(6))


def test_random_couplings():
    J = energies.sk_couplings(400, 1)
    assert np.array_equal(J, J.T) and not np.diagonal(J).any()
    assert np.array_equal(J, energies.sk_couplings(400, 1)) and not np.array_equal(J, energies.sk_couplings(400, 2))
    # 79,800 draws: five standard errors of a deviation.
    assert J[np.triu_indices(400, 1)].std() * 20 == pytest.approx(1, abs=5 / np.sqrt(2 * 79_800))


def test_patterns():
    for n in (2, 6, 100):
        patterns = energies.orthogonal_patterns(n, 4)
        assert patterns.shape == (2, n) and patterns[0].sum() == 0 and patterns[0] @ patterns[1] == 0
    J = energies.hopfield_couplings(patterns)
    assert J[3, 8] == pytest.approx((patterns[:, 3] * patterns[:, 8]).sum() / 100) and not np.diagonal(J).any()
    # At a pattern: -1/2 (n - 2), from the sum over pairs without the diagonal.
    assert energies.hopfield(patterns[0], patterns) == pytest.approx(-(100 - 2) / 2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: energies.square(np.ones((2, 5))), "2 x 5"),
        (lambda: energies.lattice_energy(np.ones((3, 3)), lattice="cubic"), "cubic"),
        (lambda: energies.lattice_energy(np.ones((3, 3)), boundary="free"), "free"),
        (lambda: energies.square(np.zeros((3, 3))), "spins"),
        (lambda: energies.square(np.ones(4)), r"spins of shape \[4\]"),
        (lambda: energies.pairwise(np.full(3, 2), np.zeros((3, 3))), "spins"),
        (lambda: energies.pairwise(np.ones(3), np.triu(np.ones((3, 3)), 1)), "not symmetric"),
        (lambda: energies.pairwise(np.ones(3), np.ones((3, 3))), "diagonal"),
        (lambda: energies.pairwise(np.ones(3), np.zeros((4, 4))), r"\[4, 4\]"),
        (lambda: energies.pairwise(np.ones(3), np.full((3, 3), np.nan)), "finite"),
        (lambda: energies.pairwise(np.ones(3), np.zeros((3, 3)), np.ones(2)), "h of shape"),
        (lambda: energies.orthogonal_patterns(9), "n=9"),
        (lambda: energies.square(np.ones((3, 3), bool)), "spins of dtype bool"),
        (lambda: energies.square(np.ones((3, 3)), np.nan), "J=nan"),
        (lambda: energies.pairwise(1, np.zeros((3, 3))), r"spins of shape \[\]"),
        (lambda: energies.pairwise(np.ones(2), np.array([[0, 1j], [1j, 0]])), "J of dtype complex"),
        (lambda: energies.lattice_bonds(2, 5), "rows=2, columns=5"),
        (lambda: energies.lattice_bonds(0, 5, boundary="open"), "rows=0"),
        (lambda: energies.lattice_bonds(3, 3, np.inf), "J=inf"),
        (lambda: energies.sk_couplings(4, -1), "seed=-1"),
        (lambda: energies.hopfield_couplings(np.zeros((2, 4))), "patterns"),
        (lambda: energies.sk_couplings(1), "n=1"),
        (lambda: ising.swendsen_wang(jax.random.key(0), np.zeros((4, 4)), 0.4), "spins"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
