"""Rules of lxt and autolrp by hand; `make peers-lrp` compares the composites with the libraries themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import attribute, composites

RANDOM = np.random.default_rng(0)
A, B = RANDOM.normal(size=(2, 3, 4))
START = RANDOM.normal(size=(3, 4))
PARAMS = {"kernel": RANDOM.normal(size=(4, 4)), "bias": RANDOM.normal(size=4), "scale": RANDOM.normal(size=4)}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def explained(fn, x, rules, start=START):
    return attribute(fn, PARAMS, x, target=start, rules=rules)[1]


def test_autolrp_shares_by_magnitude():
    """Sums, differences, entrywise products, and sums over entries: |x| of the whole; biases |b| of |z| + |b|."""
    for fn in (lambda p, x: x[0] + x[1], lambda p, x: x[0] - x[1], lambda p, x: x[0] * x[1]):
        one, other = explained(fn, (A, B), "autolrp")
        np.testing.assert_allclose(one, START * abs(A) / (abs(A) + abs(B)), rtol=1e-8)
        np.testing.assert_allclose(one + other, START, rtol=1e-8)
    summed = explained(lambda p, x: x.sum(1, keepdims=True), A, "autolrp", START[:, :1])
    np.testing.assert_allclose(summed, START[:, :1] * abs(A) / abs(A).sum(1, keepdims=True), rtol=1e-8)
    z = A @ PARAMS["kernel"]
    rest = START * abs(z) / (abs(z) + abs(PARAMS["bias"]))
    found = explained(lambda p, x: x @ p["kernel"] + p["bias"], A, "autolrp")
    np.testing.assert_allclose(found, A * ((rest / z) @ PARAMS["kernel"].T), rtol=1e-6)


def norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True)) * p["scale"] + p["bias"]


def test_norms():
    """autolrp passes all but what the shift keeps by magnitude; lxt shares by z, the mean taken off included."""
    scaled = norm(PARAMS | {"bias": 0.0}, jnp.asarray(A))
    kept = abs(PARAMS["bias"]) / (abs(scaled) + abs(PARAMS["bias"]))
    np.testing.assert_allclose(explained(norm, A, "autolrp"), START * (1 - kept), rtol=1e-8)
    share = START * scaled / (scaled + PARAMS["bias"])
    spread = jnp.sqrt(((A - A.mean(1, keepdims=True)) ** 2).mean(1, keepdims=True))
    slope = jax.grad(lambda x: jnp.sum(share / scaled * (x - x.mean(1, keepdims=True)) / spread * PARAMS["scale"]))
    expected = A * slope(jnp.asarray(A))
    found = explained(norm, A, composites.lxt(efficient=True))
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())
    assert np.abs(explained(norm, A, "lxt") - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(explained(norm, A, "attnlrp") - expected).max() > 0.1  # which passes


def test_gates_by_the_efficient_cp_lrp():
    """What is an activation gets nothing, wherever it stands."""
    rule = composites.lxt("cp_lrp", efficient=True)
    for fn in (lambda p, x: jax.nn.silu(x[0]) * x[1], lambda p, x: x[1] * jax.nn.silu(x[0])):
        gate, signal = explained(fn, (A, B), rule)
        assert not np.asarray(gate).any()
        np.testing.assert_allclose(signal, START, rtol=1e-12)
        gate, signal = explained(fn, (A, B), composites.lxt(efficient=True))
        np.testing.assert_allclose(gate, START / 2, rtol=1e-12)


def test_presets_and_what_is_refused():
    ratio = explained(lambda p, x: jax.nn.gelu(x), A, composites.autolrp("attnlrp"))
    np.testing.assert_allclose(ratio, START * jax.nn.gelu(A) / A, rtol=1e-6)
    weigh = lambda p, x: jax.nn.softmax(x[0] @ x[0].T) @ x[1]  # noqa: E731
    of_logits = [np.abs(explained(weigh, (A, B), composites.autolrp(name))[0]).max() for name in ("BASE", "CPLRP")]
    assert of_logits[0] > 0 and of_logits[1] == 0

    def filtered(p, x):
        axes = ("NWC", "WIO", "NWC")
        return lax.conv_general_dilated(x[None], p["kernel"][None], (1,), "SAME", dimension_numbers=axes)[0]

    assert np.isfinite(explained(filtered, A, "autolrp")).all()
    with pytest.raises(NotImplementedError, match="rule of its own for convolutions"):
        explained(filtered, A, composites.autolrp("attnlrp"))
    with pytest.raises(ValueError, match="preset is 'base'; expected one of BASE, ATTNLRP"):
        composites.autolrp("base")
    with pytest.raises(ValueError, match="method is 'lrp'; expected one of attnlrp, cp_lrp"):
        composites.lxt("lrp")
