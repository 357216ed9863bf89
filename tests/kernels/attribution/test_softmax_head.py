"""The softmax at the end of a function: refused by analyzers, taken off by tracing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution

W = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
X = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)


def logits(w, x):
    return jax.nn.relu(x) @ w


def by_hand(z):
    e = jnp.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


HEADS = {
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "logsumexp": lambda z: z - jax.nn.logsumexp(z, axis=-1, keepdims=True),
    "by hand": by_hand,
    "without a maximum": lambda z: jnp.exp(z) / jnp.sum(jnp.exp(z), -1, keepdims=True),
    "log of softmax": lambda z: jnp.log(jax.nn.softmax(z)),
    "times an inverse": lambda z: jnp.exp(z) * (1 / jnp.sum(jnp.exp(z), -1, keepdims=True)),
    "compiled": jax.jit(jax.nn.softmax),
    "cast": lambda z: jax.nn.softmax(z.astype(jnp.float32)).astype(jnp.float32),
    "mapped": lambda z: jax.vmap(jax.nn.softmax)(z),
    "in a dictionary": lambda z: {"p": jax.nn.softmax(z)},
}


@pytest.mark.parametrize("name", HEADS)
def test_the_logits_come_back(name):
    def fn(w, x):
        return HEADS[name](logits(w, x))

    stripped = attribution.strip_softmax(fn)
    y = stripped(W, X)
    y = y["p"] if isinstance(y, dict) else y
    np.testing.assert_array_equal(y, logits(W, X))
    np.testing.assert_array_equal(
        jax.tree.leaves(jax.jit(stripped)(W, X))[0], jax.tree.leaves(jax.jit(logits)(W, X))[0]
    )
    with pytest.raises(ValueError, match=r"fn ends with a softmax.*attribution.strip_softmax.fn."):
        attribution.analyzer("lrp.z")(fn, W, X)
    with pytest.raises(ValueError, match=r"fn ends with a softmax"):
        attribution.analyzer("gradient")(fn, W, X)
    _, found = attribution.analyzer("lrp.epsilon")(stripped, W, X)
    np.testing.assert_allclose(found, attribution.analyzer("lrp.epsilon")(logits, W, X)[1], rtol=1e-6, atol=1e-7)


def test_what_is_no_softmax_says_how_it_ends():
    with pytest.raises(ValueError, match="does not end with a softmax or log-softmax but with 'dot_general' at"):
        attribution.strip_softmax(logits)(W, X)
    with pytest.raises(ValueError, match="but with its input"):
        attribution.strip_softmax(lambda w, x: x)(W, X)
    with pytest.raises(ValueError, match="does not end with a softmax"):  # attention is none at the end
        attribution.strip_softmax(lambda w, x: jax.nn.softmax(x @ w) @ w.T)(W, X)
    with pytest.raises(ValueError, match="does not end with a softmax"):  # a norm
        attribution.strip_softmax(lambda w, x: x / x.sum(-1, keepdims=True))(W, X)
    attribution.analyzer("input")(lambda w, x: jax.nn.softmax(x @ w), W, X)  # explains no output


def test_temperatures_belong_to_the_logits():
    stripped = attribution.strip_softmax(lambda w, x: jax.nn.softmax(logits(w, x) / 2))
    np.testing.assert_array_equal(stripped(W, X), logits(W, X) / 2)


def test_derivatives_of_their_own_stay():
    @jax.custom_vjp
    def doubled(x):
        return x * 1.0

    doubled.defvjp(lambda x: (x * 1.0, None), lambda _, g: (2 * g,))
    stripped = attribution.strip_softmax(lambda w, x: jax.nn.softmax(doubled(x) @ w))
    found = jax.grad(lambda x: stripped(W, x).sum())(X)
    np.testing.assert_allclose(found, 2 * jax.grad(lambda x: (x @ W).sum())(X), rtol=1e-6)


def test_parameters_that_are_no_arrays():
    stripped = attribution.strip_softmax(lambda p, x: jax.nn.softmax(p["f"](x @ p["w"])))
    params = {"w": W, "f": jnp.tanh}
    np.testing.assert_array_equal(stripped(params, X), jnp.tanh(X @ W))
