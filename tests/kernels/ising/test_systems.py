"""Systems of any energy: what is refused, forbidden states, exact solutions; symmetries that leave the energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.ising import symmetries, systems

RNG = np.random.default_rng(0)


def parabola(spins):
    """An energy of a user's own: it does not care for the sign."""
    return spins.sum((1, 2)) ** 2 / 10


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("energy", "named"),
    [
        (3, "energy=3"),
        (lambda spins: spins.sum(), r"of shape \[\]"),
        (lambda spins: spins.sum((1, 2))[:, None] ** 2, r"of shape \[8, 1\]"),
        (lambda spins: spins.sum((1, 2)) / 0, "is -inf of one of 8 states"),
        (lambda spins: jnp.sqrt(spins.sum((1, 2))), "is nan of one of 8 states"),
        (lambda spins: None, "object"),
        (
            lambda spins: -np.abs(np.asarray(spins)).sum((1, 2)),
            "cannot be traced .TracerArrayConversionError.*jax.numpy",
        ),
        (lambda spins: spins.sum((1, 2)) if spins[0, 0, 0] > 0 else -spins.sum((1, 2)), "cannot be traced"),
        (lambda spins: spins[spins > 0], "cannot be traced .NonConcreteBooleanIndexError"),
        (lambda spins: spins[range(int(spins[0, 0, 0]))], "cannot be traced"),
    ],
)
def test_what_is_no_energy_is_refused(energy, named):
    """An energy [n, 1] or [] would broadcast to a loss of another shape and train without a word."""
    with pytest.raises(ValueError, match=named):
        systems.of_energy(energy, 2, 3)


def test_a_scalar_energy_is_not_called_infinite():
    with pytest.raises(ValueError, match=r"is float32 of shape \[\]: expected \[8\], one number a state") as refusal:
        systems.of_energy(lambda spins: spins.sum(), 2, 3)
    assert "finite" not in str(refusal.value)


def test_an_energy_in_numpy_by_a_callback():
    """As the refusal advises; in jit, too."""
    system = systems.of_energy(systems.from_numpy(lambda spins: (np.asarray(spins).sum((1, 2)) ** 2) / 10), 2, 3)
    spins = jnp.asarray(RNG.choice([-1, 1], (5, 2, 3)).astype(np.int8))
    np.testing.assert_allclose(jax.jit(system.energy)(spins), parabola(np.asarray(spins, np.float32)), rtol=1e-6)
    assert system.symmetric


def test_energies_that_forbid_states():
    """+inf is a constraint. What is symmetric shows on allowed states; where none of those tried is, nothing does."""

    def no_two_neighbours(spins):  # hard squares: up is occupied
        up = spins > 0
        clash = (up & jnp.roll(up, 1, 1)).any((1, 2)) | (up & jnp.roll(up, 1, 2)).any((1, 2))
        return jnp.where(clash, jnp.inf, -spins.sum((1, 2)))

    assert not systems.of_energy(no_two_neighbours, 4, 4).symmetric

    def balanced(spins):
        return jnp.where(spins.sum((1, 2)) == 0, 0.0, jnp.inf)

    assert systems.of_energy(balanced, 2, 2).symmetric
    assert not systems.of_energy(lambda spins: jnp.full(len(spins), jnp.inf), 2, 2).symmetric


def test_any_energy_is_solved_exactly_where_few_spins_have_it():
    """Weights cannot see a part of the law that was lost; the exact value can."""

    def energy(spins):
        flat = spins.reshape(len(spins), -1)
        return jnp.where((flat == 1).sum(1) == 3, -0.1 * flat[:, 0], jnp.inf)

    exact = systems.of_energy(energy, 3, 4).exact(1.0)
    assert exact.ln_z == pytest.approx(np.log(55 * np.exp(0.1) + 165 * np.exp(-0.1)), abs=1e-5)
    assert systems.of_energy(energy, 5, 5).exact(1.0) is None
    with pytest.raises(ValueError, match="is bfloat16: return float32"):
        systems.of_energy(lambda spins: spins.sum((1, 2)).astype(jnp.bfloat16), 3, 4)


@pytest.mark.parametrize("kind", ["square", "triangular"])
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (3, 5)])
@pytest.mark.parametrize("fold", [False, True])
def test_images_leave_the_energy(kind, rows, columns, fold):
    system = systems.lattice(kind, rows, columns)
    system = systems.fold(system) if fold else system
    images = system.images(12)
    assert len({(tuple(source), int(sign)) for source, sign in zip(images.source, images.sign, strict=True)}) == 12
    spins = RNG.choice([-1, 1], rows * columns).astype(np.int8)
    mapped = images.sign[:, None] * spins[images.source]
    energy = np.asarray(system.energy(jnp.asarray(mapped.reshape(-1, rows, columns))))
    np.testing.assert_array_equal(energy, energy[0])
    identity = np.arange(rows * columns) + 0 * images.source
    np.testing.assert_array_equal(np.take_along_axis(images.source, images.inverse, 1), identity)


def test_there_are_only_so_many_images():
    system = systems.sk(5)
    assert system.images(1) is None and system.images(2).sign.tolist() == [1, -1]
    with pytest.raises(ValueError, match="images=3: this system has no more than 2"):
        system.images(3)
    assert symmetries.images(1, 5, 1, sign=False) is None


def test_a_torus_without_couplings_is_folded():
    def columns(spins):  # the bonds of a torus along its rows alone
        return -(spins * jnp.roll(spins, -1, 2)).sum((1, 2))

    system = systems.of_energy(columns, 3, 4)
    assert system.bonds is None
    turned = systems.fold(system)
    assert turned.folded and turned.bonds is None
    spins = systems.trial_states(3, 4)
    np.testing.assert_array_equal(turned.energy(spins), system.energy(turned.unfold(spins)))
    assert not np.array_equal(turned.energy(spins), system.energy(spins))
