"""From flags to systems: energies, symmetries, exact solutions, folded tori, refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from kernels import ising
from kernels.ising import energies, symmetries
from projects.van import systems
from projects.van.config import TrainConfig

RNG = np.random.default_rng(0)


def of(**flags):
    return systems.create(TrainConfig(**flags))


def parabola(spins):
    """An energy of a user's own: it does not care for the sign."""
    return spins.sum((1, 2)) ** 2 / 10


def tilted(spins):
    """Fields tell up from down."""
    return -spins.sum((1, 2))


@pytest.mark.parametrize("kind", ["square", "triangular"])
@pytest.mark.parametrize("boundary", ["torus", "open"])
def test_lattices(kind, boundary):
    system = of(system=kind, rows=3, columns=4, coupling=-0.5, boundary=boundary)
    spins = RNG.choice([-1, 1], (5, 3, 4)).astype(np.int8)
    expected = energies.lattice_energy(spins, -0.5, lattice=kind, boundary=boundary)
    np.testing.assert_allclose(system.energy(jnp.asarray(spins)), expected, rtol=1e-6)
    brute = ising.brute_force(
        lambda s: energies.lattice_energy(s.reshape(-1, 3, 4), -0.5, lattice=kind, boundary=boundary), 12, 0.7
    )
    assert system.exact(0.7) == pytest.approx(brute, rel=1e-10)
    magnetisation = ising.brute_force_means(
        lambda s: energies.lattice_energy(s.reshape(-1, 3, 4), -0.5, lattice=kind, boundary=boundary),
        12, lambda s: np.abs(s.sum(1, dtype=int)), 0.7,
    )  # fmt: skip
    assert system.abs_m(0.7) == pytest.approx(float(magnetisation), rel=1e-10)


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (5, 6), (3, 7)])
@pytest.mark.parametrize("kind", ["square", "triangular"])
def test_folded_tori_are_the_same_system(kind, rows, columns):
    """The same energies of unfolded spins, bonds numbered alike, and no bond longer than two places."""
    system, plain = (of(system=kind, rows=rows, columns=columns, fold=fold) for fold in (True, False))
    spins = jnp.asarray(RNG.choice([-1, 1], (6, rows, columns)).astype(np.int8))
    np.testing.assert_array_equal(system.energy(spins), plain.energy(system.unfold(spins)))
    flat = np.asarray(spins).reshape(6, -1).astype(int)
    by_bonds = -(flat[:, system.bonds.first] * flat[:, system.bonds.second]).sum(1)
    np.testing.assert_array_equal(system.energy(spins), by_bonds)
    ends = [np.divmod(side, columns) for side in system.bonds[:2]]
    assert max(np.abs(ends[0][axis] - ends[1][axis]).max() for axis in (0, 1)) <= 2
    assert len(set(symmetries.folded(rows))) == rows


def test_couplings_from_a_file(tmp_path):
    J, h = energies.sk_couplings(6, 1), RNG.normal(size=6)
    np.savez(tmp_path / "plain.npz", J=J)
    np.savez(tmp_path / "field.npz", J=J, h=h)
    spins = RNG.choice([-1, 1], (4, 1, 6))
    plain = of(system=str(tmp_path / "plain.npz"), rows=1, columns=6)
    np.testing.assert_allclose(plain.energy(jnp.asarray(spins)), energies.pairwise(spins[:, 0], J), rtol=1e-5)
    assert plain.symmetric and plain.bonds is not None
    field = of(system=str(tmp_path / "field.npz"), rows=1, columns=6, z2=False)
    np.testing.assert_allclose(field.energy(jnp.asarray(spins)), energies.pairwise(spins[:, 0], J, h), rtol=1e-5)
    expected = ising.brute_force(lambda s: energies.pairwise(s, J, h), 6, 0.8)
    assert field.exact(0.8) == pytest.approx(expected, rel=1e-12)
    assert not field.symmetric and field.bonds is None
    with pytest.raises(ValueError, match="--noz2"):
        of(system=str(tmp_path / "field.npz"), rows=1, columns=6)
    with pytest.raises(ValueError, match="6 spins, the network 9"):
        of(system=str(tmp_path / "plain.npz"), rows=1, columns=9)


