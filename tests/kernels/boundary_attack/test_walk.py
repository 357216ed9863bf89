"""Where the walk leads: the closed-form optimum of linear victims, and the law of the Gaussian attack."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import stats

from kernels.boundary_attack import AttackConfig, attack
from tests.kernels.boundary_attack.linear import Linear
from tests.kernels.oracles import boundary_attack as oracle

ALPHAS = (0.5, 0.8, 1.0, 1.2, 1.5, 1.8, 2.0)
FREE = AttackConfig(budget=10_000, lo=-100.0, hi=100.0, batch_size=4, chunk=1000)
SMALLEST = 1e-6  # p-value
BUDGET = 300  # queries of the walks whose distribution is compared


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def check_optimum(victim, images, config, alphas):
    """Attacks with every alpha, in one program; none below the optimum in the whole trace.

    With two classes all are within 1 % of it at the end. Of more, each is a local optimum, where a walk may stay: all
    are within 1 % of that of one of the classes.
    """
    x, labels = (np.repeat(array, len(alphas), 0) for array in victim.images(images))
    config = dataclasses.replace(config, batch_size=len(x))
    result = attack(victim.predict, x, labels, config, 3, alphas=np.tile(alphas, images))
    assert np.min(result.trace / victim.optimum(x, labels)[:, None]) >= 1 - 1e-6, "below the optimum"
    gaps = victim.gaps(x, labels)
    above = result.distance[:, None] / gaps - 1
    reached = np.min(np.where(above >= -1e-6, above, np.inf), 1)
    assert reached.max() <= 0.01, f"{np.tile(alphas, images)[reached > 0.01]}: {reached[reached > 0.01]}"


def test_the_optimum_of_a_linear_victim_is_reached():
    check_optimum(Linear(50), 2, FREE, ALPHAS)


@pytest.mark.slow
def test_an_optimum_of_ten_classes_is_reached():
    check_optimum(Linear(50, 10), 4, FREE, ALPHAS)


@pytest.mark.slow
def test_the_optimum_is_reached_in_784_dimensions():
    check_optimum(Linear(784), 2, dataclasses.replace(FREE, budget=40_000), ALPHAS)


def final_distances(noise, alpha, key, count=200):
    """Distances of `count` walks of one image from one start, apart by their numbers, while they still fall."""
    victim = Linear(30)
    x, labels = victim.images(1)
    normal = victim.weights[:, 1 - labels[0]] - victim.weights[:, labels[0]]
    normal /= np.linalg.norm(normal)
    aside = np.random.default_rng(5).normal(size=30)
    aside -= (aside @ normal) * normal
    start = x + (victim.optimum(x, labels)[0] + 0.01) * normal + 2 * aside / np.linalg.norm(aside)
    config = AttackConfig(
        noise=noise, alpha=alpha, budget=BUDGET, lo=-100.0, hi=100.0, bisections=0, batch_size=count, delta=0.1
    )
    result = attack(
        victim.predict, np.repeat(x, count, 0), np.repeat(labels, count), config, key,
        starts=np.repeat(start, count, 0), ids=np.arange(count),
    )  # fmt: skip
    assert len(np.unique(result.distance)) > count / 4, "each walks by itself (while eps is constant, on a grid)"
    return result.distance, (victim, x[0], labels[0], start[0])


@pytest.mark.slow
def test_alpha_2_is_the_gaussian_attack():
    """Two-sample Kolmogorov-Smirnov, false alarms below 1e-6; walks with other first steps are told apart."""
    ours, (victim, x, label, start) = final_distances("coordinatewise", 2.0, 0)
    generator = np.random.default_rng(2)

    def is_adversarial(point):
        return victim.on_host(point[None])[0] != label

    def reference(delta):
        steps = (oracle.Steps(delta) for _ in range(200))
        return [oracle.walk(is_adversarial, x, start, BUDGET - 2, generator, -100, 100, one) for one in steps]

    assert stats.ks_2samp(ours, reference(0.1)).pvalue > SMALLEST
    assert stats.ks_2samp(ours, reference(0.3)).pvalue < SMALLEST, "the test has power"


@pytest.mark.slow
def test_isotropic_noise_is_gaussian_whatever_alpha():
    """Two-sample Kolmogorov-Smirnov, false alarms below 1e-6; independent noise."""
    ones, _ = final_distances("isotropic", 1.0, 1)
    twos, _ = final_distances("isotropic", 2.0, 2)
    plain, _ = final_distances("coordinatewise", 2.0, 3)
    assert stats.ks_2samp(ones, twos).pvalue > SMALLEST
    assert stats.ks_2samp(ones, plain).pvalue > SMALLEST
