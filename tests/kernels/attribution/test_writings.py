"""An explanation does not hang on how a function is written: by sample, in any layout, with any form of each step."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import Stabilizer, attribute, composites, describe, rules
from tests.kernels.attribution import writings
from tests.kernels.oracles import attribution as oracle

QUICK, ALL = 1, 60  # random networks


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


def explained(fn, params, x, composite, **options):
    """Output and relevance, compiled without XLA's optimisations: compiling is what costs here."""
    call = jax.jit(lambda params, x: attribute(fn, params, x, target="argmax", rules=composite, **options))
    return call.lower(params, x).compile({"xla_backend_optimization_level": 0})(params, x)


RULES = {
    "flat": "epsilon_plus_flat", "alpha beta": "epsilon_alpha2_beta1", "box": composites.epsilon_gamma_box(-4.0, 4.0),
    "guided": "guided_backprop", "gradient": composites.gradient(), "excitation": "excitation_backprop",
}  # fmt: skip


def assert_equal(found, expected, tolerance=1e-6):
    """Equal up to a share of the largest relevance of each."""
    for name, values in expected.items():
        largest = np.abs(values).max()
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance * max(largest, 1e-12), err_msg=name)


@pytest.mark.parametrize("seed", [pytest.param(s, marks=pytest.mark.slow) if s >= QUICK else s for s in range(ALL)])
def test_random_networks(seed):
    """By batch, under vmap, in two other styles, and the first sample alone."""
    steps, params, x = writings.random_network(seed)
    y, expected = explained(writings.function(steps), params, x, RULES)
    start = y * (y == y.max(-1, keepdims=True))
    gradient = jax.vjp(lambda x: writings.function(steps)(params, x), x)[1](start)[0]
    assert_equal(expected, {"gradient": gradient}, 1e-10)
    for style in (writings.Style(mapped=True), writings.any_style(2 * seed), writings.any_style(2 * seed + 1)):
        other, found = explained(writings.function(steps, style), params, x, RULES)
        np.testing.assert_allclose(other, y, rtol=0, atol=1e-10)
        assert_equal(found, expected)
    for batch_size, rows in ((None, x[:1]), (1, x)):
        _, found = explained(
            writings.function(steps, writings.any_style(seed)), params, rows, RULES, batch_size=batch_size
        )
        assert_equal(found, {name: values[: len(rows)] for name, values in expected.items()})


def test_the_gradient_is_jax_own():
    """Through norms, masks, and functions with derivatives of their own."""
    draw = np.random.default_rng(0)
    params, x = {"w": draw.normal(size=(4, 5)), "v": draw.normal(size=(5, 3))}, draw.normal(size=(3, 4))

    def fn(p, x):
        h = jax.nn.standardize(x @ p["w"])
        h = jax.nn.softmax(_reversed(h) + _rounded(3 * h))
        return jnp.sort(_clipped(h), -1) @ p["v"]

    start = draw.normal(size=(3, 3))
    _, found = attribute(fn, params, x, target=start, rules=composites.gradient())
    expected = jax.vjp(lambda x: fn(params, x), x)[1](start)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@jax.custom_vjp
def _reversed(x):
    return x


_reversed.defvjp(lambda x: (x, None), lambda _, g: (-0.5 * g,))


@jax.custom_vjp
def _rounded(x):
    return jnp.round(x)


_rounded.defvjp(lambda x: (_rounded(x), None), lambda _, g: (g,))


@jax.custom_jvp
def _clipped(x):
    """Of several operations, in one of which entries meet."""
    return jnp.minimum(x, 2.0 * x.mean(-1, keepdims=True))


@_clipped.defjvp
def _(primals, tangents):
    return _clipped(*primals), 0.25 * tangents[0]


