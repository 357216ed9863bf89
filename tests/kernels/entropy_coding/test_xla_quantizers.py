"""The XLA form of the rate-distortion decisions beside the compiled one: equal levels in float64, nearly in float32."""

import jax
import numpy as np
import pytest

from kernels import compiling, entropy_coding
from kernels.entropy_coding import codeword, encode_tensor, quantize_rdo, quantize_trellis, stream_length
from kernels.entropy_coding.core.contexts import EXPECTED_COST
from kernels.entropy_coding.xla import batches

QUANTIZERS = {"rdo": quantize_rdo, "trellis": quantize_trellis}
SHAPE = (19, 21)
STEP, RATE = 0.7, 0.2


def tensors(shape=SHAPE) -> list[np.ndarray]:
    """Weights of several distributions, with rows of zeros: sparse, dense, wide, with ties, in runs, a spike, zeros."""
    rng = np.random.default_rng(0)
    ties = rng.integers(-8, 9, shape) * (STEP / 4)
    runs = np.repeat(rng.normal(0, 2, shape[0]), shape[1]).reshape(shape)
    spike = np.zeros(shape)
    spike[1, 2], spike[-1, -1] = 3e6, -2.0
    weights = [rng.laplace(0, 0.2, shape), rng.laplace(0, 2.0, shape), rng.uniform(-40, 40, shape), ties, runs]
    for w in weights:
        w[4:6] = 0
    return [w.astype(np.float32) for w in (*weights, spike, np.zeros(shape))]


def check_equal(quantizer: str, settings: dict, weighted: bool, rate=RATE) -> None:
    w = tensors()
    weights = [np.random.default_rng(1).exponential(1, SHAPE) for _ in w] if weighted else None
    quantize = QUANTIZERS[quantizer]
    compiled, ours = (
        quantize(w, STEP, rate, importance=weights, implementation=form, **settings) for form in ("compiled", "xla")
    )
    for expected, levels in zip(compiled, ours, strict=True):
        assert isinstance(levels, np.ndarray) and levels.dtype == np.int32 and levels.shape == SHAPE
        np.testing.assert_array_equal(levels, expected)
    assert any(level.any() for level in ours)


@pytest.mark.parametrize(
    "quantizer, settings, weighted",
    [
        ("rdo", {}, False),
        ("rdo", {"scan": 1, "n_unary": 3}, True),
        pytest.param("rdo", {"scan": 3}, True, marks=pytest.mark.slow),  # one row of blocks, which is not full
        pytest.param("rdo", {"profile": 1}, False, marks=pytest.mark.slow),
        ("trellis", {}, True),
        ("trellis", {"scan": 1, "n_unary": 3}, False),
        pytest.param("trellis", {"profile": 1}, False, marks=pytest.mark.slow),
    ],
)
def test_levels_are_those_of_the_compiled_form(quantizer, settings, weighted):
    check_equal(quantizer, settings, weighted)


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("settings", [{"n_unary": 1}, {"n_unary": 15}, {"scan": 2}, {"scan": 3}, {"profile": 1}])
@pytest.mark.parametrize("weighted", [False, True])
def test_levels_are_those_of_the_compiled_form_at_other_settings(quantizer, settings, weighted):
    check_equal(quantizer, settings, weighted)


