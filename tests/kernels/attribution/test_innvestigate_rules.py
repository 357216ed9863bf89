"""Every rule of iNNvestigate at every kind of affine operation against explicit matrices in float64."""

import contextlib

import jax
import numpy as np
import pytest

from kernels.attribution import attribute, innvestigate
from kernels.attribution.analyzers import legacy
from tests.kernels.attribution.test_rules import SHAPES, case, difference, flat_of, layer
from tests.kernels.oracles import innvestigate as oracle
from tests.kernels.oracles.innvestigate import with_options

LOW, HIGH = -2.5, 3.0
PAIRS = {"alpha": (2.0, -0.5), "beta": (0.25, 1.5)}
RULES = {
    **{name: (innvestigate.by_name(name), oracle.RULES[name]) for name in innvestigate.NAMES if name != "Bounded"},
    "Bounded": (innvestigate.Bounded(LOW, HIGH), with_options(oracle.bounded, low=LOW, high=HIGH)),
    "Epsilon 0.3": (innvestigate.Epsilon(0.3, bias=False), with_options(oracle.epsilon_rule, epsilon=0.3, bias=False)),
    "AlphaBeta 3 2": (innvestigate.AlphaBeta(beta=2), with_options(oracle.alpha_beta, alpha=3.0, beta=2.0)),
    "AlphaBetaX": (innvestigate.AlphaBetaX(**PAIRS), with_options(oracle.alpha_beta_x, **PAIRS)),
    "as coded": (legacy.AlphaBetaX(**PAIRS), with_options(oracle.alpha_beta_x, as_coded=True, **PAIRS)),
}  # fmt: skip
QUICK = ("dense", "strided")


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else contextlib.nullcontext():
        yield


@pytest.mark.parametrize(
    "shape", [shape if shape in QUICK else pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES]
)
def test_every_rule_equals_the_matrices(shape):
    for bias in (False, True) if shape == "dense" else (True,):
        params, x, r, a, pattern, b = case(shape, bias)
        chosen = {name: rule for name, (rule, _) in RULES.items()}
        _, found = attribute(lambda p, x: layer(shape, p, x), params, x, target=r, rules=chosen)
        for name, (_, formula) in RULES.items():
            assert difference(found[name], formula(a, b, flat_of(x), flat_of(r), pattern)) < 1e-9, (name, bias)


def test_inputs_of_one_sign_leave_the_whole_bias_in_both_denominators():
    """The terms of negative inputs vanish behind a ReLU, the bias does not."""
    params, x, r, a, pattern, b = case("dense", True)

    def fn(p, x):
        return layer("dense", p, jax.nn.relu(x))

    chosen = {name: rule for name, (rule, _) in RULES.items()}
    _, found = attribute(fn, params, x, target=r, rules=chosen, at="layer:input")
    for name, (_, formula) in RULES.items():
        expected = formula(a, b, np.maximum(flat_of(x), 0), flat_of(r), pattern)
        assert difference(found[name], expected) < 1e-9, name


def test_identities():
    params, x, r, a, _, b = case("dense", True)
    with_bias, without = (case("dense", flag)[0] for flag in (True, False))

    def found(rule, params, x=x):
        return np.asarray(attribute(lambda p, x: layer("dense", p, x), params, x, target=r, rules=rule)[1])

    pairs = (
        (innvestigate.ZPlus(), innvestigate.AlphaBeta(1, 0, bias=False), with_bias, x),
        (innvestigate.ZPlus(), innvestigate.ZPlusFast(), with_bias, np.abs(x)),
        (innvestigate.Z(bias=False), innvestigate.Z(), without, x),
        (innvestigate.Z(), innvestigate.Epsilon(1e-12), with_bias, x),
        (innvestigate.Bounded(0.0, 0.0), innvestigate.Z(bias=False), with_bias, x),
        (innvestigate.AlphaBetaX1000(), legacy.AlphaBetaX((1, 1), (0, 0)), with_bias, x),  # X1001 as it is coded
    )
    for one, other, params, data in pairs:
        np.testing.assert_allclose(found(one, params, data), found(other, params, data), rtol=1e-6, atol=1e-9)
    for rule in (innvestigate.Z(), innvestigate.AlphaBeta(1, 0), innvestigate.WSquare(), innvestigate.Flat()):
        np.testing.assert_allclose(found(rule, without).sum(1), r.sum(1), rtol=1e-9)  # conserved


def test_the_report_counts_what_the_bias_keeps():
    params, x, r, a, _, b = case("dense", True)
    _, _, report = attribute(
        lambda p, x: layer("dense", p, x), params, x, target=r, rules=innvestigate.Z(), return_report=True
    )
    z = flat_of(x) @ a.T + b
    np.testing.assert_allclose(report.bias, [(r * b / z).sum()], rtol=1e-9)
    np.testing.assert_allclose(report.epsilon, [0.0], atol=1e-12)


def test_pairs_of_numbers(unchecked):
    with pytest.raises(ValueError, match="alpha=2: expected two numbers, such as"):
        innvestigate.AlphaBetaX(2, (0, 0))
    with pytest.raises(ValueError, match=r"beta\[1\]='a': expected a finite number"):
        innvestigate.AlphaBetaX((1, 0), (0, "a"))
    with pytest.raises(ValueError, match="low is 2.0 and high 1.0"):
        innvestigate.Bounded(2.0, 1.0)
    assert innvestigate.AlphaBeta(2) == innvestigate.AlphaBeta(beta=1) == innvestigate.AlphaBeta(2, 1)