def test_a_straight_through_quantiser_passes():
    draw = np.random.default_rng(1)
    params, x = {"w": draw.normal(size=(4, 5)), "v": draw.normal(size=(5, 3))}, draw.normal(size=(3, 4))

    @jax.custom_vjp
    def quantized(h):  # with a step of its own for each sample
        step = jnp.max(jnp.abs(h), -1, keepdims=True) / 7
        return jnp.round(h / step) * step

    quantized.defvjp(lambda h: (quantized(h), None), lambda _, g: (g,))

    @jax.custom_vjp
    def binary(h):
        return (h > 0).astype(h.dtype)

    binary.defvjp(lambda h: (binary(h), None), lambda _, g: (g,))
    for function in (_rounded, quantized, binary):
        y, found = attribute(lambda p, x: function(x @ p["w"]) @ p["v"], params, x, rules=rules.Epsilon())  # noqa: B023
        inner = np.asarray(function(x @ params["w"]))
        r = oracle.epsilon(params["v"].T, 0.0, inner, np.asarray(y))
        expected = oracle.epsilon(params["w"].T, 0.0, x, r)
        np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max(), err_msg=function.__name__)


@pytest.mark.parametrize(
    "kind", [pytest.param("gap, layer norm", marks=pytest.mark.slow), "group norm", "film", "squeezed output"]
)
def test_a_sample_is_explained_alike_in_any_batch(kind):
    draw = np.random.default_rng(2)
    params = {"conv": {"kernel": draw.normal(size=(3, 3, 2, 4)), "bias": draw.normal(size=4)},
              "norm": {"scale": draw.uniform(0.5, 2, 4), "bias": draw.normal(size=4)},
              "film": {"kernel": draw.normal(size=(3, 8))}, "head": {"kernel": draw.normal(size=(4, 3)),
                                                                    "bias": draw.normal(size=3)}}  # fmt: skip
    x = {"image": draw.normal(size=(2, 5, 5, 2)), "label": np.array([0, 2])}

    def conv(p, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, p["kernel"], (1, 1), "SAME", dimension_numbers=numbers) + p["bias"]

    def fn(p, x):
        h = conv(p["conv"], x["image"])
        if kind == "film":  # scales and shifts by the label, which gets no relevance
            gamma, beta = jnp.split(p["film"]["kernel"][x["label"]], 2, -1)
            h = h * gamma[:, None, None] + beta[:, None, None]
        if kind == "group norm":
            apart = h.reshape(*h.shape[:3], 2, 2)
            over = (1, 2, 4)
            apart = (apart - apart.mean(over, keepdims=True)) / jnp.sqrt(apart.var(over, keepdims=True) + 1e-5)
            h = jax.nn.relu(apart.reshape(h.shape) * p["norm"]["scale"] + p["norm"]["bias"])
        h = h.mean((1, 2))
        if kind == "gap, layer norm":
            h = jax.nn.standardize(h) * p["norm"]["scale"] + p["norm"]["bias"]
        y = h @ p["head"]["kernel"] + p["head"]["bias"]
        return y.max(-1).squeeze() if kind == "squeezed output" else y

    names = ("epsilon_plus_flat", "epsilon_alpha2_beta1", "excitation_backprop")
    _, expected = attribute(fn, params, x, target="argmax", rules={name: name for name in names})
    alone = jax.tree.map(lambda leaf: leaf[:1], x)
    _, first = attribute(fn, params, alone, target="argmax", rules={name: name for name in names})
    for name in names:
        whole = expected[name]["image"]
        np.testing.assert_allclose(first[name]["image"], whole[:1], atol=1e-6 * np.abs(whole).max())


def test_products_with_itself_are_conserved():
    h = np.random.default_rng(3).normal(size=(2, 5))
    for fn in (
        lambda _, h: jnp.einsum("bi,bi->b", h, h), lambda _, h: (h * h).sum(-1), lambda _, h: (h**2).sum(-1),
        lambda _, h: jax.vmap(jnp.dot)(h, h), lambda _, h: jnp.einsum("bi,bj,ij->b", h, h, np.eye(5)),
    ):  # fmt: skip
        y, relevance = attribute(fn, None, h, rules="epsilon_plus")
        np.testing.assert_allclose(relevance, h * h, atol=1e-5)
        np.testing.assert_allclose(relevance.sum(-1), y, atol=1e-5)


