"""Steps that are fitted to decided levels, importances on their way into a file, and what a dtype can hold."""

import numpy as np
import pytest

from kernels import entropy_coding


def test_fitted_steps_cost_nothing_and_lower_the_error():
    rng = np.random.default_rng(5)
    tree = {"a": rng.laplace(0, 1, (60, 70)).astype(np.float32), "b": rng.laplace(0, 1, 40).astype(np.float32)}
    for options in ({"quantizer": "trellis"}, {"rate_weight": 0.2}, {"quantizer": "uniform"}):
        sizes, errors = [], []
        for fit in (False, True):
            data = entropy_coding.compress(tree, step=0.7, small_step=0.6, fit_steps=fit, **options)
            back = entropy_coding.decompress(data)
            summary = entropy_coding.inspect(data)
            sizes.append(summary.total_bytes - summary.header_bytes)
            errors.append([float(((back[name] - tree[name]) ** 2).sum()) for name in tree])
        assert sizes[0] == sizes[1] and (np.array(errors[1]) < np.array(errors[0])).all()
    steps = {leaf.name: leaf.step for leaf in entropy_coding.inspect(entropy_coding.compress(tree, step=0.7)).tensors}
    assert steps["a"] == 0.7  # nearest levels stand for the step that was asked for


@pytest.mark.parametrize("size", [20, 60])  # small tensors share a stream, large ones have their own
@pytest.mark.parametrize("options", [{"quantizer": "trellis"}, {"quantizer": "rdo"}, {"quantizer": "uniform"}])
def test_steps_are_fitted_to_what_matters(size, options):
    rng = np.random.default_rng(8)
    w, importance = rng.laplace(0, 1, (size, size)).astype(np.float32), rng.exponential(1, (size, size))
    options |= {} if options["quantizer"] == "uniform" else {"rate_weight": 0.1}
    errors = []
    for fit in (False, True):
        weights = None if options["quantizer"] == "uniform" and not fit else {"a": importance}
        data = entropy_coding.compress({"a": w}, step=0.4, importance=weights, fit_steps=fit, **options)
        errors.append(float((importance * (entropy_coding.decompress(data)["a"] - w) ** 2).sum()))
    assert errors[1] < errors[0]


def test_importances_of_any_unit_and_none_that_make_no_sense():
    w = np.random.default_rng(9).laplace(0, 1, (60, 60)).astype(np.float32)
    huge = entropy_coding.compress(
        {"a": w}, step=0.1, quantizer="trellis", rate_weight=0.1, importance={"a": np.full(w.shape, 1e308)}
    )
    assert np.abs(entropy_coding.decompress(huge)["a"] - w).max() < 0.2
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match="tensor 'a': importance holds"):
            entropy_coding.compress({"a": w}, step=0.1, rate_weight=0.1, importance={"a": np.full(w.shape, bad)})
    with pytest.raises(ValueError, match="importance changes nothing"):
        entropy_coding.compress({"a": w}, step=0.1, importance={"a": np.ones(w.shape)})


@pytest.mark.parametrize("shape", [(3,), (60, 60)])
def test_levels_that_a_dtype_cannot_hold_are_refused(shape):
    w = np.full(shape, 65504, np.float16)
    with pytest.raises(ValueError, match="'a': its largest level.*more than float16"):
        entropy_coding.compress({"a": w}, step={"a": 130.0})
    assert np.isfinite(entropy_coding.decompress(entropy_coding.compress({"a": w}, step={"a": 100.0}))["a"]).all()


def test_a_step_from_another_library():
    w = np.ones((4, 5), np.float32)
    assert entropy_coding.compress({"a": w}, step=np.array(0.5)) == entropy_coding.compress({"a": w}, step=0.5)
