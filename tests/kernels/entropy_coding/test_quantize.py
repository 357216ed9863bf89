"""Quantisers: rounding, limits, and the greedy rate-distortion decision against plain Python."""

import ml_dtypes
import numpy as np
import pytest

from kernels import entropy_coding
from tests.kernels.oracles import cabac
from tests.kernels.oracles import presets as preset_oracle
from tests.kernels.oracles import rdo as rdo_oracle


def laplace(shape, seed, scale=1.0):
    return np.random.default_rng(seed).laplace(0, scale, shape)


def test_nearest_level_with_ties_away_from_zero():
    w = np.array([0.5, -0.5, 1.5, -1.5, 2.5, 0.49999999999999994, -0.49999999999999994, 0.0, -0.0, 1e300, 2.4999999])
    q = entropy_coding.quantize_uniform(w[:9], 1.0)
    assert q.dtype == np.int32
    assert q.tolist() == [1, -1, 2, -2, 3, 0, 0, 0, 0]
    assert entropy_coding.quantize_uniform(w[10:], 1.0).tolist() == [2]
    assert entropy_coding.quantize_uniform(np.array([1e300]), 1e295).tolist() == [100000]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_the_quotient_is_taken_in_float64(dtype):
    w = laplace((500,), 1).astype(dtype)
    expected = [int(np.floor(abs(x) / 0.1 + 0.5)) * (-1 if x < 0 else 1) for x in w.astype(np.float64)]
    np.testing.assert_array_equal(entropy_coding.quantize_uniform(w, 0.1), expected)
    np.testing.assert_array_equal(entropy_coding.quantize_uniform(w.reshape(50, 10).T, 0.1).T.reshape(-1), expected)


def test_half_a_step_is_the_largest_error():
    w = laplace((1000,), 2)
    q = entropy_coding.quantize_uniform(w, 0.03)
    assert np.abs(w - q * 0.03).max() <= 0.015 * (1 + 1e-12)


def test_limits():
    largest = entropy_coding.MAX_ABS_LEVEL
    assert entropy_coding.quantize_uniform(np.array([float(largest), -float(largest)]), 1.0).tolist() == [
        largest,
        -largest,
    ]
    for function in (entropy_coding.quantize_uniform, lambda w, step: entropy_coding.quantize_rdo(w, step, 0.1)):
        with pytest.raises(ValueError, match="too small for a largest weight.*smallest legal step"):
            function(np.array([float(largest + 1)]), 1.0)
        with pytest.raises(ValueError, match="1 NaN or infinite values of 2"):
            function(np.array([np.nan, 1.0]), 1.0)
        for step in (0.0, -1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=f"step={step}: expected a finite number > 0"):
                function(np.array([1.0]), step)
        with pytest.raises(ValueError, match="int64; integers need no quantiser"):
            function(np.array([1]), 1.0)
        assert function(np.zeros((0, 3)), 1.0).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_dequantize(dtype):
    q = np.array([[0, 1, -7], [100, 2**18, -3]])
    back = entropy_coding.dequantize(q, 0.1, dtype)
    assert back.dtype == dtype and back.shape == q.shape
    np.testing.assert_array_equal(back, (q * np.float64(0.1)).astype(dtype))


def cost(w, q, step, rate_weight, importance, **options):
    bits = 8 * entropy_coding.stream_length(q, **options)
    return (importance * (w / step - q) ** 2).sum() + rate_weight * bits


