"""What `compress` chooses: flags near the best, codewords shared where that is shorter, axes moved for a gain."""

import numpy as np
import pytest

from kernels import entropy_coding
from kernels.entropy_coding.codeword import checked_levels, choose_presets, encode_levels, sample
from kernels.entropy_coding.container import choices
from tests.kernels.entropy_coding import damage, random_tensors


def tensor(kind: str, seed: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind == "few values":
        return random.choice(np.array([0, 0, 0, 0, 0, 0, -57, -36, 31, 38, 69]), 30_000)
    if kind == "heavy tails":
        return np.rint(3 * random.standard_t(2, 30_000)).astype(int)
    if kind == "wide":
        return np.rint(random.normal(0, 1e5, 400)).astype(int)
    return np.rint(random.laplace(0, {"sparse": 0.2, "dense": 4.0, "very dense": 40.0}[kind], 30_000)).astype(int)


KINDS = ("sparse", "dense", "very dense", "few values", "heavy tails", "wide")


@pytest.mark.parametrize("kind", KINDS)
def test_flags_are_within_a_percent_of_the_best_number(kind):
    q = tensor(kind)
    lengths = [entropy_coding.stream_length(q, n_unary=flags) for flags in range(1, 16)]
    flags, bits = choices.unary_flags(choices.magnitudes(q))
    assert lengths[flags - 1] <= 1.003 * min(lengths) + 2
    assert lengths[flags - 1] <= 1.001 * lengths[10] + 2  # never to speak of above the usual eleven
    assert abs(bits / 8 / lengths[flags - 1] - 1) < 0.06  # an estimate of the codeword, too


@pytest.mark.parametrize("kind", KINDS)
def test_compress_uses_them_unless_told(kind):
    q = tensor(kind)
    best = entropy_coding.compress({"q": q})
    (choice,) = entropy_coding.inspect(best).tensors
    if q.size >= 2048:
        assert choice.coder["n_unary"] == choices.unary_flags(choices.magnitudes(q))[0]
    (fixed,) = entropy_coding.inspect(entropy_coding.compress({"q": q}, n_unary=3)).tensors
    assert fixed.coder is None or fixed.coder["n_unary"] == 3
    np.testing.assert_array_equal(entropy_coding.decompress(best)["q"], q)


def test_magnitudes_are_counted():
    q = np.array([0, 0, 3, -3, 511, -512, 1023, 1024, 2**31 - 14])
    counts = choices.magnitudes(q)
    assert counts.sum() == q.size
    assert (counts[0], counts[3], counts[511]) == (2, 2, 1)
    assert counts[512:].tolist() == [2, 1] + [0] * 19 + [1, 0]
    grid = random_tensors.on_trellis_grid(tensor("dense")[None].astype(np.int32), 0)
    halved = choices.magnitudes(grid, dq=True)
    assert halved.sum() == grid.size and halved[0] == np.count_nonzero(grid == 0)
    large = choices.magnitudes(np.tile(q, 10_000))
    assert 0.99 < large.sum() / 90_000 < 1.01


def test_unlike_tensors_get_codewords_of_their_own():
    """Weights of small levels beside biases of large ones: one codeword for both would be longer."""
    random = np.random.default_rng(1)
    small, large = random.integers(-1, 2, (12, 1500)), random.integers(-90_000, 90_001, (12, 1500))
    tree = {f"t{i}": (large if i % 2 else small)[i] for i in range(12)}
    data = entropy_coding.compress(tree)
    parts = damage.take_apart(data)["streams"]
    assert len(parts) == 2
    for name, values in tree.items():
        np.testing.assert_array_equal(entropy_coding.decompress(data)[name], values)
        np.testing.assert_array_equal(entropy_coding.read_tensor(data, name), values)
    together = entropy_coding.stream_length(np.concatenate(list(tree.values()))[None])
    assert sum(len(stream) for _, stream in parts) < together - 40
    alike = {f"t{i}": small[i % 12] for i in range(12)}
    assert len(damage.take_apart(entropy_coding.compress(alike))["streams"]) == 1


def test_groups_hold_every_tensor_once_in_order():
    random = np.random.default_rng(2)
    histograms = [choices.magnitudes(random.integers(-(2**k), 2**k + 1, 300)) for k in random.integers(0, 20, 60)]
    groups = choices.share(histograms)
    assert sorted(place for places in groups for place in places) == list(range(60))
    assert all(places == sorted(places) for places in groups)
    assert 1 < len(groups) < 25
    assert choices.share([]) == []


def test_axes_move_for_a_gain_only():
    random = np.random.default_rng(4)
    noise = random.normal(0, 1, (80, 90)).astype(np.float32)
    assert choices.axis_order(noise, 0.1, 11, 0)[0] is None
    columns = noise * (random.random(90) < 0.2)  # whole columns of zeros: runs, once the last axis comes first
    assert choices.axis_order(columns, 0.1, 11, 0)[0] == (1, 0)
    assert choices.axis_order(np.ascontiguousarray(columns.T), 0.1, 11, 0)[0] is None
    assert choices.axis_order(np.rint(10 * columns).astype(np.int32), None, 11, 0)[0] == (1, 0)


def test_a_moved_trellis_is_no_less_exact():
    """The order of axes decides which errors the trellis meets; a smaller step makes up for bad luck."""
    for seed in range(12):
        random = np.random.default_rng(seed)
        w = (random.normal(0, 1, (60, 50)) * (random.random(50) < 0.5)).astype(np.float32)
        errors, sizes = {}, {}
        for axes in ("keep", "auto"):
            data = entropy_coding.compress({"w": w}, step=0.3, quantizer="trellis", axes=axes)
            errors[axes] = float(((entropy_coding.decompress(data)["w"] - w.astype(np.float64)) ** 2).sum())
            sizes[axes] = len(data)
        assert errors["auto"] <= errors["keep"] and sizes["auto"] <= sizes["keep"]


def test_a_shared_trellis_is_no_less_exact():
    """The state that a tensor finds after the one before is chance: together they are at least as exact as apart."""
    for sizes, seeds in (((40, 40, 40), (3, 20, 23)), ((16, 8, 1), (10, 22, 25)), ((500, 700, 900), (1, 9, 33))):
        for seed in seeds:  # where one trellis through all of them is up to 14 % worse
            random = np.random.default_rng(seed)
            tree = {f"w{i}": random.normal(0, 1, size) for i, size in enumerate(sizes)}
            options = {"small_step": 0.3, "quantizer": "trellis", "fit_steps": False}
            back = entropy_coding.decompress(entropy_coding.compress(tree, step=1.0, **options))
            apart = {name: 0.3 * entropy_coding.quantize_trellis(w, 0.3) for name, w in tree.items()}
            error, bound = (sum(float(((a[k] - tree[k]) ** 2).sum()) for k in tree) for a in (back, apart))
            assert error <= bound


@pytest.mark.parametrize("scale, more", [(0.64, 5e-5), (10.24, 5e-4)])
def test_presets_of_a_sample_suit_the_whole(scale, more):
    """Runs of a very large tensor show what learning costs and what each value costs: all of it gains nothing."""
    q = np.rint(scale * np.random.default_rng(6).standard_t(3, (1, 1 << 21))).astype(np.int32)
    levels, options = checked_levels(q, 11, False, 0, 0)
    assert sample(levels, options).size < levels.size // 8
    presets = [choose_presets(levels, options, sampled=sampled) for sampled in (True, False)]
    sampled, whole = (len(encode_levels(levels, options, states)) for states in presets)
    assert sampled <= whole * (1 + more) + 2