def test_a_product_of_two_values_gives_each_a_half_however_it_is_written():
    draw = np.random.default_rng(4)
    x = {"a": draw.normal(size=(3, 4)), "b": draw.normal(size=(3, 4))}
    expected = None
    for fn in (
        lambda _, x: (x["a"] * x["b"]).sum(-1), lambda _, x: jnp.einsum("bi,bi->b", x["a"], x["b"]),
        lambda _, x: jax.vmap(jnp.dot)(x["a"], x["b"]), lambda _, x: (x["a"][:, None] @ x["b"][..., None])[:, 0, 0],
        lambda _, x: jnp.einsum("bi,bi->bi", x["a"], x["b"]).sum(-1),
    ):  # fmt: skip
        y, relevance = attribute(fn, None, x, rules="epsilon_plus")
        expected = relevance if expected is None else expected
        np.testing.assert_allclose(sum(r.sum(-1) for r in relevance.values()), y, rtol=1e-5)
        np.testing.assert_allclose(relevance["a"], relevance["b"], rtol=1e-9)
        np.testing.assert_allclose(relevance["a"], expected["a"], rtol=1e-5)


def _sum(h):
    return h.sum(-1, keepdims=True)


def _shifted(h):
    return h - h.max(-1, keepdims=True)


SOFTMAXES = {
    "softmax": jax.nn.softmax, "log-softmax": jax.nn.log_softmax,
    "by hand": lambda h: jnp.exp(h) / _sum(jnp.exp(h)),
    "reciprocal": lambda h: jnp.exp(_shifted(h)) * (1 / _sum(jnp.exp(_shifted(h)))),
    "logarithm": lambda h: jnp.exp(h - jax.nn.logsumexp(h, axis=-1, keepdims=True)),
    "stable": lambda h: _shifted(h) - jnp.log(_sum(jnp.exp(_shifted(h)))),
    "safe": lambda h: jnp.exp(h) / jnp.maximum(_sum(jnp.exp(h)), 1e-6),
    "product": lambda h: jnp.exp(h) / (jnp.exp(h) @ jnp.ones((3, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_softmax_head_is_refused_however_it_is_written(name, mapped):
    x, w = np.random.default_rng(5).normal(size=(2, 4)), np.random.default_rng(6).normal(size=(4, 3))
    head = jax.vmap(SOFTMAXES[name]) if mapped else SOFTMAXES[name]
    with pytest.raises(NotImplementedError, match="logits"):
        attribute(lambda p, x: head(x @ p), w, x, target="argmax", rules="epsilon_plus")


def test_a_statistic_that_is_a_feature_too_keeps_its_relevance():
    x, w = np.random.default_rng(7).normal(size=(2, 4)) + 1, np.random.default_rng(8).normal(size=(5, 3))

    def fn(p, x):
        mean = x.mean(-1, keepdims=True)
        return jnp.concatenate([x - mean, mean], -1) @ p

    y, relevance = attribute(fn, w, x, rules=rules.Epsilon())
    h = np.concatenate([x - x.mean(-1, keepdims=True), x.mean(-1, keepdims=True)], -1)
    r = oracle.epsilon(w.T, 0.0, h, np.asarray(y))
    expected = r[:, :4] + oracle.norm(np.full((1, 4), 0.25), x, r[:, 4:])
    np.testing.assert_allclose(relevance, expected, atol=1e-9)


def test_every_input_has_a_first_layer():
    """A siamese network, and a table beside an image."""
    draw = np.random.default_rng(9)
    params = {"conv": {"kernel": draw.normal(size=(3, 3, 1, 3))}, "head": {"kernel": draw.normal(size=(3, 2))},
              "table": {"kernel": draw.normal(size=(4, 3))}}  # fmt: skip
    image, table = draw.normal(size=(2, 5, 5, 1)), draw.normal(size=(2, 4))

    def features(p, x):
        y = lax.conv_general_dilated(x, p["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.relu(y).mean((1, 2))

    def siamese(p, x):
        return (features(p, x["left"]) + features(p, x["right"])) @ p["head"]["kernel"]

    def stacked(p, x):
        both = features(p, jnp.concatenate([x["left"], x["right"]]))
        return (both[: len(both) // 2] + both[len(both) // 2 :]) @ p["head"]["kernel"]

    pictures = {"left": image, "right": image}
    for composite in (composites.epsilon_plus_flat(), composites.epsilon_gamma_box(-3.0, 3.0)):
        _, found = attribute(siamese, params, pictures, target="argmax", rules=composite)
        np.testing.assert_allclose(found["left"], found["right"], atol=1e-6 * np.abs(found["left"]).max())
        _, other = attribute(stacked, params, pictures, target="argmax", rules=composite)
        np.testing.assert_allclose(other["right"], found["right"], atol=1e-6 * np.abs(found["right"]).max())
    rows = describe(siamese, params, pictures)
    assert [row["rule"].split("(")[0] for row in rows if "conv" in row["kinds"]] == ["Flat", "Flat"]

    def both(p, x):
        return (features(p, x["image"]) + jax.nn.relu(x["table"] @ p["table"]["kernel"])) @ p["head"]["kernel"]

    x = {"image": image, "table": table}
    _, found = attribute(both, params, x, target="argmax")
    assert np.ptp(np.asarray(found["table"]), axis=1).max() < 1e-9  # Flat: evenly over the table
    _, once = attribute(both, params, x, target="argmax", rules=composites.epsilon_plus_flat(first="execution"))
    assert np.ptp(np.asarray(once["table"]), axis=1).max() > 1e-3


def test_one_output_a_sample():
    x, w = np.random.default_rng(10).normal(size=(3, 4)), np.random.default_rng(11).normal(size=(4, 1))
    _, expected = attribute(lambda p, x: x @ p, w, x, target=0, rules="epsilon_plus")
    for fn in (lambda p, x: (x @ p)[:, 0], lambda p, x: x @ p[:, 0], lambda p, x: jax.vmap(lambda s: s @ p[:, 0])(x)):
        for target in (None, 0, -1, "argmax", np.zeros(3, int)):
            _, found = attribute(fn, w, x, target=target, rules="epsilon_plus")
            np.testing.assert_allclose(found, expected, atol=1e-12)
            _, alone = attribute(
                fn, w, x[:1], target=target if np.ndim(target) == 0 else target[:1], rules="epsilon_plus"
            )
            np.testing.assert_allclose(alone, expected[:1], atol=1e-12)
        with pytest.raises(ValueError, match="target is 1; the output has 1"):
            attribute(fn, w, x, target=1)
        with pytest.raises(ValueError, match="one value a sample"):
            attribute(fn, w, x, target=np.zeros(2, int))
    # The classes of one sample are none of these.
    _, single = attribute(lambda p, x: x @ p, w @ np.ones((1, 4)), x[0], target=2, rules="epsilon_plus")
    np.testing.assert_allclose(single, expected[0], atol=1e-12)
    mapped = jax.vmap(
        lambda x: attribute(lambda p, x: x @ p, w @ np.ones((1, 4)), x, target=2, rules="epsilon_plus")[1]
    )(x)
    np.testing.assert_allclose(mapped, expected, atol=1e-12)


def test_units_of_a_sample_wherever_it_lies():
    x, w = np.random.default_rng(12).normal(size=(3, 2, 4)), np.random.default_rng(13).normal(size=(4, 5))
    rule = rules.Epsilon(Stabilizer(0.1, norm_scale=True))
    expected = None
    for fn in (
        lambda p, x: x @ p, lambda p, x: jnp.moveaxis(jnp.einsum("io,bti->obt", p, x), 0, -1),
        lambda p, x: (x.reshape(-1, 4) @ p).reshape(-1, 2, 5), lambda p, x: jax.vmap(lambda s: s @ p)(x),
    ):  # fmt: skip
        y, found = attribute(fn, w, x, rules=rule)
        flat = np.asarray(y).reshape(3, -1)
        scale = 0.1 * np.sqrt((flat**2).mean(1))[:, None, None]
        z = np.asarray(y) + np.where(np.asarray(y) >= 0, scale, -scale)
        expected = x * ((np.asarray(y) / z) @ w.T)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bounds_have_the_shape_of_what_the_function_gets():
    draw = np.random.default_rng(14)
    kernel, x = draw.normal(size=(3, 3, 2, 3)), draw.uniform(-1, 1, size=(2, 4, 5, 2))
    low = draw.uniform(-2, -1, size=(4, 5, 2))

    def conv(p, x, layout):
        return lax.conv_general_dilated(x, p, (1, 1), "SAME", dimension_numbers=(layout, "HWIO", layout))

    expected = None
    for fn in (
        lambda p, x: conv(p, x, "NHWC").mean((1, 2)),
        lambda p, x: conv(p, x.transpose(0, 3, 1, 2), "NCHW").mean((2, 3)),
        lambda p, x: jax.vmap(lambda s: conv(p, s[None], "NHWC")[0].mean((0, 1)))(x),
    ):  # fmt: skip
        _, found = attribute(fn, kernel, x, target=1, rules=composites.epsilon_gamma_box(low, 2.0))
        expected = found if expected is None else expected
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_zeros_beside_the_data_are_no_input():
    """Padding by hand is the convolution's own, in one and several steps, with and without other axes between."""
    kernel, x = np.random.default_rng(15).normal(size=(3, 3, 2, 3)), np.random.default_rng(16).normal(size=(2, 5, 4, 2))
    numbers = ("NHWC", "HWIO", "NHWC")

    def conv(p, x, padding, spread=(1, 1)):
        return lax.conv_general_dilated(x, p, (1, 1), padding, lhs_dilation=spread, dimension_numbers=numbers)

    def spread(x):
        return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (2, 2, 1), (2, 2, 1), (0, 0, 0)])

    wide = [(0, 0), (2, 1), (1, 1), (0, 0)]
    for one, other in (
        (lambda p, x: conv(p, x, [(2, 1), (1, 1)]), lambda p, x: conv(p, jnp.pad(x, wide), "VALID")),
        (lambda p, x: conv(p, x, [(2, 1), (1, 1)]),
         lambda p, x: jax.vmap(lambda s: conv(p, jnp.pad(s, wide[1:])[None], "VALID")[0])(x)),
        (lambda p, x: conv(p, x, [(2, 2)] * 2, (2, 2)), lambda p, x: conv(p, spread(x), "VALID")),
    ):  # fmt: skip
        y, expected = attribute(one, kernel, x, rules={"flat": rules.Flat(), "box": rules.ZBox(-3.0, 3.0)})
        again, found = attribute(other, kernel, x, rules={"flat": rules.Flat(), "box": rules.ZBox(-3.0, 3.0)})
        np.testing.assert_allclose(again, y, atol=1e-12)
        assert_equal(found, expected, 1e-12)
        kinds = [
            [row["kinds"][0] for row in describe(fn, kernel, x) if row["kinds"][0] != "layout"] for fn in (one, other)
        ]
        assert kinds[0] == kinds[1]


def test_constants_that_differ_from_sample_to_sample_are_said():
    x, w = np.random.default_rng(17).normal(size=(3, 4)), np.random.default_rng(18).normal(size=(4, 2))
    offsets = np.random.default_rng(19).normal(size=(3, 2))
    with pytest.warns(UserWarning, match="differs from sample to sample"):
        attribute(lambda p, x: x @ p + offsets, w, x)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="closes over arrays of that size"):
        attribute(lambda p, x: x @ p + offsets, w, x, batch_size=1)


def test_what_goes_to_constants_is_in_the_report():
    x, w = np.random.default_rng(20).normal(size=(3, 4)), np.random.default_rng(21).normal(size=(2, 6, 2))
    token = np.random.default_rng(22).normal(size=(1, 2))

    def fn(p, x):
        rows = jnp.concatenate([x, jnp.broadcast_to(token, (x.shape[0], 2))], -1)
        return jnp.maximum(rows @ p[0], 0.2) @ p[1][:2]

    for batch_size in (None, 2):
        y, relevance, report = attribute(
            fn, w, x, rules=rules.Epsilon(), return_report=True, batch_size=batch_size
        )  # fmt: skip
        kept = sum(float(getattr(report, name).sum()) for name in ("bias", "epsilon", "constant"))
        assert abs(float(report.constant.sum())) > 0.01 and "constant" in str(report)
        np.testing.assert_allclose(float(relevance.sum()) + kept, float(y.sum()), rtol=1e-9)
        np.testing.assert_allclose(report.other, 0, atol=1e-9)