@pytest.mark.parametrize(
    "shape, step, rate_weight, options, with_importance",
    [
        ((30, 20), 1.0, 0.1155, {}, False),
        ((30, 20), 0.5, 0.3, {}, True),
        ((600,), 0.05, 0.1155, {"n_unary": 3}, True),
        ((37, 21), 0.7, 0.2, {"scan": 1}, True),
        ((17, 33), 1.0, 0.2, {"scan": 2, "n_unary": 1}, False),
        ((400,), 1e-4, 0.5, {}, False),
        ((1, 1), 0.3, 0.1, {}, False),
    ],
)
def test_decisions_of_the_oracle(shape, step, rate_weight, options, with_importance):
    w = laplace(shape, 3)
    importance = np.random.default_rng(4).uniform(0, 3, shape) if with_importance else None
    q = entropy_coding.quantize_rdo(w, step, rate_weight, importance=importance, **options)
    matrix = (1, 1) if not shape else (shape[0], w.size // shape[0])
    scaled = (w / step).reshape(matrix)
    weight = (np.ones(shape) if importance is None else importance).reshape(matrix)
    expected = rdo_oracle.quantize(scaled.tolist(), weight.tolist(), rate_weight, **options)
    assert q.dtype == np.int32 and q.shape == shape
    np.testing.assert_array_equal(q.reshape(matrix), expected)


@pytest.mark.parametrize("step", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("rate_weight", [0.05, 0.1155, 0.3])
def test_the_cost_falls(step, rate_weight):
    w = laplace((80, 100), 5)
    importance = np.random.default_rng(6).uniform(0.5, 2, w.shape)
    for weight in (np.ones(w.shape), importance):
        nearest = entropy_coding.quantize_uniform(w, step)
        choice = entropy_coding.quantize_rdo(w, step, rate_weight, importance=weight)
        assert cost(w, choice, step, rate_weight, weight) < cost(w, nearest, step, rate_weight, weight)
        assert (np.abs(choice) <= np.abs(nearest)).all() and (choice * nearest >= 0).all()


def test_a_bit_that_costs_nothing_gives_the_nearest_level():
    w = laplace((2000,), 7)  # no ties: of two levels at the same cost the decision takes the smaller
    np.testing.assert_array_equal(entropy_coding.quantize_rdo(w, 1.0, 0.0), entropy_coding.quantize_uniform(w, 1.0))


def test_dear_bits_give_zeros_and_importance_resists():
    w = laplace((40, 50), 8)
    assert not entropy_coding.quantize_rdo(w, 0.5, 1e6).any()
    nearest = entropy_coding.quantize_uniform(w, 0.5)
    important = entropy_coding.quantize_rdo(w, 0.5, 0.3, importance=np.full(w.shape, 1e9))
    np.testing.assert_array_equal(important, nearest)
    assert not entropy_coding.quantize_rdo(w, 0.5, 0.3, importance=np.zeros(w.shape)).any()
    half = np.zeros(w.shape)
    half[:20] = 1e9
    mixed = entropy_coding.quantize_rdo(w, 0.5, 0.3, importance=half)
    np.testing.assert_array_equal(mixed[:20], nearest[:20])
    assert not mixed[20:].any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rate_weight": -0.1}, "rate_weight=-0.1"),
        ({"rate_weight": np.inf}, "rate_weight=inf"),
        ({"rate_weight": 0.1, "importance": np.ones((4, 3))}, r"shape \(4, 3\), the weights \(3, 4\)"),
        ({"rate_weight": 0.1, "importance": np.full((3, 4), np.nan)}, "importance holds NaN"),
        ({"rate_weight": 0.1, "importance": -np.ones((3, 4))}, "importance holds NaN, infinity or a negative"),
        ({"rate_weight": 0.1, "n_unary": 0}, "n_unary=0"),
        ({"rate_weight": 0.1, "scan": 7}, "scan=7"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        entropy_coding.quantize_rdo(np.ones((3, 4)), 0.1, **options)


def test_the_price_of_a_level_is_its_cost_in_the_stream():
    """The oracle's own books: prices add up to the length of a stream, presets and all, within the table's error."""
    q = entropy_coding.quantize_uniform(laplace((60, 50), 9), 0.4)
    choice = preset_oracle.choose(q.tolist())
    contexts, previous, total = cabac.fresh_contexts(choice, 11), 0, 0
    for level in q.reshape(-1).tolist():
        total += rdo_oracle.bits_of(contexts, level, previous, 11)
        rdo_oracle.update(contexts, level, previous, 11)
        previous = level
    assert (
        abs(total / preset_oracle.UNIT - 8 * entropy_coding.stream_length(q)) < 59 * 3 + 60
    )  # the header of 59 contexts


@pytest.mark.parametrize("weighted", [False, True])
def test_the_fitted_step_is_the_best_one(weighted):
    rng = np.random.default_rng(11)
    w = rng.laplace(0, 1, (300, 301)).astype(np.float32)
    importance = rng.exponential(1, w.shape) if weighted else None
    q = entropy_coding.quantize_rdo(w, 0.9, 0.3, importance=importance)
    best = entropy_coding.fitted_step(w, q, 0.9, importance=importance)

    def error(step):
        return ((1 if importance is None else importance) * (w.astype(np.float64) - step * q) ** 2).sum()

    assert error(best) < 0.999 * error(0.9)
    assert error(best) < min(error(best * 0.9999), error(best * 1.0001))
    assert entropy_coding.fitted_step(w, 0 * q, 0.9) == 0.9  # nothing to fit
    assert entropy_coding.fitted_step(w, -q, 0.9) == 0.9  # the best would be negative


@pytest.mark.parametrize("quantize", [entropy_coding.quantize_rdo, entropy_coding.quantize_trellis])
def test_lists_of_tensors_and_candidates(quantize):
    tensors = [laplace((30, 40), 1), laplace((7,), 2), laplace((70, 9), 3)]
    steps, importance = [0.5, 1.0, 0.7], [None, np.arange(7.0), None]
    actual = quantize(tensors, steps, 0.1, importance=importance, scan=1, jobs=2)
    for w, step, weight, q in zip(tensors, steps, importance, actual, strict=True):
        np.testing.assert_array_equal(q, quantize(w, step, 0.1, importance=weight, scan=1, jobs=1))
    for q, price in zip(quantize([tensors[0]] * 2, 0.5, [0.0, 0.4]), (0.0, 0.4), strict=True):
        np.testing.assert_array_equal(q, quantize(tensors[0], 0.5, price))
    with pytest.raises(ValueError, match="step has 2 entries for 3 tensors"):
        quantize(tensors, [1.0, 2.0], 0.1)


@pytest.mark.parametrize("jobs", [1, 3, 50])
def test_rows_of_blocks_are_decided_in_parallel(jobs):
    w, importance = laplace((75, 41), 9), np.random.default_rng(3).uniform(0, 2, (75, 41))
    expected = entropy_coding.quantize_rdo(w, 0.6, 0.2, importance=importance, scan=1, jobs=1)
    actual = entropy_coding.quantize_rdo(w, 0.6, 0.2, importance=importance, scan=1, jobs=jobs)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "w, q, options, error, message",
    [
        (np.ones(0), np.ones(10, int), {}, ValueError, "levels have shape"),
        (np.ones(9), np.ones(9, int), {"importance": np.ones(2)}, ValueError, "importance has shape"),
        (np.ones(2), np.array([0.9, 1.9]), {}, TypeError, "must be integers"),
        (np.ones(2), np.array([1, 2**31]), {}, ValueError, "legal range"),
        (np.array([1, np.nan]), np.ones(2, int), {}, ValueError, "NaN"),
    ],
)
def test_fitting_what_does_not_fit(w, q, options, error, message):
    with pytest.raises(error, match=message):
        entropy_coding.fitted_step(w, q, 0.5, **options)


@pytest.mark.parametrize("quantize", [entropy_coding.quantize_rdo, entropy_coding.quantize_trellis])
def test_byte_orders_and_widths(quantize):
    w = laplace((40, 30), 12)
    np.testing.assert_array_equal(quantize(w.astype(">f8"), 0.3, 0.1), quantize(w.astype(np.float64), 0.3, 0.1))
    assert quantize(np.array([1e300, -1e300], ">f8"), 1e299, 0.1).any()
    with pytest.raises(ValueError, match="wider than the float64"):
        quantize(w.astype(np.longdouble), 0.3, 0.1)
