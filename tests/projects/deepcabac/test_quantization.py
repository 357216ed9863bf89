"""Steps of the tensors of a network that a rule covers."""

import numpy as np
import pytest

from projects.deepcabac import quantization
from projects.deepcabac.candidates import Candidates
from projects.deepcabac.network import Network
from projects.deepcabac.quantization import Rule


def test_small_tensors_are_lossless_by_default():
    tree = {"kernel": np.ones((3, 3), np.float32), "bias": np.full(4, 2.0, np.float32), "count": np.arange(3)}
    assert quantization.tensor_steps(Network(tree), Rule(0.5)) == {"kernel": 0.5}
    assert quantization.tensor_steps(Network(tree), Rule(0.5, small_step=0.25))["bias"] == 0.25
    assert quantization.tensor_steps(Network(tree), Rule(0.5, small_relative_step=0.25))["bias"] == pytest.approx(0.5)


def test_a_rule_scales_the_steps_of_layers():
    tree = {"kernel": np.ones((3, 3), np.float32), "bias": np.full(4, 2.0, np.float32)}
    assert quantization.tensor_steps(Network(tree, layer_steps={"bias": 3.0}), Rule(0.5))["bias"] == 1.5


def test_files_of_several_rules_do_not_depend_on_who_decides(tmp_path):
    rng = np.random.default_rng(0)
    tree = {"kernel": rng.laplace(0, 0.1, (64, 40)).astype(np.float32), "bias": np.full(4, 2.0, np.float32)}
    importance = {"kernel": rng.exponential(1, (64, 40))}
    rules = [Rule(0.05, 0.1), Rule(0.07, 0.1), Rule(0.06, 0.2), None]
    networks = [Network(tree, importance=importance, implementation=form) for form in (None, "xla")]
    expected = [quantization.encode(networks[0], rule) for rule in rules]
    for network in networks:
        assert quantization.encode_many(network, rules) == expected
    candidates = [
        Candidates(network, lambda trees: np.ones((len(trees), 3), bool), tmp_path / f"{place}.jsonl", at_once=3)
        for place, network in enumerate(networks)
    ]
    for ours in candidates:
        assert [one.bytes for one in ours.sizes([*rules[:2], rules[0]])] == [len(expected[k]) for k in (0, 1, 0)]
        assert [one.bytes for one in ours.evaluate(rules[:3])] == [len(data) for data in expected[:3]]
    assert len({ours.cache.read_text() for ours in candidates}) == 1