def test_named_couplings():
    hopfield = of(system="hopfield", rows=1, columns=8)
    assert hopfield.exact(1.0) == pytest.approx(ising.hopfield_two_patterns(8, 1.0))
    sk = of(system="sk", rows=1, columns=8, system_seed=4)
    expected = ising.brute_force(lambda s: energies.sk(s, 4), 8, 1.0)
    assert sk.exact(1.0) == pytest.approx(expected, rel=1e-12)


def test_a_users_function(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "my_energy", sys.modules[__name__])
    system = of(system="my_energy:parabola", rows=2, columns=3)
    assert float(system.energy(jnp.ones((1, 2, 3), jnp.int8))[0]) == pytest.approx(3.6)
    expected = ising.brute_force(lambda spins: parabola(spins.reshape(-1, 2, 3)), 6, 1.0)
    np.testing.assert_allclose(system.exact(1.0), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="my_energy:nothing"):
        of(system="my_energy:nothing")
    assert system.symmetric
    with pytest.raises(ValueError, match="tell up from down.*--noz2"):
        of(system="my_energy:tilted", rows=2, columns=3)
    assert not of(system="my_energy:tilted", rows=2, columns=3, z2=False).symmetric


@pytest.mark.parametrize("kind", ["square", "triangular"])
def test_a_torus_of_length_two(kind):
    """2 x 4: refused with flags that exist, and with --double_bonds exact by enumeration."""
    with pytest.raises(ValueError, match="--rows=2 --columns=4.*--boundary=open.*--double_bonds"):
        of(system=kind, rows=2, columns=4)
    with pytest.raises(ValueError, match="--boundary=open$"):
        of(system=kind, rows=1, columns=4, double_bonds=True)
    system = of(system=kind, rows=2, columns=4, double_bonds=True)
    brute = ising.brute_force(
        lambda s: energies.lattice_energy(s.reshape(-1, 2, 4), lattice=kind, double_bonds=True), 8, 0.6
    )
    assert system.exact(0.6) == pytest.approx(brute, rel=1e-10) and system.abs_m(0.6) is None
    spins = RNG.choice([-1, 1], (5, 2, 4)).astype(np.int8)
    flat = spins.reshape(5, -1).astype(int)
    by_bonds = -(flat[:, system.bonds.first] * flat[:, system.bonds.second]).sum(1)
    np.testing.assert_array_equal(system.energy(jnp.asarray(spins)), by_bonds)
    assert of(system=kind, rows=3, columns=4, double_bonds=True).exact(0.6) == of(system=kind, rows=3, columns=4).exact(
        0.6
    )


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"J": np.float64(1)}, "J of shape"),
        ({"J": np.zeros((4, 4)) * 1j}, "J of dtype complex"),
        ({"J": np.triu(np.ones((4, 4)), 1)}, "not symmetric"),
        ({"J": np.eye(4)}, "diagonal"),
        ({"J": np.zeros((4, 4)), "h": np.ones(3)}, "h of shape"),
        ({"J": np.zeros((5, 5))}, "--columns=5"),
        ({"K": np.zeros((4, 4))}, "holds K"),
    ],
)
def test_couplings_that_do_not_fit_are_refused(tmp_path, arrays, named):
    np.savez(tmp_path / "user.npz", **arrays)
    with pytest.raises(ValueError, match=named):
        of(system=str(tmp_path / "user.npz"), rows=1, columns=4, z2=False)
    with pytest.raises(ValueError, match="no such file"):
        of(system=str(tmp_path / "none.npz"), rows=1, columns=4)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"system": "kagome"}, "kagome"),
        ({"rows": 2}, "2 x 2"),
        ({"system": "sk", "rows": 1, "columns": 8, "fold": True}, "--fold"),
        ({"boundary": "open", "fold": True}, "--fold"),
        ({"system": "hopfield", "rows": 1, "columns": 7}, "n=7"),
        ({"epsilon": 0.5}, "epsilon"),
        ({"anneal": 0.9, "anneal_share": 0.5}, "--anneal=0.9 and --anneal_share=0.5"),
        ({"defended": True, "anneal": 0.0}, "--defended"),
        ({"plateau": (1.5, 100, 1e-4, 1e-6)}, "--plateau"),
    ],
)
def test_bad_input_is_refused(flags, named):
    with pytest.raises(ValueError, match=named):
        of(**flags)
