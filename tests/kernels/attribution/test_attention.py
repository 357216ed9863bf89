"""Transformers, by AttnLRP and CP-LRP.

The oracle is automatic differentiation: with no stabiliser both rules are the input times the gradient of a function in
which some factors are constants and the gradients of some products are halved.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from kernels.attribution import attribute, composites, describe, rules

HEADS, WIDTH, TIME = 2, 8, 5
SHAPES = {
    "q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "bq": WIDTH, "bk": WIDTH, "bv": WIDTH,
    "o": (WIDTH, WIDTH), "scale1": WIDTH, "shift1": WIDTH, "scale2": WIDTH, "shift2": WIDTH, "up": (WIDTH, 16),
    "gate": (WIDTH, 16), "b": 16, "down": (16, WIDTH), "head": (WIDTH, 3), "positions": (TIME, WIDTH),
}  # fmt: skip
RANDOM = np.random.default_rng(1)
PARAMS = {name: 0.5 * RANDOM.normal(size=shape) for name, shape in SHAPES.items()}
X = RANDOM.normal(size=(2, TIME, WIDTH))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def constant(x):
    return jax.lax.stop_gradient(x)


def halved(product, a, b):
    """A product whose gradients are half of what they are."""
    return (product(a, constant(b)) + product(constant(a), b)) / 2


PLAIN = {
    "activation": jax.nn.gelu, "norm": lambda x: (x - x.mean(-1, keepdims=True)) / jnp.std(x, -1, keepdims=True),
    "product": lambda product, a, b: product(a, b), "weights": lambda x: x, "shift": lambda x, b: x + b,
}  # fmt: skip
ATTN = PLAIN | {
    "activation": lambda x: x * constant(jax.nn.gelu(x) / x), "norm": lambda x: x * constant(PLAIN["norm"](x) / x),
    "product": halved, "shift": lambda x, b: x * constant((x + b) / x),
}  # fmt: skip
CP = PLAIN | {
    "activation": ATTN["activation"], "weights": constant,
    "norm": lambda x: (x - x.mean(-1, keepdims=True)) / constant(jnp.std(x, -1, keepdims=True)),
    "product": lambda product, a, b: product(a, b),
}  # fmt: skip


def block(p, x, causal=True, gated=False, kind=PLAIN):
    """A block of a transformer; `kind` says how it is differentiated, not what it computes."""

    def heads(h, name):
        return (h @ p[name] + p[f"b{name}"]).reshape(*h.shape[:2], HEADS, -1)

    h = kind["shift"](kind["norm"](x) * p["scale1"], p["shift1"])
    q, k, v = (heads(h, name) for name in "qkv")
    logits = kind["product"](lambda q, k: jnp.einsum("bthd,bshd->bhts", q, k), q, k) / 2
    if causal:
        logits = jnp.where(jnp.tril(jnp.ones((TIME, TIME), bool)), logits, -jnp.inf)
    weights = kind["weights"](jax.nn.softmax(logits))
    mixed = kind["product"](lambda a, v: jnp.einsum("bhts,bshd->bthd", a, v), weights, v).reshape(x.shape)
    x = x + mixed @ p["o"]
    h = kind["shift"](kind["norm"](x) * p["scale2"], p["shift2"])
    up = kind["activation"](h @ p["up"] + p["b"])
    if gated:
        up = kind["product"](jnp.multiply, up, h @ p["gate"])
    return x + up @ p["down"]


def network(p, x, **options):
    return block(p, x, **options)[:, -1] @ p["head"]


EXACT = {
    "attnlrp": (composites.attnlrp(0.0, 0.0), ATTN),
    "cp_lrp": (composites.cp_lrp(0.0, 0.0), CP),
}


@pytest.mark.parametrize("options", [{}, {"causal": False}, {"gated": True}], ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_rules_are_a_gradient_with_constants(name, options):
    composite, kind = EXACT[name]
    if name == "cp_lrp" and options.get("gated"):
        kind = kind | {"product": halved_where_entrywise}
    y, relevance = attribute(lambda p, x: network(p, x, **options), PARAMS, X, target=1, rules=composite)

    def explained(x):
        return network(PARAMS, x, **options, kind=kind)[:, 1].sum()

    np.testing.assert_allclose(y[:, 1].sum(), explained(X), rtol=1e-12)
    expected = X * jax.grad(explained)(jnp.asarray(X))
    np.testing.assert_allclose(relevance, expected, atol=1e-9 * np.abs(expected).max())


def halved_where_entrywise(product, a, b):
    """Two signals have half each, weights of attention nothing."""
    return halved(product, a, b) if product is jnp.multiply else product(a, b)


def written_out(p, x):
    """The same attention: softmax by hand, matmul and transposes, heads one by one, a fused projection."""
    h = PLAIN["norm"](x) * p["scale1"] + p["shift1"]
    fused = h @ jnp.concatenate([p["q"], p["k"], p["v"]], 1) + jnp.concatenate([p["bq"], p["bk"], p["bv"]])
    q, k, v = jnp.split(fused, 3, -1)
    results = []
    for head in range(HEADS):
        part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        logits = (q[..., part] @ k[..., part].swapaxes(1, 2)) / 2
        logits = jnp.where(jnp.tril(jnp.ones((TIME, TIME), bool)), logits, -1e30)
        weights = jnp.exp(logits - logits.max(-1, keepdims=True))
        results.append((weights / weights.sum(-1, keepdims=True)) @ v[..., part])
    x = x + jnp.concatenate(results, -1) @ p["o"]
    h = PLAIN["norm"](x) * p["scale2"] + p["shift2"]
    return (x + jax.nn.gelu(h @ p["up"] + p["b"]) @ p["down"])[:, -1] @ p["head"]


def by_library(p, x):
    """By `jax.nn.dot_product_attention`, of one example that is mapped."""

    def one(x):
        h = PLAIN["norm"](x) * p["scale1"] + p["shift1"]
        q, k, v = ((h @ p[n] + p[f"b{n}"]).reshape(TIME, HEADS, -1) for n in "qkv")
        x = x + jax.nn.dot_product_attention(q, k, v, is_causal=True, scale=0.5).reshape(x.shape) @ p["o"]
        h = PLAIN["norm"](x) * p["scale2"] + p["shift2"]
        return (x + jax.nn.gelu(h @ p["up"] + p["b"]) @ p["down"])[-1] @ p["head"]

    return jax.vmap(one)(x)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("writing", [written_out, by_library])
def test_attention_is_one_however_it_is_written(name, writing):
    for composite in (EXACT[name][0], name):
        y, expected = attribute(network, PARAMS, X, target=1, rules=composite)
        got, relevance = attribute(writing, PARAMS, X, target=1, rules=composite)
        np.testing.assert_allclose(got, y, atol=1e-12)
        # Stabilisers stand elsewhere, and the library takes its softmax in single precision.
        tolerance = 1e-6 if writing is by_library else 1e-9 if composite is EXACT[name][0] else 1e-4
        np.testing.assert_allclose(relevance, expected, atol=tolerance * np.abs(expected).max())


def test_by_hand():
    """The formulas of the rules, entry by entry."""
    random = np.random.default_rng(2)
    logits, values, start = (random.normal(size=shape) for shape in ((3, 4), (4, 2), (3, 2)))
    kinds = (("attention", rules.Uniform(0.0)), ("attention_weights", rules.Softmax()))
    _, (of_logits, of_values) = attribute(
        lambda p, x: jax.nn.softmax(x[0]) @ x[1], None, (logits, values), target=start,
        rules=composites.Composite(kinds),
    )  # fmt: skip
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    share = start / (2 * weights @ values)
    of_weights = weights * (share @ values.T)
    np.testing.assert_allclose(of_values, values * (weights.T @ share), rtol=1e-12)
    np.testing.assert_allclose(
        of_logits, logits * (of_weights - weights * of_weights.sum(1, keepdims=True)), atol=1e-12
    )
    np.testing.assert_allclose(of_weights.sum() + np.sum(of_values), start.sum(), rtol=1e-12)


def test_conservation_but_for_biases_and_softmaxes():
    *_, report = attribute(network, PARAMS, X, target=1, rules="attnlrp", return_report=True)
    softmax = np.array([kind == "attention_weights" for kind in report.kinds])
    rest = report.explained - report.arrived - report.bias.sum() - report.epsilon.sum() - report.other[softmax].sum()
    np.testing.assert_allclose(rest, 0, atol=1e-4 * float(np.abs(report.received).max()))


def test_masked_entries_get_nothing_and_give_no_nan():
    x = X.copy()
    for mask in (-np.inf, -1e30, np.finfo(np.float64).min):

        def fn(p, x, mask=mask):
            logits = jnp.where(jnp.arange(TIME) < 2, (x @ p["q"]) @ x.swapaxes(1, 2), mask)
            return (jax.nn.softmax(logits) @ (x @ p["v"]))[:, 0] @ p["head"]

        _, relevance = attribute(fn, PARAMS, x, target=1, rules="attnlrp")
        assert np.isfinite(relevance).all() and not np.asarray(relevance)[:, 2:].any()


def test_composites_without_attention_say_which_have_it():
    with pytest.raises(NotImplementedError, match=r"composites.attnlrp\(\).*cp_lrp"):
        attribute(network, PARAMS, X, target=1, rules="epsilon_plus")
    with pytest.raises(NotImplementedError, match="Explain the logits"):
        attribute(lambda p, x: jax.nn.softmax(network(p, x)), PARAMS, X, target=1, rules="attnlrp")
    rows = describe(network, PARAMS, X, rules="cp_lrp")
    assert any(row["kinds"] == ("attention_weights", "softmax", "unknown") for row in rows)


def rotated(p, x):
    """Rotary embeddings before the products, grouped heads, RMS norms: a block of a language model."""
    angle = jnp.arange(TIME)[:, None] * jnp.array([1.0, 0.1])

    def rotary(h):
        a, b = jnp.split(h, 2, -1)
        cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    h = x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale1"]
    q, k, v = ((h @ p[n])[..., : WIDTH if n == "q" else 4].reshape(2, TIME, -1, 4) for n in "qkv")
    mixed = jax.nn.dot_product_attention(rotary(q), rotary(k), v, is_causal=True).reshape(x.shape)
    return (x + mixed @ p["o"])[:, -1] @ p["head"]


def test_rotary_embeddings_grouped_heads_and_root_mean_squares():
    *_, report = attribute(rotated, PARAMS, X, target=1, rules=composites.cp_lrp(0.0, 0.0), return_report=True)
    np.testing.assert_allclose(report.explained, report.arrived, rtol=1e-9)  # there is no bias, no mean, no softmax
    _, relevance = attribute(rotated, PARAMS, X, target=1, rules="attnlrp")
    assert np.isfinite(relevance).all()


def test_several_composites_read_the_function_each_in_its_way():
    _, (first, second) = attribute(network, PARAMS, X, target=1, rules=["attnlrp", "cp_lrp"])
    for got, name in ((first, "attnlrp"), (second, "cp_lrp")):
        _, alone = attribute(network, PARAMS, X, target=1, rules=name)
        np.testing.assert_allclose(got, alone, atol=1e-12)
    _, in_chunks = attribute(network, PARAMS, X, target=1, rules="attnlrp", batch_size=1)
    np.testing.assert_allclose(in_chunks, first, atol=1e-12)


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_attention_of_flax(kind):
    with jax.enable_x64(False):
        x = X.astype(np.float32)
        if kind == "linen":
            module = linen.MultiHeadDotProductAttention(num_heads=HEADS)
            params = module.init(jax.random.key(0), x, x)

            def fn(params, x):
                return module.apply(params, x, x)[:, 0]

        else:
            module = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=nnx.Rngs(0))
            graph, params = nnx.split(module)

            def fn(params, x):
                return nnx.merge(graph, params)(x)[:, 0]

        *_, report = attribute(fn, params, x, target=1, rules=composites.cp_lrp(1e-9, 1e-9), return_report=True)
        np.testing.assert_allclose(report.explained, report.arrived, rtol=1e-3)  # biases are zero at first


def test_a_softmax_by_its_axes_is_one_by_its_derivative():
    random = np.random.default_rng(4)
    logits, relevance = random.normal(size=(2, 3, 4)), jnp.asarray(random.normal(size=(2, 3, 4)))
    logits[0, 1, 2:] = -np.inf
    logits = jnp.asarray(logits)
    for axes in ((2,), (0,), (1, 2)):
        arguments = (
            (relevance,),
            (logits,),
            (jax.nn.softmax(logits, axes),),
            lambda x, axes=axes: (jax.nn.softmax(x, axes),),
        )
        (expected,) = rules.Softmax().backward(*arguments)
        (got,) = rules.Softmax().backward(*arguments, axes)
        np.testing.assert_allclose(got, expected, atol=1e-14)
        assert np.isfinite(got).all() and not np.asarray(got)[0, 1, 2:].any()


@pytest.mark.parametrize("writing", [network, written_out])
def test_exponentials_are_taken_once(writing):
    """They need not be kept for the way back, which takes most of the memory of attention."""
    program = jax.make_jaxpr(lambda x: attribute(writing, PARAMS, x, target=1, rules="attnlrp")[1])(X)
    assert str(program).count("= exp ") == (1 if writing is network else HEADS)


def test_gates_of_experts():
    """The largest two, by a softmax of their logits, put to the experts by a product with ones."""

    def experts(p, x):
        logits, index = jax.lax.top_k(x @ p["q"][:, :4], 2)
        gates = jnp.einsum("btk,btke->bte", jax.nn.softmax(logits), jax.nn.one_hot(index, 4))
        values = jnp.stack([x @ p["v"] * (number + 1) for number in range(4)], -1)
        return jnp.einsum("bte,btde->btd", gates, values)[:, -1] @ p["head"]

    *_, report = attribute(experts, PARAMS, X, target=1, rules=composites.cp_lrp(0.0, 0.0), return_report=True)
    np.testing.assert_allclose(report.explained, report.arrived, rtol=1e-9)
    _, relevance = attribute(experts, PARAMS, X, target=1, rules="attnlrp")
    assert np.isfinite(relevance).all()
