"""One step along a boundary: its points against a float64 twin, its step sizes against queues, images apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import alpha_stable, boundary_attack
from tests.kernels.oracles import boundary_attack as oracle

BATCH, SIZE = 6, 40
LAWS = [("coordinatewise", 2.0), ("coordinatewise", 1.0), ("coordinatewise", 0.3), ("isotropic", 0.7)]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def case():
    generator = np.random.default_rng(0)
    x0 = generator.uniform(0, 1, (BATCH, SIZE))
    x = np.clip(x0 + generator.normal(0, 0.3, x0.shape), 0, 1)
    delta, eps = generator.uniform(0.01, 0.3, (2, BATCH))
    keys = boundary_attack.image_keys(jax.random.key(3), np.arange(BATCH))
    return keys, x0, x, delta, eps


def proposed(case, alpha, noise, lo=0.0, hi=1.0, **options):
    arrays = map(jnp.asarray, case[1:])
    return tuple(map(np.asarray, boundary_attack.propose(case[0], *arrays, alpha, noise, lo, hi, **options)))


@pytest.mark.parametrize(("noise", "alpha"), LAWS)
def test_points_are_those_of_the_formula(case, noise, alpha):
    keys, x0, x, delta, eps = case
    actual = proposed(case, alpha, noise)
    for index in range(BATCH):
        eta = np.asarray(boundary_attack.draw_noise(keys[index], alpha, noise, SIZE, jnp.float64)[0])
        expected = oracle.step_points(eta, x0[index], x[index], delta[index], eps[index], 0, 1)
        np.testing.assert_allclose([point[index] for point in actual], expected, atol=1e-12)


@pytest.mark.parametrize(("noise", "alpha"), LAWS)
def test_without_an_active_box_the_first_point_stays_on_the_sphere(case, noise, alpha):
    _, x0, x, _, eps = case
    xs, xc = proposed(case, alpha, noise, -100.0, 100.0)
    distance = np.linalg.norm(x - x0, axis=1)
    np.testing.assert_allclose(np.linalg.norm(xs - x0, axis=1), distance, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(xc - x0, axis=1), distance * (1 - eps), rtol=1e-12)


def test_the_isotropic_control_has_the_directions_of_the_gaussian_one(case):
    """The factor of a vector cancels: the same key gives the same direction for every alpha."""
    for alpha in (0.2, 1.0, 2.0):
        np.testing.assert_allclose(proposed(case, alpha, "isotropic"), proposed(case, 1.3, "isotropic"), atol=1e-12)
    assert (
        np.abs(np.subtract(proposed(case, 1.0, "coordinatewise"), proposed(case, 2.0, "coordinatewise"))).max() > 0.01
    )


def test_the_radius_law_changes_the_length_and_keeps_the_direction(case):
    keys, x0, x, delta, _ = case
    xs = proposed(case, 1.0, "radius", -100.0, 100.0)[0]
    distance = np.linalg.norm(x - x0, axis=1)
    angle = np.arccos(np.sum((xs - x0) * (x - x0), 1) / distance**2)
    factor = np.tan(angle) / delta
    sizes = [jax.random.fold_in(key, 1) for key in keys]
    sample = np.exp([alpha_stable.sas_log(key, 1.0, (), jnp.float64)[1] for key in sizes])
    np.testing.assert_allclose(factor, np.minimum(sample, boundary_attack.RADIUS_CAP), rtol=1e-2)  # the median is 1


def test_medians_are_those_of_the_laws():
    from scipy import stats

    assert float(boundary_attack.log_median(1.0)) == pytest.approx(0, abs=2e-3)
    assert float(boundary_attack.log_median(2.0)) == pytest.approx(np.log(stats.norm.ppf(0.75) * 2**0.5), abs=1e-3)
    for alpha in (0.5, 1.5):
        draws = alpha_stable.sas_log(jax.random.key(1), alpha, (200_000,), jnp.float64)[1]
        # The density of ln|X| at its median is above 0.2 alpha: six deviations, false alarms below 1e-8.
        assert float(boundary_attack.log_median(alpha)) == pytest.approx(np.median(draws), abs=0.034 / alpha)


def test_alpha_may_be_an_array_or_traced(case):
    keys, x0, x, delta, eps = case
    alphas = jnp.linspace(0.5, 2, BATCH)
    mixed = proposed(case, alphas, "coordinatewise")
    for index, alpha in enumerate(alphas):
        alone = proposed(case, float(alpha), "coordinatewise")
        np.testing.assert_allclose([m[index] for m in mixed], [a[index] for a in alone], atol=1e-12)
    many = jax.jit(jax.vmap(lambda a: boundary_attack.propose(keys, x0, x, delta, eps, a, "coordinatewise", 0.0, 1.0)))
    np.testing.assert_allclose(many(alphas)[1][2], proposed(case, float(alphas[2]), "coordinatewise")[1], atol=1e-12)


def test_tiny_alpha_gives_finite_points_in_float32(case):
    keys, *arrays = case
    arrays = [jnp.asarray(array, jnp.float32) for array in arrays]
    steps = 20
    keys = boundary_attack.step_keys(jnp.tile(keys, steps), jnp.repeat(jnp.arange(steps), BATCH))
    arrays = [jnp.concatenate([array] * steps) for array in arrays]
    for alpha in (0.1, 0.2):
        points = boundary_attack.propose(keys, *arrays, np.float32(alpha), "coordinatewise", 0.0, 1.0)
        assert all(np.isfinite(point).all() and point.dtype == np.float32 for point in points)


def test_noise_is_that_of_the_sampler_up_to_a_scale(case):
    for alpha in (0.1, 0.6, 1.0, 2.0):
        eta, factor = boundary_attack.draw_noise(case[0], alpha, "coordinatewise", SIZE, jnp.float64)
        sign, log_abs = jax.vmap(lambda key, alpha=alpha: alpha_stable.sas_log(key, alpha, (SIZE,)))(case[0])
        np.testing.assert_array_equal(np.sign(eta), sign)
        scale = np.log(np.abs(eta)) - log_abs
        np.testing.assert_allclose(scale, np.broadcast_to(scale[:, :1], scale.shape), atol=1e-9)
        assert np.all(factor == 1) and np.abs(eta).max() < 2.0**40


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
def test_points_do_not_depend_on_how_the_noise_is_scaled(case, dtype):
    keys, *arrays = case
    x0, x, delta, eps = (jnp.asarray(array, dtype) for array in arrays)
    for alpha in (0.5, 1.0, 2.0):
        actual = []
        for is_heavy in (False, True):
            eta, _ = boundary_attack.draw_noise(keys, alpha, "coordinatewise", SIZE, dtype, is_heavy)
            actual.append(boundary_attack.points(x0, x, boundary_attack.norms(x - x0), eta, delta, eps, (0.0, 1.0))[:2])
        np.testing.assert_array_equal(actual[0], actual[1])


def test_noise_without_a_tangent_part_leaves_the_image(monkeypatch):
    x0, x = np.zeros((1, 4)), np.array([[0.5, 0, 0, 0]])
    parallel = (jnp.ones(4), jnp.array([0, -800, -800, -800]))
    monkeypatch.setattr(alpha_stable, "sas_parts", lambda *arguments: parallel)
    keys = boundary_attack.image_keys(jax.random.key(0), np.arange(1))
    for point in boundary_attack.propose(
        keys, x0, x, np.full(1, 0.1), np.full(1, 0.1), 0.5, "coordinatewise", 0.0, 1.0
    ):
        np.testing.assert_array_equal(point, x)


@pytest.mark.parametrize("rates", [(0.9, 0.5), (0.3, 0.2), (0.05, 0.9), (0.45, 0.05), (0.5, 0.25)])
@pytest.mark.parametrize("conditional", [False, True])
def test_step_sizes_follow_the_windows(rates, conditional):
    generator = np.random.default_rng(1)
    outcomes = generator.uniform(size=(1500, 2)) < rates
    asked = generator.uniform(size=1500) < 0.7
    expected, pace = oracle.Steps(conditional=conditional), boundary_attack.initial_pace(2, dtype=jnp.float64)

    def after(pace, given):
        is_asked, (on_sphere, later) = given
        choice = jnp.array([is_asked, False])  # the second image is never asked
        pace = boundary_attack.record(pace, choice, jnp.full(2, on_sphere), jnp.full(2, later), conditional)
        return boundary_attack.adapt(pace), None

    final, _ = jax.lax.scan(after, pace, (jnp.asarray(asked), jnp.asarray(outcomes)))
    for is_asked, (on_sphere, later) in zip(asked, outcomes, strict=True):
        if is_asked:
            expected.note(on_sphere, later)
    np.testing.assert_allclose([final.delta[0], final.eps[0]], [expected.delta, expected.eps], rtol=1e-9)
    assert (final.delta[1], final.eps[1]) == (0.01, 0.01)


@pytest.mark.slow
def test_an_image_is_the_same_in_any_batch(case):
    together = proposed(case, 0.8, "coordinatewise")
    choice = np.array([4, 1])
    apart = proposed(tuple(entry[choice] for entry in case), 0.8, "coordinatewise")
    np.testing.assert_allclose(apart, [point[choice] for point in together], rtol=0, atol=1e-15)


def test_one_key_stands_for_those_of_the_images(case):
    _, *arrays = case
    expected = proposed(case, 0.8, "coordinatewise")
    for key in (jax.random.key(3), jax.random.key_data(jax.random.key(3))):
        np.testing.assert_array_equal(proposed((key, *arrays), 0.8, "coordinatewise"), expected)
    everywhere = proposed((case[0], *arrays[:2], 0.1, np.full(BATCH, 0.2)), 0.8, "coordinatewise")
    sizes = np.full(BATCH, 0.1), np.full(BATCH, 0.2)
    np.testing.assert_array_equal(everywhere, proposed((case[0], *arrays[:2], *sizes), 0.8, "coordinatewise"))


def test_half_types_are_computed_in_single(case):
    keys, x0, x, delta, eps = case
    x0, x = jnp.asarray(x0, "bfloat16"), jnp.asarray(x, "bfloat16")
    single = boundary_attack.propose(
        keys, x0.astype("float32"), x.astype("float32"), delta, eps, 1.0, "radius", 0.0, 1.0
    )
    half = boundary_attack.propose(keys, x0, x, delta, eps, 1.0, "radius", 0.0, 1.0)
    for actual, expected in zip(half, single, strict=True):
        np.testing.assert_array_equal(actual, expected.astype("bfloat16"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise": "uniform"}, "noise is 'uniform'"),
        ({"alpha": 0.0}, "alpha=0.0: expected"),
        ({"alpha": 2.1}, "alpha=2.1: expected"),
        ({"alpha": np.ones(2)}, r"alpha has shape \(2,\)"),
        ({"lo": 1.0}, "lo is 1.0 and hi 1.0"),
        ({"cap": 0.0, "noise": "length"}, "cap=0.0: expected"),
    ],
)
def test_bad_arguments_are_named(case, change, words):
    with pytest.raises(ValueError, match=words):
        proposed(case, **({"alpha": 1.0, "noise": "coordinatewise"} | change))


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_do_not_fit_are_named(case):
    keys, x0, x, delta, eps = case
    for changed, words in (
        ((keys[:2], x0, x, delta, eps), r"key has shape \(2,\)"),
        ((keys, x0[:2], x, delta, eps), r"x0 has shape \(2, 40\)"),
        ((keys, x0, x, delta[:2], eps), r"delta has shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            proposed(changed, 1.0, "coordinatewise")


def test_the_length_law_is_the_coordinatewise_one_with_the_lengths_of_its_draws(case):
    keys, size = case[0], SIZE
    for alpha in (0.4, 1.0, 1.7, 2.0):
        eta, ones = boundary_attack.draw_noise(keys, alpha, "coordinatewise", size, jnp.float64)
        same, factor = boundary_attack.draw_noise(keys, alpha, "length", size, jnp.float64, cap=3.0)
        np.testing.assert_array_equal(same, eta)
        sample = np.stack([alpha_stable.sas(key, alpha, (size,)) for key in keys])
        median = np.exp(alpha_stable.log_median_length(alpha, size))
        np.testing.assert_allclose(factor, np.minimum(np.linalg.norm(sample, axis=1) / median, 3.0), rtol=1e-4)
        assert np.all(ones == 1)


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
def test_factors_of_the_length_law_do_not_depend_on_how_the_noise_is_scaled(case, dtype):
    for alpha in (0.5, 1.0, 2.0):
        actual = [
            boundary_attack.draw_noise(case[0], alpha, "length", SIZE, dtype, heavy)[1] for heavy in (False, True)
        ]
        np.testing.assert_array_equal(*actual)
    tiny = boundary_attack.draw_noise(case[0], 0.05, "length", SIZE, dtype)[1]
    assert np.all((tiny >= 0) & (tiny <= 10)) and len(np.unique(tiny)) > 1  # draws that leave float32's range


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.6, 1.0, 1.5])
def test_half_of_the_lengths_are_above_one_and_the_cap_holds(alpha):
    """20,000 draws: a share six deviations from 1/2 has a probability below 1e-8."""
    keys = jax.random.split(jax.random.key(5), 20_000)
    factor = np.asarray(boundary_attack.draw_noise(keys, alpha, "length", 20, jnp.float64, cap=4.0)[1])
    assert abs(np.mean(factor > 1) - 0.5) < 3 / np.sqrt(len(keys))
    assert factor.max() == 4.0


def test_a_step_that_the_box_cuts_is_lengthened_again():
    """Heavy steps in many dimensions, as on photographs: the box leaves two thirds of them."""
    generator = np.random.default_rng(1)
    x0 = generator.uniform(0, 1, (2, 20_000))
    x = np.clip(x0 + generator.normal(0, 0.13, x0.shape), 0, 1)
    delta, eps = np.full(2, 0.05), np.zeros(2)
    keys = boundary_attack.image_keys(jax.random.key(0), np.arange(2))
    distance = boundary_attack.norms(x - x0)
    for alpha, most in ((0.5, 0.7), (1.0, 0.99)):
        eta, _ = boundary_attack.draw_noise(keys, alpha, "coordinatewise", 20_000, jnp.float64)
        for rescale, least, highest in ((False, 0.1, most), (True, 0.97, 1.01)):
            xs, _, realised = boundary_attack.points(x0, x, distance, eta, delta, eps, (0.0, 1.0), rescale)
            assert np.all((realised > least) & (realised < highest)), (alpha, rescale, realised)
            length = distance * np.sqrt(2 - 2 / np.sqrt(1 + delta**2))
            np.testing.assert_allclose(realised, boundary_attack.norms(xs - x) / length, rtol=1e-9)
            assert xs.min() >= 0 and xs.max() <= 1
    free = boundary_attack.points(x0, x, distance, eta, delta, eps, (-1e9, 1e9), True)
    np.testing.assert_allclose(free[2], 1, rtol=1e-9)
    np.testing.assert_allclose(
        free[0], boundary_attack.points(x0, x, distance, eta, delta, eps, (-1e9, 1e9))[0], atol=1e-9
    )
    for rescale in (False, True):  # the same through the door
        actual = boundary_attack.propose(keys, x0, x, delta, eps, 1.0, "coordinatewise", 0.0, 1.0, rescale=rescale)
        expected = boundary_attack.points(x0, x, distance, eta, delta, eps, (0.0, 1.0), rescale)[:2]
        np.testing.assert_allclose(actual, expected, atol=1e-12)
