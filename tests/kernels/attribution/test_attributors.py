"""Attributors by hand: identities, windows, pytrees, traced and concrete, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import composites
from kernels.attribution.attributors import windows


def quadratic(params, x):
    """y_c = sum over entries of w_c * x**2."""
    return jnp.square(x).reshape(x.shape[0], -1) @ params["w"]


def dense(params, x):
    hidden = jax.nn.relu(x.reshape(x.shape[0], -1) @ params["first"]["kernel"])
    return hidden @ params["second"]["kernel"]


@pytest.fixture(scope="module")
def problem():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(3, 4, 5, 1)).astype(np.float32)
    params = {"w": draw.normal(size=(20, 2)).astype(np.float32)}
    layers = {name: {"kernel": draw.normal(size=shape).astype(np.float32)}
              for name, shape in {"first": (20, 8), "second": (8, 2)}.items()}  # fmt: skip
    return x, params, layers


def test_gradient_of_a_class_by_hand(problem):
    x, params, _ = problem
    y, found = attribution.gradient(quadratic, params, x, target=1)
    np.testing.assert_allclose(y, quadratic(params, x), rtol=1e-6)
    np.testing.assert_allclose(found, 2 * x * params["w"][:, 1].reshape(4, 5, 1), rtol=1e-5)
    _, times = attribution.gradient(quadratic, params, x, target=1, times_input=True, postprocess="abs")
    np.testing.assert_allclose(times, np.abs(np.asarray(found) * x), rtol=1e-5)


def test_targets_agree(problem):
    x, params, _ = problem
    y = quadratic(params, x)
    best = np.argmax(y, -1)
    expected = attribution.gradient(quadratic, params, x, target=best)[1]
    for target in (
        "argmax",
        best - 2,
        np.eye(2, dtype=np.float32)[best],
        lambda y: jax.nn.one_hot(jnp.argmax(y, -1), 2),
    ):
        np.testing.assert_allclose(attribution.gradient(quadratic, params, x, target=target)[1], expected, rtol=1e-6)
    every = attribution.gradient(quadratic, params, x)[1]  # of half the sum of squares
    by_hand = sum(np.asarray(y)[:, c, None, None, None] * 2 * x * params["w"][:, c].reshape(4, 5, 1) for c in (0, 1))
    np.testing.assert_allclose(every, by_hand, rtol=1e-4, atol=1e-4)


def test_smoothgrad_of_one_clean_draw_is_the_gradient(problem):
    x, _, layers = problem
    expected = attribution.gradient(dense, layers, x, target=0)[1]
    np.testing.assert_array_equal(attribution.smoothgrad(dense, layers, x, target=0, n=1)[1], expected)
    key = jax.random.key(0)
    np.testing.assert_allclose(
        attribution.smoothgrad(dense, layers, x, key, target=0, n=3, sigma=0.0)[1], expected, rtol=1e-6, atol=1e-6
    )


def test_noise_of_numpy_under_jit(problem):
    x, params, _ = problem
    noise = np.random.default_rng(1).normal(size=(4, *x.shape)).astype(np.float32)

    def explain(x):
        return attribution.smoothgrad(quadratic, params, x, target=1, noise=noise, n=5, at_once=3)[1]

    np.testing.assert_allclose(jax.jit(explain)(x), explain(x), rtol=1e-6)


def test_smoothgrad_noise_is_of_the_range_of_each_sample():
    """The gradient of a sum of cubes / 3 is x**2: its mean over noise is x**2 + s**2, here with s**2 = (0.5 * 4)**2.

    4,000 draws of 12 entries: the mean of e**2 is off by 7 standard errors in 1e-11 of all cases.
    """
    x = np.array([[0.0, 4.0] + [1.0] * 10], np.float32)
    cubes = lambda params, x: jnp.sum(x**3 / 3, axis=-1, keepdims=True)  # noqa: E731
    key = jax.random.key(1)
    for settings, s in (({"sigma": 0.5}, 2.0), ({"sigma": 0.5, "relative": False}, 0.5)):
        _, found = attribution.smoothgrad(
            cubes, {}, x, key, target=0, n=4000, at_once=500, clean_last=False, **settings
        )
        mean = np.mean(np.asarray(found) - x**2)
        # Var of e**2 is 2 s**4; 2 x e averages out too, with variance 4 x**2 s**2.
        error = 7 * np.sqrt((2 * s**4 + 4 * np.mean(x**2) * s**2) / (4000 * 12))
        assert abs(mean - s**2) < error


def test_integrated_gradients_of_a_square_by_hand(problem):
    """For y = sum w x**2 the sums are off by exactly 1/n of y: right above, left below; the others are exact."""
    x, params, _ = problem
    y = np.asarray(quadratic(params, x))[:, 1]
    for points, share in (("right", 1 / 5), ("left", -1 / 5), ("midpoint", 0.0), ("gauss_legendre", 0.0)):
        _, found, report = attribution.integrated_gradients(
            quadratic, params, x, target=1, n=5, points=points, return_report=True
        )
        np.testing.assert_allclose(np.asarray(found).reshape(3, -1).sum(-1), y * (1 + share), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(report["completeness"], y * share, rtol=1e-3, atol=1e-4)


def test_integrated_gradients_of_one_point_is_input_times_gradient(problem):
    x, _, layers = problem
    expected = attribution.gradient(dense, layers, x, target=1, times_input=True)[1]
    found = attribution.integrated_gradients(dense, layers, x, target=1, n=1)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_completeness_from_a_baseline(problem):
    x, _, layers = problem
    baseline = lambda x: x * 0 + 0.3  # noqa: E731
    y, found = attribution.integrated_gradients(
        dense, layers, x, target=1, n=400, points="midpoint", baseline=baseline, at_once=100
    )
    rise = np.asarray(y)[:, 1] - np.asarray(dense(layers, jnp.full_like(x, 0.3)))[:, 1]
    np.testing.assert_allclose(np.asarray(found).reshape(3, -1).sum(-1), rise, atol=0.02)


@pytest.mark.parametrize("mode", ["keep", "drop", "difference"])
def test_occlusion_by_hand(problem, mode):
    x, params, _ = problem
    expected = np.zeros_like(x)
    whole = np.asarray(quadratic(params, x))[:, 1]
    for row in range(0, 4, 2):
        for column in range(0, 5, 3):
            inside = np.zeros((4, 5), bool)
            for i in range(3):
                for j in range(2):
                    inside[(row + i) % 4, (column + j) % 5] = True
            mask = inside[None, :, :, None]
            seen = np.where(mask if mode == "keep" else ~mask, x, 0.25)
            score = np.asarray(quadratic(params, seen))[:, 1]
            expected += mask * (score if mode != "difference" else whole - score).reshape(3, 1, 1, 1)
    _, found = attribution.occlusion(quadratic, params, x, target=1, window=(3, 2), stride=(2, 3), mode=mode, fill=0.25)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_windows_mean_height_and_width():
    last, first = windows.plan((2, 9, 8, 3), (4, 2), (3, 5)), windows.plan((2, 3, 9, 8), (4, 2), (3, 5))
    np.testing.assert_array_equal(last.window, [4, 2, 3])
    np.testing.assert_array_equal(first.window, [3, 4, 2])
    assert len(last.offsets) == len(first.offsets) == 3 * 2
    np.testing.assert_array_equal(windows.plan((2, 9, 8, 3), 4, 9).window, [4, 4, 3])
    np.testing.assert_array_equal(windows.plan((2, 9, 8, 3), 4, 2, axes=(2,)).window, [9, 4, 3])


@pytest.mark.parametrize("name", ["gradient", "smoothgrad", "integrated_gradients", "occlusion"])
def test_compiled_is_the_same(problem, name):
    x, _, layers = problem
    attributor = getattr(attribution, name)
    settings = {} if name == "gradient" else {"window": 2, "stride": 2} if name == "occlusion" else {"n": 3}
    settings |= {"key": jax.random.key(0)} if name == "smoothgrad" else {}
    found = attributor(dense, layers, x, target=1, **settings)[1]
    inside = jax.jit(lambda layers, x: attributor(dense, layers, x, target=1, **settings)[1])(layers, x)
    np.testing.assert_allclose(inside, found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attributor", [attribution.smoothgrad, attribution.integrated_gradients])
def test_over_relevance(problem, attributor):
    """One draw without noise, or one point, is relevance propagation itself (times x)."""
    x, _, layers = problem
    rules = composites.epsilon_plus()
    expected = attribution.attribute(dense, layers, x, target=1, rules=rules)[1]
    found = attributor(dense, layers, x, target=1, n=1, rules=rules)[1]
    np.testing.assert_allclose(found, expected if attributor is attribution.smoothgrad else expected * x, rtol=1e-5)


def test_inputs_may_be_a_pytree(problem):
    x, _, layers = problem
    both = {"left": x[:, :, :2], "right": x[:, :, 2:]}
    joined = lambda params, x: dense(params, jnp.concatenate([x["left"], x["right"]], axis=2))  # noqa: E731
    for attributor in (attribution.gradient, attribution.integrated_gradients):
        expected = attributor(dense, layers, x, target=0)[1]
        found = attributor(joined, layers, both, target=0)[1]
        np.testing.assert_allclose(np.concatenate([found["left"], found["right"]], 2), expected, rtol=1e-5, atol=1e-6)
    _, found = attribution.smoothgrad(joined, layers, both, jax.random.key(0), target=0, n=2)
    assert found["left"].shape == both["left"].shape


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, p: attribution.gradient(quadratic, p, x, target=2), "2"),
        (lambda x, p: attribution.gradient(quadratic, p, x, target=[0, 1]), "target"),
        (lambda x, p: attribution.gradient(quadratic, p, x, target="best"), "argmax"),
        (lambda x, p: attribution.gradient(quadratic, p, x * np.nan, target=0), "not finite"),
        (lambda x, p: attribution.gradient(quadratic, p, x.astype(int), target=0), "int"),
        (lambda x, p: attribution.gradient(quadratic, p, x, postprocess="root"), "postprocess='root'"),
        (lambda x, p: attribution.smoothgrad(quadratic, p, x, target=0), "key"),
        (lambda x, p: attribution.smoothgrad(quadratic, p, x, target=0, n=0), "n=0"),
        (lambda x, p: attribution.smoothgrad(quadratic, p, x, jax.random.key(0), sigma=-1.0), "sigma=-1.0"),
        (lambda x, p: attribution.smoothgrad(quadratic, p, x, noise=x[None], n=4), r"\[3, 3, 4, 5, 1\]"),
        (lambda x, p: attribution.integrated_gradients(quadratic, p, x, points="upper"), "points='upper'"),
        (lambda x, p: attribution.integrated_gradients(quadratic, p, x, baseline=np.zeros(7)), "baseline"),
        (lambda x, p: attribution.occlusion(quadratic, p, x, mode="blur"), "mode='blur'"),
        (lambda x, p: attribution.occlusion(quadratic, p, x, window=0), "window=0"),
        (lambda x, p: attribution.occlusion(quadratic, p, x, window=(2, 2), axes=(1, 1)), "axes"),
        (lambda x, p: attribution.occlusion(quadratic, p, x, target=np.ones((3, 2), np.float32)), "alike"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(problem, call, words):
    x, params, _ = problem
    with pytest.raises(ValueError, match=words):
        call(x, params)


def test_integrated_gradients_are_complete_in_single_precision():
    """To 1e-6 of the sum of magnitudes, with thousands of points, whose sum is compensated: to 5e-8 of float64."""
    random = np.random.default_rng(7)
    w, x = random.normal(size=(8, 3)), random.uniform(size=(4, 8))

    def fn(w, x):
        return jnp.tanh(x @ w) @ jnp.ones((3, 1), x.dtype)

    options = {"target": 0, "n": 3000, "points": "midpoint", "return_report": True}
    _, share, report = attribution.integrated_gradients(fn, np.float32(w), np.float32(x), **options)
    assert (np.abs(report["completeness"]) < 1e-6 * report["magnitude"]).all()
    np.testing.assert_allclose(report["magnitude"], np.abs(share).sum(1), rtol=1e-6)
    with jax.enable_x64(True):
        _, exact, _ = attribution.integrated_gradients(
            fn, np.float32(w).astype(float), np.float32(x).astype(float), **options
        )
    errors = np.abs(np.asarray(share, np.float64) - exact).max(1)
    assert (errors < 1e-7 * np.abs(exact).max(1)).all()
