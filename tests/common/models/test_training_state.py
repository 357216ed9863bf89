"""Which tensors are the state of an optimiser, by their names and by what stands beside them."""

import numpy as np

from common.models import training_state


def test_moments_beside_the_weights_that_they_mirror():
    weights = {"fc1": {"kernel": np.ones((6, 8)), "bias": np.ones(8)}, "fc2": {"kernel": np.ones((8, 2))}}
    moments = {"fc1": {"kernel": np.ones((6, 8))}}
    names = training_state.names({"params": weights, "mu": moments, "nu": moments})
    assert names == ["mu/fc1/kernel", "nu/fc1/kernel"]
    encoder = {"mu": {"kernel": np.ones((3, 2))}, "logvar": {"kernel": np.ones((3, 2))}}
    assert training_state.names({"encoder": encoder}) == []
    assert training_state.names({"opt": {"w": np.ones((3, 2))}}) == []  # there is nothing beside it


def test_moments_under_the_names_of_pytorch():
    moments = {f"state.{i}.{name}": np.ones((4, 3)) for i in range(2) for name in ("exp_avg", "exp_avg_sq")}
    assert training_state.names({"fc.weight": np.ones((4, 3)), **moments}) == list(moments)


def test_norms_and_heads_with_names_of_moments_are_of_the_network():
    statistics = {name: np.ones(5) for name in ("m", "v", "g", "b")}
    heads = {name: {"kernel": np.ones((7, 2))} for name in ("mu", "nu")}
    assert training_state.names({"fc": {"kernel": np.ones((4, 5))}, "bn": statistics, **heads}) == []
