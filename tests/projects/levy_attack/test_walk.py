"""Where the walk leads: the closed-form optimum of linear victims, and the law of the Gaussian attack."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import stats

from projects.levy_attack.attack import AttackConfig, attack
from tests.kernels.oracles import boundary_step as oracle
from tests.projects.levy_attack.linear import Linear

ALPHAS = (0.5, 0.8, 1.0, 1.2, 1.5, 1.8, 2.0)
FREE = AttackConfig(budget=10_000, lo=-100.0, hi=100.0, batch_size=4, chunk=1000)
SMALLEST = 1e-6  # p-value
BUDGET = 300  # queries of the walks whose distribution is compared


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def check_optimum(victim, images, config, alphas):
    """Attacks with every alpha; none below the optimum in the whole trace, all within 1 % of it at the end.

    Each of many classes is a local optimum, where a walk may stay: only their median is held to half as much again.
    """
    x, labels = victim.images(images)
    optimum = victim.optimum(x, labels)
    for alpha in alphas:
        result = attack(victim.predict, x, labels, dataclasses.replace(config, alpha=alpha), 3)
        ratio = result.trace / optimum[:, None]
        assert ratio.min() >= 1 - 1e-6, f"below the optimum with alpha {alpha}"
        is_global = victim.weights.shape[1] == 2
        reached = ratio[:, -1].max() if is_global else np.median(ratio[:, -1])
        assert reached <= (1.01 if is_global else 1.5), f"alpha {alpha}: {ratio[:, -1]}"


def test_the_optimum_of_a_linear_victim_is_reached():
    check_optimum(Linear(50), 4, FREE, (0.5, 1.0, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 10])
def test_the_optimum_is_reached_with_every_alpha(classes):
    check_optimum(Linear(50, classes), 4, FREE, ALPHAS)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_optimum_is_reached_in_784_dimensions(alpha):
    check_optimum(Linear(784), 4, dataclasses.replace(FREE, budget=40_000), (alpha,))


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


def test_isotropic_noise_is_gaussian_whatever_alpha():
    """Two-sample Kolmogorov-Smirnov, false alarms below 1e-6; independent noise."""
    ones, _ = final_distances("isotropic", 1.0, 1)
    twos, _ = final_distances("isotropic", 2.0, 2)
    plain, _ = final_distances("coordinatewise", 2.0, 3)
    assert stats.ks_2samp(ones, twos).pvalue > SMALLEST
    assert stats.ks_2samp(ones, plain).pvalue > SMALLEST
