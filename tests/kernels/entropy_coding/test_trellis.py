"""The trellis of dependent quantisation: least cost by brute force, parity, and its gain over a uniform quantiser."""

import numpy as np
import pytest

from kernels import entropy_coding
from kernels.entropy_coding import decode_tensor, encode_tensor, quantize_trellis, quantize_uniform, stream_length

NEXT = [[0, 2], [7, 5], [1, 3], [6, 4], [2, 0], [5, 7], [3, 1], [4, 6]]


def least_error(w, state=0):
    """Least squared error over all legal grid sequences, by exhaustion (branch and bound)."""
    if not w.size:
        return 0.0
    nearest = int(np.rint(w[0]))
    legal = [x for x in range(nearest - 4, nearest + 5) if x == 0 or (x & 1) == (state & 1)]
    legal += [0] if 0 not in legal else []
    return min(
        (w[0] - x) ** 2 + least_error(w[1:], NEXT[state][(abs(x) + (state & 1)) // 2 & 1 if x else 0]) for x in legal
    )


@pytest.mark.parametrize("seed", range(6))
def test_no_sequence_of_six_has_a_lower_error(seed):
    w = np.random.default_rng(seed).normal(0, 3, 6)
    x = quantize_trellis(w, 1.0)
    assert np.sum((w - x) ** 2) == pytest.approx(least_error(w), abs=1e-12)


@pytest.mark.parametrize("options", [{}, {"scan": 1}, {"scan": 2}, {"profile": 1}, {"n_unary": 3}])
@pytest.mark.parametrize("rate_weight", [0.0, 0.3])
def test_the_coder_takes_what_the_trellis_returns(options, rate_weight):
    w = np.random.default_rng(1).laplace(0, 1.0, (37, 51))
    w[5:9] = 0
    x = quantize_trellis(w, 0.7, rate_weight, **options)
    data = encode_tensor(x, dq=True, **options)  # refuses a wrong parity
    np.testing.assert_array_equal(decode_tensor(data, x.shape, dq=True, **options), x)


def test_error_is_that_of_a_grid_between_the_two_uniform_ones():
    """At high rate about 3/4 of a uniform quantiser's at twice the step (1.2 dB); the mean of 40,000 is good to 1 %."""
    w = np.random.default_rng(2).normal(0, 50, 40_000)
    ours = np.mean((w - quantize_trellis(w, 1.0)) ** 2)
    uniform = np.mean((w - 2 * quantize_uniform(w, 2.0)) ** 2)
    assert 0.7 < ours / uniform < 0.8


def test_rate_lowers_the_total_cost_below_the_greedy_one():
    """J = squared error + rate_weight * bits at equal reconstruction points: trellis below greedy below nearest."""
    w = np.random.default_rng(3).laplace(0, 1.0, (100, 300))
    rate_weight = 0.1  # in squared steps of the uniform quantiser, 2 * step of the trellis

    def cost(reconstruction, length):
        return np.sum((w - reconstruction) ** 2) / 4 + rate_weight * 8 * length

    uniform = quantize_uniform(w, 2.0)
    greedy = entropy_coding.quantize_rdo(w, 2.0, rate_weight)
    grid = quantize_trellis(w, 1.0, 4 * rate_weight)
    costs = [cost(2 * q, stream_length(q)) for q in (uniform, greedy)] + [cost(grid, stream_length(grid, dq=True))]
    assert costs[2] < costs[1] < costs[0]


def test_bad_arguments():
    with pytest.raises(ValueError, match="block scan"):
        quantize_trellis(np.ones((9, 9)), 1.0, scan=1, profile=1)
    with pytest.raises(ValueError, match="rate_weight=-1"):
        quantize_trellis(np.ones(3), 1.0, -1)
    with pytest.raises(ValueError, match="importance has shape"):
        quantize_trellis(np.ones(3), 1.0, 0.1, importance=np.ones(4))


@pytest.mark.parametrize("scan", [0, 2])
@pytest.mark.parametrize("rate_weight", [0.0, 0.2])
def test_a_network_on_the_trellis(scan, rate_weight):
    rng = np.random.default_rng(4)
    tree = {"a": rng.laplace(0, 0.1, (70, 80)).astype(np.float32), "b": rng.normal(size=30).astype(np.float32)}
    tree["a"][10:20] = 0
    tree["c"], tree["d"] = np.zeros(7, np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    data = entropy_coding.compress(
        tree, step=0.01, small_step=0.5, quantizer="trellis", rate_weight=rate_weight, scan=scan, jobs=2
    )
    assert [t.coding for t in entropy_coding.inspect(data).tensors] == [
        "trellis", "trellis", "zero", "trellis",
    ]  # fmt: skip
    back = entropy_coding.decompress(data)
    assert back["a"].shape == (70, 80) and not back["a"][10:20].any()
    assert np.abs(back["b"] - tree["b"]).max() <= 1.0 + 1.0 * (rate_weight > 0) and not back["c"].any()
    assert np.abs(back["d"] - tree["d"]).max() < (0.02 if rate_weight == 0 else 0.05)
    # Candidates lie within two steps of the grid; a price allows zeros further off.
    limit = 0.02 if rate_weight == 0 else 0.04
    assert np.abs(back["a"] - tree["a"]).max() < limit
    with pytest.raises(ValueError, match="quantizer='best'"):
        entropy_coding.compress(tree, step=0.01, quantizer="best")
    with pytest.raises(ValueError, match="knows no rate_weight"):
        entropy_coding.compress(tree, step=0.01, quantizer="uniform", rate_weight=0.1)
