"""Our analyzers in iNNvestigate's semantics against iNNvestigate itself, weights carried over, in float64.

Built by `make peers-innvestigate`. Where a network has batch normalisation, ours computes it as coded there.
"""

import jax
import numpy as np
import pytest

from kernels import attribution
from tests.kernels.attribution import layered, layered_cases

PEER = "innvestigate"
TOLERANCE = 1e-8  # of the largest relevance: sums in another order, next to denominators near zero


def ask(peer, name, values, x, analyzer, **settings):
    """The peer's (outputs, explanation) of a network of `layered_cases`."""
    plan, shape = name if isinstance(name, tuple) else layered_cases.NETWORKS[name]
    network = peer.ask("build", plan=plan, shape=list(shape), parameters=peer.put_many("parameters", values))["network"]
    peer.ask("analyze", network=network, analyzer=analyzer, images=x, answer=peer.folder / "answer.npz", **settings)
    answer = peer.get("answer.npz")
    return answer["y"], answer["explanation"]


def error(actual, expected):
    return np.abs(np.asarray(actual) - expected).max() / max(np.abs(expected).max(), 1e-12)


def ours(analyzer, fn, values, x, target=None, **options):
    with jax.enable_x64(True):
        return attribution.analyzer(analyzer, "innvestigate", **options)(fn, layered.nested(values), x, target=target)


@pytest.mark.filterwarnings("ignore:every input")
@pytest.mark.parametrize("network", layered_cases.RECORDED)
def test_every_analyzer(peer, network):
    _, fn, values, x = layered_cases.case(network)
    wrong = {}
    for label, (analyzer, options) in layered_cases.ANALYZERS.items():
        y, expected = ask(peer, network, values, x, analyzer, **options)
        coded = {"as_coded": True} if analyzer.startswith("lrp") else {}
        y_found, actual = ours(analyzer, fn, values, x, **options, **coded)
        np.testing.assert_allclose(y_found, y, rtol=0, atol=1e-12)
        print(f"{network:14} {label:30} {error(actual, expected):.1e}")
        if error(actual, expected) > TOLERANCE:
            wrong[label] = error(actual, expected)
    assert not wrong


def test_selections(peer):
    _, fn, values, x = layered_cases.case("dense")
    for analyzer in ("gradient", "lrp.epsilon", "deep_taylor", "integrated_gradients"):
        for theirs, mine in (({"index": 2}, {"target": 2}), ({"index": [0, 3, 1]}, {"target": np.array([0, 3, 1])}),
                             ({"mode": "all"}, {"neuron_selection": "all"})):  # fmt: skip
            if analyzer == "integrated_gradients" and "index" in theirs:
                theirs = {"index": theirs["index"] if isinstance(theirs["index"], list) else [theirs["index"]] * len(x)}
            _, expected = ask(peer, "dense", values, x, analyzer, **theirs)
            assert error(ours(analyzer, fn, values, x, **mine)[1], expected) < TOLERANCE, (analyzer, theirs)


def test_ties_are_split(peer):
    plan = [layered.dense("fc", 2, 3, bias=False)]
    values, x = {"fc/kernel": np.array([[1.0, 1.0, 0.0], [3.0, 3.0, 0.0]])}, np.array([[1.0, 2.0]])
    for analyzer in ("gradient", "lrp.z"):
        _, expected = ask(peer, (plan, (2,)), values, x, analyzer)
        assert error(ours(analyzer, layered.function(plan), values, x)[1], expected) < TOLERANCE


def test_a_list_of_rules_is_taken_from_its_end_for_the_first_layer(peer):
    _, fn, values, x = layered_cases.case("dense")
    rule = ["Flat", "WSquare", "Epsilon"]
    _, expected = ask(peer, "dense", values, x, "lrp", rule=rule)
    assert error(ours("lrp", fn, values, x, rule=rule)[1], expected) < TOLERANCE


@pytest.mark.parametrize("mode", ["one_linear", "two_linear"])
@pytest.mark.parametrize("rule", ["AlphaBetaX1001", "AlphaBetaX2m100", "Epsilon", "AlphaBetaX1010"])
def test_norms_as_coded(peer, mode, rule):
    _, fn, values, x = layered_cases.case("norms")
    options = {"rule": "Epsilon", "bn_layer_rule": rule, "bn_layer_fuse_mode": mode}
    _, expected = ask(peer, "norms", values, x, "lrp", **options)
    assert error(ours("lrp", fn, values, x, as_coded=True, **options)[1], expected) < TOLERANCE
    if mode == "one_linear":  # the right form is another one; as two layers tau falls out
        assert error(ours("lrp", fn, values, x, **options)[1], expected) > 1e-3


def test_norms_by_their_own_rule(peer):
    _, fn, values, x = layered_cases.case("norms")
    for rule in ("Epsilon", "Flat"):
        _, expected = ask(peer, "norms", values, x, "lrp", rule=rule)
        assert error(ours("lrp", fn, values, x, rule=rule)[1], expected) < TOLERANCE


def test_flat_up_to_a_layer(peer):
    """The peer counts all layers of Keras, the input is 0; we count those with weights."""
    _, fn, values, x = layered_cases.case("dense")
    _, expected = ask(peer, "dense", values, x, "lrp.sequential_preset_b_flat_until_idx", until_layer_idx=2)
    _, actual = ours("lrp.sequential_preset_b_flat_until_idx", fn, values, x, until_layer_idx=1)
    assert error(actual, expected) < TOLERANCE


def test_relus_that_are_layers_take_the_gradient(peer):
    plan = [layered.dense("fc1", 5, 6), layered.norm("n", 6), layered.RELU_LAYER, layered.dense("fc2", 6, 3)]
    values, x = layered.parameters(plan, 3), np.random.default_rng(3).normal(size=(3, 5))
    _, expected = ask(peer, (plan, (5,)), values, x, "lrp", rule="Flat")
    assert error(ours("lrp", layered.function(plan), values, x, rule="Flat", relu="gradient")[1], expected) < TOLERANCE


def test_the_names_are_all_there(peer):
    assert set(peer.ask("names")["names"]) <= set(attribution.analyzers.SEMANTICS["innvestigate"])
    assert peer.ask("version")["innvestigate"] == "2.1.2"
