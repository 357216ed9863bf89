"""Steps of the tensors of a network that a rule covers."""

import numpy as np
import pytest

from projects.deepcabac import quantization
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
