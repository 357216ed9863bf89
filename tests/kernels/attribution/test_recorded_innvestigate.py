"""Every analyzer in the semantics of iNNvestigate 2.1.2 against its own (tests/peers/record_innvestigate.py)."""

import jax
import numpy as np
import pytest

from kernels import attribution
from tests.kernels.attribution import layered, layered_cases, recordings

RECORDED = recordings.load("innvestigate")
TOLERANCE = 1e-8  # of the largest relevance: sums in another order, next to denominators near zero
SLOW = ("convolutions", "norms", "branches")
NETWORKS = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in layered_cases.RECORDED]


def of_network(name: str, kind: str) -> dict[str, np.ndarray]:
    start = f"{name}/{kind}/"
    return {key.removeprefix(start): value for key, value in RECORDED.items() if key.startswith(start)}


def error(network: str, label: str, values=None) -> float:
    """Of our explanation, as a share of the largest entry of the recorded one."""
    analyzer, options = layered_cases.ANALYZERS[label]
    fn = layered.function(layered_cases.NETWORKS[network][0])
    coded = {"as_coded": True} if analyzer.startswith("lrp") else {}
    values = of_network(network, "parameters") if values is None else values
    with jax.enable_x64(True):
        explain = attribution.analyzer(analyzer, "innvestigate", **options, **coded)
        y, found = explain(fn, layered.nested(values), RECORDED[f"{network}/x"])
    np.testing.assert_allclose(y, RECORDED[f"{network}/y"], rtol=0, atol=1e-12)
    expected = RECORDED[f"{network}/analyzers/{label}"]
    return np.abs(np.asarray(found) - expected).max() / max(np.abs(expected).max(), 1e-12)


@pytest.mark.filterwarnings("ignore:every input")
@pytest.mark.parametrize("network", NETWORKS)
def test_every_analyzer(network):
    assert set(of_network(network, "analyzers")) == set(layered_cases.ANALYZERS)
    errors = {label: error(network, label) for label in layered_cases.ANALYZERS}
    assert {label: one for label, one in errors.items() if one > TOLERANCE} == {}


@pytest.mark.filterwarnings("ignore:every input")
@pytest.mark.parametrize(("network", "label"), [("convolutions", "lrp.sequential_preset_a"), ("norms", "lrp.epsilon"),
                                                ("branches", "lrp.alpha_2_beta_1")])  # fmt: skip
def test_some_analyzers_of_the_larger_networks(network, label):
    assert error(network, label) <= TOLERANCE
