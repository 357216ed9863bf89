"""Several files of one tree: those of `compress`, whoever decides their levels."""

import numpy as np
import pytest

from kernels.entropy_coding import Quantized, compress, compress_many


def tree() -> dict:
    rng = np.random.default_rng(0)
    leaves = {name: rng.laplace(0, 0.1, (50, 60)).astype(np.float32) for name in ("a", "b", "turned")}
    leaves["a"][10:20] = 0
    leaves["turned"] = (leaves["turned"].cumsum(1) / 8).T.copy()  # worth another order of axes
    leaves["small"], leaves["vector"] = rng.normal(size=(4, 5)).astype(np.float32), rng.normal(size=30)
    leaves["integers"], leaves["levels"] = np.arange(3000), Quantized(np.arange(2500) % 7, 0.1)
    return leaves


@pytest.mark.parametrize("quantizer", ["rdo", pytest.param("trellis", marks=pytest.mark.slow)])
def test_bytes_do_not_depend_on_who_decides(quantizer):
    weights, importance = tree(), {"a": np.random.default_rng(1).exponential(1, (50, 60))}
    candidates = [
        {"step": step, "small_step": 0.3, "rate_weight": rate, "quantizer": quantizer, "importance": of}
        for step, rate, of in ((0.03, 0.2, None), (0.06, 0.1, None), (0.03, 0.2, importance), (0.03, 0.0, None))
    ]
    expected = [compress(weights, **options) for options in candidates]
    assert len(set(expected)) == len(candidates)
    assert compress_many(weights, candidates, check=True) == expected
    assert compress_many(weights, candidates, implementation="xla", check=True) == expected


def test_settings_need_not_be_alike_and_none_are_none():
    weights = tree()
    candidates = [{}, {"step": 0.05}, {"qp": -16, "quantizer": "trellis", "rate_weight": 0.3, "n_unary": 4}]
    expected = [compress(weights, **options) for options in candidates]
    assert compress_many(weights, candidates, implementation="xla") == expected
    assert compress_many(weights, []) == []


def test_the_tensor_is_named_that_cannot_be_quantised():
    weights = tree() | {"b": np.full((50, 60), 1e10)}
    step = {"a": 0.1, "b": 0.1}
    with pytest.raises(ValueError, match="tensor 'b': step=0.1 is too small"):
        compress_many(weights, [{"step": step, "rate_weight": 0.1}], implementation="xla")
    with pytest.raises(ValueError, match="implementation='gpu' is neither"):
        compress_many(weights, [{}], implementation="gpu")