@pytest.mark.parametrize("quantizer, settings", [("rdo", {}), ("trellis", {}), ("trellis", {"scan": 1})])
@pytest.mark.parametrize("weighted", [False, True])
def test_levels_of_bits_that_cost_nothing(quantizer, settings, weighted):
    check_equal(quantizer, settings, weighted, rate=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("quantizer, grid", [("rdo", 1), ("trellis", 2)])
def test_costs_are_rounded_as_the_compiled_ones(quantizer, grid):
    """Single weights that cost as much at 0 as at the level of this grid integer, to a few units in the last place.

    Without `contexts.rounded` product and sum become one rounding, and this fails, where XLA optimises (make test-all).
    """
    zero, one = EXPECTED_COST[:, 512].astype(int)  # of contexts that have seen nothing
    size = np.repeat(np.random.default_rng(5).uniform(0.6 * grid, 1.4 * grid, 80), 5)
    size = size[size > 0.5 * grid + 0.05]
    balance = (size**2 - (size - grid) ** 2) / (one + 2 * zero - zero) * 2**15
    rates = balance + np.spacing(balance) * np.resize(np.arange(-2, 3), size.size)
    quantize = QUANTIZERS[quantizer]
    w = [np.array([one]) for one in size]
    ours, expected = (quantize(w, 1.0, list(rates), implementation=form) for form in ("xla", "compiled"))
    expected = np.concatenate(expected)
    assert set(expected) == {0, grid}  # they do lie at the balance
    np.testing.assert_array_equal(np.concatenate(ours), expected)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_presets_of_a_sample_are_the_same(quantizer, monkeypatch):
    monkeypatch.setattr(codeword, "RUN", 32)
    w = np.random.default_rng(2).laplace(0, 1.5, 16 * 256 + 700)  # the first pass sees all, the presets 256 of it
    quantize = QUANTIZERS[quantizer]
    np.testing.assert_array_equal(quantize(w, 1.0, 0.2, implementation="xla"), quantize(w, 1.0, 0.2))


@pytest.mark.parametrize("quantizer", ["rdo", pytest.param("trellis", marks=pytest.mark.slow)])
def test_candidates_are_an_axis_under_jit_and_vmap(quantizer):
    """float32, without 64-bit mode: see the docstring for how near; in 64-bit mode the compiled levels."""
    quantize, dq = QUANTIZERS[quantizer], quantizer == "trellis"
    w = np.random.default_rng(3).laplace(0, 2.0, (40, 30)).astype(np.float32)
    steps, rates = np.array([0.5, 0.8, 1.3]), np.array([0.3, 0.1, 0.0])
    many = jax.jit(jax.vmap(lambda step, rate: quantize(w, step, rate)))
    for is_wide in (False, True):
        with jax.enable_x64(is_wide):
            levels = np.asarray(many(steps, rates))
        assert levels.dtype == np.int32 and levels.shape == (3, *w.shape)
        for step, rate, ours in zip(steps, rates, levels, strict=True):
            expected = quantize(w, step, rate)
            share = np.mean(ours != expected)
            assert share <= (0 if is_wide else 1e-3)  # one of 1200
            mine, theirs = (np.sum((w / step - q) ** 2) + rate * 8 * stream_length(q, dq=dq) for q in (ours, expected))
            assert mine == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_what_is_traced_and_would_be_refused_is_no_level(quantizer):
    quantize = QUANTIZERS[quantizer]
    w = np.array([0.3, -2.0, 1.0], np.float32)
    call = jax.jit(lambda w, step, rate, weight: quantize(w, step, rate, importance=weight))
    ones = np.ones(3, np.float32)
    assert abs(np.asarray(call(w, 0.5, 0.1, ones))).max() <= 4
    for bad in (
        (w * np.nan, 0.5, 0.1, ones), (w * np.inf, 0.5, 0.1, ones), (w, 0.0, 0.1, ones), (w, -1.0, 0.1, ones),
        (w, np.nan, 0.1, ones), (w, 1e-10, 0.1, ones), (w, 0.5, -0.1, ones), (w, 0.5, np.inf, ones),
        (w, 0.5, 0.1, -ones), (w, 0.5, 0.1, ones * np.nan),
    ):  # fmt: skip
        levels = np.asarray(call(*bad))
        assert (levels == -(2**31)).all()
        with pytest.raises(ValueError, match="legal range"):
            encode_tensor(levels)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_doors_and_shapes(quantizer):
    quantize = QUANTIZERS[quantizer]
    with pytest.raises(ValueError, match="implementation='gpu' is neither 'compiled' nor 'xla'"):
        quantize(np.ones(3), 1.0, 0.1, implementation="gpu")
    for w, step, rate, message in (
        (np.array([1, np.nan]), 1.0, 0.1, "1 NaN or infinite"), (np.ones(2), 0.0, 0.1, "step=0.0"),
        (np.ones(2), 1.0, -1.0, "rate_weight=-1.0"), (np.ones(2, int), 1.0, 0.1, "must be floating point"),
        (np.array([1e10]), 1.0, 0.1, "too small for a largest weight"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            quantize(w, step, rate, implementation="xla")
    with pytest.raises(ValueError, match="2 entries for 1 tensors"):
        quantize([np.ones(3)], [1.0, 2.0], 0.1, implementation="xla")
    with pytest.raises(ValueError, match="jax.vmap takes several"):
        jax.jit(lambda step: quantize(np.ones(3), step, 0.1))(np.ones(2))
    with pytest.raises(ValueError, match="must be floating point"):
        jax.jit(lambda w: quantize(w, 1.0, 0.1))(np.ones(2, int))
    assert quantize(np.zeros((0, 3)), 1.0, 0.1, implementation="xla").shape == (0, 3)
    assert quantize([], 1.0, 0.1, implementation="xla") == []


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_nothing_is_compiled_for_the_host(quantizer, monkeypatch):
    def stop(*_):
        raise AssertionError("the compiled core was called")

    expected = QUANTIZERS[quantizer](tensors()[1], STEP, RATE)
    monkeypatch.setattr(compiling.Compiled, "__call__", stop)
    ours = QUANTIZERS[quantizer]([tensors()[1]], STEP, RATE, implementation="xla")[0]
    np.testing.assert_array_equal(ours, expected)
    with pytest.raises(AssertionError, match="compiled core"):
        QUANTIZERS[quantizer](tensors()[1], STEP, RATE)


@pytest.mark.parametrize("most", [1 << 26, 70])
def test_a_list_of_several_shapes_and_dtypes_keeps_its_order(most, monkeypatch):
    monkeypatch.setattr(batches, "MOST_WEIGHTS", most)
    rng = np.random.default_rng(4)
    w = [rng.laplace(0, 1, shape).astype(dtype) for shape, dtype in (((60,), "f4"), ((5, 12), "f4"), ((60,), "f2"))]
    w += [w[0], np.float32(1.7), np.zeros((0, 3))]
    steps = [0.5, 0.7, 0.9, 1.1, 0.5, 1.0]
    levels = quantize_rdo(w, steps, 0.1, implementation="xla")
    for one, step, ours in zip(w, steps, levels, strict=True):
        np.testing.assert_array_equal(ours, quantize_rdo(one, step, 0.1), strict=True)
    assert isinstance(entropy_coding.quantize_rdo(w[0], 0.5, 0.1, implementation="xla"), jax.Array)
