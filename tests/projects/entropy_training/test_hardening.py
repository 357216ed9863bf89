"""Hard labels, labels that move while a network is tuned, and the counts of their bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kernels import entropy_coding
from projects.entropy_training import coding, hardening, relaxation, tuning
from projects.entropy_training.config import TrainConfig

GRID = np.float32([-0.8, -0.4, 0.0, 0.4, 0.8])
LABELS = np.int32([[2, 1, 2], [3, 2, 2]])


def labelled(labels=LABELS, **rest):
    return hardening.Labelled({"fc1": labels}, {"fc1": GRID}, rest or {"fc1/bias": np.float32([0.1, -0.2, 0.3])})


def test_frozen_labels_give_their_centroids_the_gradients_of_their_members():
    layer = tuning.Movable(LABELS, GRID)
    np.testing.assert_array_equal(layer.kernel(jnp.asarray(GRID), None), GRID[LABELS])
    weights = jnp.arange(6.0).reshape(2, 3)
    gradient = jax.grad(lambda grid: jnp.sum(weights * layer.kernel(grid, None)))(jnp.asarray(GRID))
    np.testing.assert_allclose(gradient, [0, 1, 0 + 2 + 4 + 5, 3, 0])


def test_nonzero_weights_move_between_used_centroids_only():
    layer = tuning.Movable(LABELS, GRID)
    np.testing.assert_allclose(layer.start, [-1, 1])  # in gaps of 0.4
    np.testing.assert_array_equal(layer.kernel(jnp.asarray(GRID), layer.start), GRID[LABELS])
    moved = jnp.asarray([1.9, 0.3])  # -0.8 and 0.8 are not used: the first becomes 0.4, the second 0
    np.testing.assert_allclose(layer.kernel(jnp.asarray(GRID), moved), np.float32([[0, 0.4, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(layer.labels_at(GRID, moved), [[2, 3, 2], [2, 2, 2]])
    np.testing.assert_array_equal(layer.labels_at(GRID, None), LABELS)
    gradient = jax.grad(lambda u: jnp.sum(jnp.asarray([[1.0, 2, 3], [4, 5, 6]]) * layer.kernel(jnp.asarray(GRID), u)))
    np.testing.assert_allclose(gradient(layer.start), 0.4 * np.array([2.0, 4.0]), rtol=1e-6)  # straight through


def test_sizes_by_hand():
    tree = labelled()
    data, decoded = coding.encode(tree, None)
    sizes = coding.measure(tree, data)
    entropy = 4 * np.log2(6 / 4) + 2 * np.log2(6)
    assert sizes["values"] == 9 and sizes["file"] == 8 * len(data)
    assert sizes["entropy"] == pytest.approx(entropy + 3 * 32 + 3 * 32)
    assert sizes["huffman"] == pytest.approx(4 * 1 + 2 * 2 + 3 * 32 + 3 * 8 + 3 * 32)
    assert sizes["csr"] == pytest.approx(2 * (2 + 1) + 3 * 32 + 3 * 32)  # gaps 1 and 1 in 2 bits, one of two values
    np.testing.assert_array_equal(decoded["fc1"]["kernel"], GRID[LABELS])
    np.testing.assert_array_equal(decoded["fc1"]["bias"], tree.rest["fc1/bias"])


def test_wide_gaps_take_fillers():
    nonzero = np.zeros(100, bool)
    nonzero[[0, 99]] = True
    # Gaps 0 and 98, one value each, no index. 2 bits: 32 fillers; 7 bits: none; 5 bits: 3 fillers of 31.
    assert coding.csr_bits(nonzero, 1) == min(2 * 34, 7 * 2, 6 * 3, 5 * 5)
    assert coding.csr_bits(np.zeros(5, bool), 0) == 0


def test_the_coarsest_biases_that_lose_nothing_are_taken():
    tree = labelled()
    exact = coding.encode(tree, None)[1]["fc1"]["bias"]
    asked = []

    def accuracy(weights):
        error = np.abs(weights["fc1"]["bias"] - exact).max()
        asked.append(error)
        return 1.0 if error < 0.03 else 0.9

    _, decoded, step = coding.write(tree, accuracy, 0.05)
    assert np.abs(decoded["fc1"]["bias"] - exact).max() < 0.03 and step in coding.SMALL_STEPS
    assert asked[-1] < 0.03 <= asked[-2]
    _, decoded, step = coding.write(tree, lambda w: float(np.array_equal(w["fc1"]["bias"], exact)), 0.05)
    assert step is None


def test_a_constant_vector_costs_next_to_nothing():
    tree = labelled(**{"norm/scale": np.ones(500, np.float32)})
    data, decoded = coding.encode(tree, 0.1)
    assert len(data) < len(coding.encode(labelled(), 0.1)[0]) + 40
    np.testing.assert_array_equal(decoded["norm"]["scale"], np.ones(500, np.float32))


class One(nnx.Module):
    def __init__(self, kernel):
        self.fc1 = relaxation.CodedLinear(4, 3, levels=5, has_logits=False, rngs=nnx.Rngs(0))
        self.fc1.centroids[...] = jnp.asarray(GRID)
        self.fc1.kernel[...] = jnp.asarray(kernel, jnp.float32)


def test_equal_labels_are_stored_in_no_bits():
    tree = labelled(np.full((4, 3), 2, np.int32))
    data, decoded = coding.encode(tree, None)
    assert not decoded["fc1"]["kernel"].any() and coding.measure(tree, data)["huffman"] == 32 + 8 + 96
    hard = hardening.harden(One(np.full((4, 3), 0.01)), TrainConfig(levels=5), 40.0, iterations=3)
    assert (hard.labels["fc1"] == 2).all() and hard.nonzero_share == 0


def test_the_price_of_a_bit_rises_until_the_file_fits():
    network = One(np.array([-0.8, -0.8, -0.4, -0.4, 0.4, 0.4, 0.8, 0, 0, 0, 0, 0]).reshape(4, 3))

    def at(factor):
        return hardening.harden(network, TrainConfig(levels=5), 40.0, 3, factor)

    def nonzero(hard):
        return round(hard.nonzero_share * 12)

    assert nonzero(at(1.0)) == 7
    hard, factor = hardening.harden_to(3, nonzero, at)
    assert nonzero(hard) <= 3 < nonzero(at(factor / 2**0.25)) and factor > 1
    assert hardening.harden_to(-1, nonzero, at)[1] == 1  # no price does it: as without a target
    assert hardening.harden_to(0, nonzero, at)[1] == 1  # a network of zeros is not what was asked for


def test_a_file_with_another_codebook_is_noticed(monkeypatch):
    real = entropy_coding.decompress

    def damaged(data, **options):
        tree = real(data, **options)
        tree["fc1"]["kernel"][0, 0] += 1
        return tree

    monkeypatch.setattr(entropy_coding, "decompress", damaged)
    with pytest.raises(RuntimeError, match="fc1/kernel does not decode"):
        coding.encode(labelled(), None)


def test_a_constant_channel_folds_to_its_bias():
    rest = {"norm/scale": [2.0, 2.0], "norm/bias": [0.5, 0.5], "norm/mean": [3.0, 1.0], "norm/var": [0.0, 4.0 - 1e-5]}
    folded = coding.fold_statistics({path: np.float32(values) for path, values in rest.items()})
    np.testing.assert_allclose(folded["norm/scale"], [0.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(folded["norm/bias"], [0.5, -0.5], rtol=1e-5)
    assert not folded["norm/mean"].any() and np.ptp(folded["norm/var"]) == 0
