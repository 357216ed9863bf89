"""Every rule at every kind of affine operation against explicit matrices in float64."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.attribution import Stabilizer, attribute, rules
from tests.kernels.oracles import attribution as oracle

BATCH = 3
# name -> (pixels, window, channels in, channels out, settings)
SHAPES = {
    "dense": ((), (), 7, 5, {}),
    "conv1d": ((7,), (3,), 2, 4, {"padding": [(1, 1)]}),
    "conv2d": ((5, 4), (3, 2), 3, 4, {}),
    "conv3d": ((3, 4, 3), (2, 2, 3), 2, 3, {"padding": [(1, 0), (0, 1), (1, 1)]}),
    "strided": ((6, 5), (3, 3), 2, 3, {"stride": 2, "padding": [(1, 1), (1, 1)]}),
    "dilated": ((7, 6), (3, 2), 2, 3, {"dilation": 2, "padding": [(2, 2), (1, 0)]}),
    "grouped": ((4, 4), (3, 3), 4, 6, {"groups": 2, "padding": [(1, 1), (1, 1)]}),
    "depthwise": ((5, 4), (3, 3), 3, 6, {"groups": 3, "padding": [(1, 1), (1, 1)]}),
    "transposed": ((3, 4), (3, 3), 2, 3, {"spread": 2, "padding": [(2, 1), (1, 2)]}),
    "strided 1d": ((9,), (4,), 2, 3, {"stride": 3}),
    "transposed 3d": ((2, 2, 3), (2, 2, 2), 2, 2, {"spread": 2, "padding": [(1, 1)] * 3}),
}
RARE = (
    "conv1d",
    "conv3d",
    "transposed 3d",
    "strided 1d",
    "dilated",
    "depthwise",
    "grouped",
)  # what they add to the others is checked by make test-all
LOW, HIGH = -2.5, 3.0
RULES = {
    "epsilon": (rules.Epsilon(), oracle.epsilon),
    "epsilon 0.3": (rules.Epsilon(0.3), lambda *a: oracle.epsilon(*a, st=lambda z: oracle.stabilize(z, 0.3))),
    "clip": (rules.Epsilon(Stabilizer(0.3, clip=True)),
             lambda *a: oracle.epsilon(*a, st=lambda z: oracle.stabilize(z, 0.3, clip=True))),
    "norm_scale": (rules.ZPlus(Stabilizer(0.1, norm_scale=True)),
                   lambda *a: oracle.zplus(*a, st=lambda z: oracle.stabilize(z, 0.1, norm_scale=True))),
    "callable": (rules.Epsilon(lambda z: z + jnp.where(z >= 0, 0.2, -0.2)),
                 lambda *a: oracle.epsilon(*a, st=lambda z: oracle.stabilize(z, 0.2))),
    "zplus": (rules.ZPlus(), oracle.zplus),
    "alpha_beta": (rules.AlphaBeta(), oracle.alpha_beta),
    "alpha_beta 3 2": (rules.AlphaBeta(3, 2), lambda *a: oracle.alpha_beta(*a, alpha=3, beta=2)),
    "gamma": (rules.Gamma(), oracle.gamma),
    "gamma 2": (rules.Gamma(2.0), lambda *a: oracle.gamma(*a, gamma=2.0)),
    "zbox": (rules.ZBox(LOW, HIGH), lambda *a: oracle.zbox(*a, LOW, HIGH)),
    "wsquare": (rules.WSquare(), oracle.wsquare),
    "flat": (rules.Flat(), None),
    "norm": (rules.Norm(), lambda a, b, x, r: oracle.epsilon(a, b, x, r)),
}  # fmt: skip
ZEROED = {
    "epsilon": (rules.Epsilon, oracle.epsilon),
    "zplus": (rules.ZPlus, oracle.zplus),
    "alpha_beta": (rules.AlphaBeta, oracle.alpha_beta),
    "wsquare": (rules.WSquare, oracle.wsquare),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


def layer(shape, params, x):
    """One affine operation, channels last."""
    pixels, window, *_, settings = SHAPES[shape]
    kernel = params["layer"]["kernel"]
    if not pixels:
        y = x @ kernel
    else:
        letters = "DHW"[-len(pixels) :]
        y = jax.lax.conv_general_dilated(
            x, kernel, (settings.get("stride", 1),) * len(pixels), settings.get("padding", [(0, 0)] * len(pixels)),
            lhs_dilation=(settings.get("spread", 1),) * len(pixels),
            rhs_dilation=(settings.get("dilation", 1),) * len(pixels),
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
            feature_group_count=settings.get("groups", 1),
        )  # fmt: skip
    return y + params["layer"]["bias"] if "bias" in params["layer"] else y


def case(shape, bias, dtype=np.float64):
    """Returns params, x, start relevance, and A, pattern, b of the oracle."""
    pixels, window, channels, outputs, settings = SHAPES[shape]
    draw = np.random.default_rng(sorted(SHAPES).index(shape))
    kernel = draw.normal(size=(*window, channels // settings.get("groups", 1), outputs)).astype(dtype)
    params = {"layer": {"kernel": kernel}}
    if bias:
        params["layer"]["bias"] = draw.normal(size=outputs).astype(dtype)
    x = draw.normal(size=(BATCH, *pixels, channels)).astype(dtype)
    if not pixels:
        a, pattern, size = kernel.T.astype(float), np.ones((outputs, channels)), ()
    else:
        a, size = oracle.convolution_matrix(kernel.astype(float), pixels, **settings)
        pattern, _ = oracle.convolution_matrix(np.ones(kernel.shape), pixels, **settings)
    r = draw.normal(size=(BATCH, *size, outputs)).astype(dtype)
    b = np.tile(params["layer"]["bias"], int(np.prod(size))).astype(float) if bias else np.zeros(a.shape[0])
    return params, x, r, a, pattern, b


def flat_of(array):
    return np.asarray(array, float).reshape(len(array), -1)


def difference(found, expected):
    return np.abs(flat_of(found) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=pytest.mark.slow) if shape in RARE else shape for shape in SHAPES]
)
def test_every_rule_equals_the_matrices(shape):
    for bias in (False, True):
        params, x, r, a, pattern, b = case(shape, bias)
        chosen = {name: rule for name, (rule, _) in RULES.items()}
        # Not compiled as a whole: the single operations are shared by all rules, and compile faster.
        y, found = attribute(lambda p, x: layer(shape, p, x), params, x, target=r, rules=chosen)
        np.testing.assert_allclose(flat_of(y), flat_of(x) @ a.T + b, atol=1e-12)
        for name, (_, formula) in RULES.items():
            if name == "flat":
                expected = oracle.flat(a, b, flat_of(x), flat_of(r), pattern)
            else:
                expected = formula(a, b, flat_of(x), flat_of(r))
            assert found[name].dtype == jnp.float64 and found[name].shape == x.shape
            assert difference(found[name], expected) < 1e-9, (name, bias)


def test_the_sign_of_zero_is_plus_and_gamma_drops_it():
    x, weight = np.array([[1.0, -1.0]]), np.ones((2, 1))  # z = 0, with contributions of both signs
    _, (epsilon, clip, gamma) = attribute(
        lambda p, x: x @ p, weight, x, target=np.ones((1, 1)),
        rules=[rules.Epsilon(0.5), rules.Epsilon(Stabilizer(0.5, clip=True)), rules.Gamma()],
    )  # fmt: skip
    np.testing.assert_array_equal(epsilon, 2 * x)
    np.testing.assert_array_equal(clip, 2 * x)
    np.testing.assert_array_equal(gamma, 0 * x)
    _, lrp_0 = attribute(lambda p, x: x @ p, weight, x, target=np.ones((1, 1)), rules=rules.Epsilon(0))
    np.testing.assert_array_equal(lrp_0, 0 * x)


def test_bounds_of_zbox_in_any_layout():
    params, x, r, a, _, b = case("conv2d", True)
    low, high = np.array([-3.0, -2.0, -1.0]), np.array([2.0, 3.0, 1.0])
    expected = oracle.zbox(a, b, flat_of(x), flat_of(r), np.tile(low, 20), np.tile(high, 20))
    for shape in ((3,), (1, 3, 1, 1), (1, 1, 1, 3), (1, 1, 3)):
        box = rules.ZBox(low.reshape(shape), high.reshape(shape))
        _, found = attribute(lambda p, x: layer("conv2d", p, x), params, x, target=r, rules=box)
        assert difference(found, expected) < 1e-12
    whole = np.broadcast_to(low, x.shape), np.broadcast_to(high, x.shape[1:])
    _, found = attribute(lambda p, x: layer("conv2d", p, x), params, x, target=r, rules=rules.ZBox(*whole))
    assert difference(found, expected) < 1e-12


@pytest.mark.parametrize("zeroed", ["bias", "weight", ["weight", "bias"]])
def test_parameters_that_count_as_zero(zeroed):
    params, x, r, a, _, b = case("conv2d", True)
    names = [zeroed] if isinstance(zeroed, str) else zeroed
    a, b = 0 * a if "weight" in names else a, 0 * b if "bias" in names else b
    chosen = [make(zero_params=zeroed) for make, _ in ZEROED.values()]
    _, found = attribute(lambda p, x: layer("conv2d", p, x), params, x, target=r, rules=chosen)
    for relevance, (_, formula) in zip(found, ZEROED.values(), strict=True):
        expected = formula(a, b, flat_of(x), flat_of(r))
        np.testing.assert_allclose(flat_of(relevance), expected, atol=1e-9 * max(np.abs(expected).max(), 1e-9))


def test_single_precision():
    params, x, r, a, pattern, b = case("grouped", True, np.float32)
    chosen = {name: rule for name, (rule, formula) in RULES.items() if formula is not None}
    _, found = attribute(lambda p, x: layer("grouped", p, x), params, x, target=r, rules=chosen)
    for name, relevance in found.items():
        assert relevance.dtype == jnp.float32
        assert difference(relevance, RULES[name][1](a, b, flat_of(x), flat_of(r))) < 1e-5, name
