"""Analyzers by name, in both semantics, against float64 oracles written from the specification."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import analyzers, composites, innvestigate, rules
from tests.kernels.attribution import layered, layered_cases
from tests.kernels.oracles import innvestigate as oracle
from tests.kernels.oracles.innvestigate import RULES

pytestmark = pytest.mark.filterwarnings("ignore:every input has the same relevance")


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


def everywhere(rule):
    return lambda node, first: rule


def preset(convolution, epsilon=0.1, flat=False, bound=-1):
    dense = oracle.with_options(oracle.epsilon_rule, epsilon=epsilon)

    def kernel(node, first):
        if (flat and first) or node.number <= bound:
            return RULES["Flat"]
        return dense if node.step["op"] == "dense" else RULES[convolution]

    return {"kernel": kernel, "norm": RULES["AlphaBetaX2m100"]}


def fixed(name):
    return {"kernel": everywhere(RULES[name]), "norm": RULES[name]}


BOX = oracle.with_options(oracle.bounded, low=layered_cases.LOW, high=layered_cases.HIGH)
SMALL = oracle.with_options(oracle.epsilon_rule, epsilon=0.2, bias=False)
THREE = oracle.with_options(oracle.alpha_beta, alpha=3.0, beta=2.0)
LRP = {
    "lrp.z": fixed("Z"),
    "lrp.z_IB": fixed("ZIgnoreBias"),
    "lrp.epsilon": fixed("Epsilon"),
    "lrp.epsilon_IB": fixed("EpsilonIgnoreBias"),
    "lrp.epsilon 0.2": {"kernel": everywhere(SMALL), "norm": SMALL},
    "lrp.w_square": fixed("WSquare"),
    "lrp.flat": fixed("Flat"),
    "lrp.alpha_beta": {"kernel": everywhere(THREE), "norm": THREE},
    "lrp.alpha_2_beta_1": fixed("Alpha2Beta1"),
    "lrp.alpha_2_beta_1_IB": fixed("Alpha2Beta1IgnoreBias"),
    "lrp.alpha_1_beta_0": fixed("Alpha1Beta0"),
    "lrp.alpha_1_beta_0_IB": fixed("Alpha1Beta0IgnoreBias"),
    "lrp.z_plus": fixed("ZPlus"),
    "lrp.z_plus_fast": fixed("ZPlusFast"),
    "lrp.sequential_preset_a": preset("Alpha1Beta0"),
    "lrp.sequential_preset_b": preset("Alpha2Beta1", epsilon=0.25),
    "lrp.sequential_preset_a_flat": preset("Alpha1Beta0", flat=True),
    "lrp.sequential_preset_b_flat": preset("Alpha2Beta1", flat=True),
    "lrp bounded input": {"kernel": lambda node, first: BOX if first else RULES["Alpha1Beta0"]},
    "lrp ignoring biases": {"kernel": everywhere(RULES["AlphaBetaX1000"])},
}
CASES = layered_cases.ANALYZERS | {"lrp.z_IB": ("lrp.z_IB", {}), "lrp.epsilon_IB": ("lrp.epsilon_IB", {})}


def expected_of(label, plan, values, x):
    """What the oracle has for a label; None where it says that the network is refused."""
    analyzer, options = CASES[label]
    post = options.get("postprocess")
    if analyzer == "input":
        return x
    if analyzer.startswith("gradient"):
        return oracle.gradient(plan, values, x, postprocess=post)
    if analyzer == "input_t_gradient":
        return x * oracle.gradient(plan, values, x)
    if analyzer == "integrated_gradients":
        points = [x * k / options["steps"] for k in range(options["steps"])]
        return x * oracle.mean_gradient(plan, values, points, x, post)
    if label in LRP:
        return oracle.lrp(plan, values, x, **LRP[label])
    if "tanh" in str(plan):
        return None
    if analyzer.startswith("deep_taylor"):
        return oracle.deep_taylor(plan, values, x, BOX if "bounded" in analyzer else None)
    return oracle.by_relus(plan, values, x, "deconvnet" if analyzer == "deconvnet" else "guided")


def error(found, expected):
    return np.abs(np.asarray(found) - expected).max() / max(np.abs(expected).max(), 1e-12)


def ours(analyzer, fn, values, x, semantics="innvestigate", target=None, key=None, **options):
    return attribution.analyzer(analyzer, semantics, **options)(fn, layered.nested(values), x, target=target, key=key)


def check(plan, values, x, labels):
    fn, wrong = layered.function(plan), {}
    y, *_ = oracle.forward(plan, values, x.reshape(len(x), -1), x.shape[1:])
    for label in labels:
        analyzer, options = CASES[label]
        expected = expected_of(label, plan, values, x)
        if expected is None:
            with pytest.raises(ValueError, match="activations are ReLUs, and there is another one"):
                ours(analyzer, fn, values, x, **options)
            continue
        y_found, found = ours(analyzer, fn, values, x, **options)
        np.testing.assert_allclose(y_found, y, rtol=0, atol=1e-12)
        assert found.shape == x.shape and found.dtype == jnp.float64
        print(f"{label:30} {error(found, expected):.1e}")
        if error(found, expected) > 1e-9:
            wrong[label] = error(found, expected)
    assert not wrong


QUICK = ("dense", "norms", "branches")


@pytest.mark.parametrize(
    "network", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in layered_cases.NETWORKS]
)
def test_every_analyzer(network):
    plan, _, values, x = layered_cases.case(network, seed=2)
    check(plan, values, x, CASES)
