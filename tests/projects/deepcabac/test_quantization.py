"""Steps, importances and folding against their formulas, worked out by hand or by another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common import models
from kernels import entropy_coding
from projects.deepcabac import layer_steps, quantization, sensitivity
from projects.deepcabac.network import Network, fold_batch_norm
from projects.deepcabac.quantization import Rule


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
        network = Network(tree, importance={name: unit * values for name, values in importance.items()})
        scaled = quantization.scaled_importance(network, steps)
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
    network = Network(tree, layer_steps=steps)
    assert quantization.tensor_steps(network, Rule(0.5))["c"] == pytest.approx(0.5 * steps["c"])


def test_small_tensors_are_lossless_by_default():
    tree = {"kernel": np.ones((3, 3), np.float32), "bias": np.full(4, 2.0, np.float32), "count": np.arange(3)}
    assert quantization.tensor_steps(Network(tree), Rule(0.5)) == {"kernel": 0.5}
    assert quantization.tensor_steps(Network(tree), Rule(0.5, small_step=0.25))["bias"] == 0.25
    assert quantization.tensor_steps(Network(tree), Rule(0.5, small_relative_step=0.25))["bias"] == pytest.approx(0.5)


def test_folding_keeps_the_function_and_frees_two_vectors():
    network = models.create("small_vgg16", rngs=nnx.Rngs(0), width=1 / 16)
    random = np.random.default_rng(2)

    def stir(path, array):
        return array + 0.1 * random.random(array.shape).astype(np.float32)

    tree = jax.tree_util.tree_map_with_path(stir, models.to_tree(network))
    apply = jax.jit(models.apply_function(network))
    images = jnp.asarray(random.normal(size=(4, 32, 32, 3)), jnp.float32)
    folded = fold_batch_norm(tree, 1e-5)
    np.testing.assert_allclose(apply(folded, images), apply(tree, images), rtol=2e-3, atol=2e-4)
    norms = [node for node in folded.values() if "var" in node]
    assert norms and not any(node["var"].any() or node["mean"].any() for node in norms)
    plain, small = (len(entropy_coding.compress(t, step=0.05, small_step=0.05)) for t in (tree, folded))
    assert small < plain


def test_fisher_diagonal_against_the_whole_matrix():
    """For logits linear in the weights, J is known and the expectation has a closed form."""
    random = np.random.default_rng(3)
    images = random.normal(size=(3, 4)).astype(np.float32)
    tree = {"kernel": random.normal(size=(4, 5)).astype(np.float32)}
    repeated = np.repeat(images, 3000, axis=0)
    diagonal = sensitivity.fisher_diagonal(
        lambda tree, image: image @ tree["kernel"], tree, repeated, jax.random.key(0)
    )
    p = np.asarray(jax.nn.softmax(images @ tree["kernel"]))
    expected = np.einsum("ni,nc->ic", images**2, p * (1 - p)) / len(images)
    np.testing.assert_allclose(diagonal["kernel"], expected, rtol=0.15)
    assert float(diagonal["kernel"].mean()) == pytest.approx(float(expected.mean()), rel=0.03)


def test_weight_snr_by_hand():
    before, after = {"a": np.array([[3.0, 4.0]])}, {"a": np.array([[3.0, 4.5]])}
    assert quantization.weight_snr(before, after) == pytest.approx(10 * np.log10(25 / 0.25))
    assert quantization.weight_snr(before, before) == np.inf
