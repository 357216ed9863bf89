"""Steps and importances of layers against their formulas, worked out by hand."""

import numpy as np
import pytest

from kernels.entropy_coding import layer_steps


def test_dc_v1_step_by_hand():
    w = np.array([[0.0, 1.0], [-0.5, 0.25]], np.float32)
    sigma = np.array([[9.0, 0.2], [0.1, 0.4]], np.float32)
    # Not zero: 1, -0.5, 0.25. max(|w| + sigma/2) = 1 + 0.1; range 1.5; min sigma 0.1: 15 intervals.
    steps = layer_steps.dc_v1({"a": w}, {"a": sigma})
    assert steps["a"] == pytest.approx(2 * 1.1 / 15, rel=1e-6)
    assert layer_steps.dc_v1({"a": w}, {"a": sigma}, 5)["a"] == pytest.approx(2 * 1.1 / 20, rel=1e-6)


def test_a_sigma_near_zero_is_bounded():
    sigma = np.full((4, 4), 0.1)
    sigma[0, 0] = 0.0
    w = np.ones((4, 4))
    assert layer_steps.dc_v1({"a": w}, {"a": sigma})["a"] >= 2 / layer_steps.LARGEST_INTERVALS
    assert np.isfinite(layer_steps.inverse_variance({"a": sigma})["a"]).all()
    with pytest.raises(ValueError, match="standard deviations"):
        layer_steps.inverse_variance({"a": -sigma})


def test_importance_has_mean_one_over_nonzero_weights_whatever_its_unit():
    random = np.random.default_rng(0)
    tree = {"a": random.normal(size=(6, 5)) * (random.random((6, 5)) < 0.5), "b": random.normal(size=(3, 4))}
    importance = {"a": random.random((6, 5)) + 0.1, "b": random.random((3, 4)) + 0.1}
    steps = {"a": 0.1, "b": 0.4}
    for unit in (1.0, 1e6):
        scaled = layer_steps.scaled_importance(
            tree, {name: unit * values for name, values in importance.items()}, steps
        )
        nonzero = np.concatenate([scaled[name][tree[name] != 0] for name in tree])
        assert nonzero.mean() == pytest.approx(1)
        ratio = (scaled["b"] / importance["b"]).mean() / (scaled["a"] / importance["a"]).mean()
        assert ratio == pytest.approx((0.4 / 0.1) ** 2)  # errors are counted in steps


def test_equal_price_steps():
    random = np.random.default_rng(1)
    tree = {"a": random.normal(size=(50, 40)), "b": random.normal(size=(20, 30)), "c": random.normal(size=7)}
    importance = {"a": np.full((50, 40), 4.0), "b": np.full((20, 30), 1.0), "c": np.full(7, 16.0)}
    steps = layer_steps.equal_price(tree, importance)
    assert steps["b"] / steps["a"] == pytest.approx(2) and steps["a"] / steps["c"] == pytest.approx(2)
    relative = [steps[name] / np.sqrt(np.mean(tree[name] ** 2)) for name in ("a", "b")]
    assert np.prod(relative) == pytest.approx(1)


def test_weight_snr_by_hand():
    before, after = {"a": np.array([[3.0, 4.0]])}, {"a": np.array([[3.0, 4.5]])}
    assert layer_steps.weight_snr(before, after) == pytest.approx(10 * np.log10(25 / 0.25))
    assert layer_steps.weight_snr(before, before) == np.inf
