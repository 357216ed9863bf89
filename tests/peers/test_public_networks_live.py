"""Networks of public packages, each explained as written in several ways: `make peers-networks` builds them."""

import pytest

PEER = "networks"
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("network", "kinds"),
    [
        # What is seen of each: nothing unknown, every running norm folded into its convolution.
        ("equinox_convnext", {"conv": 16, "dense": 1, "sum": 4}),
        ("haiku_mobilenet", {"conv": 9, "dense": 1, "relu": 9, "avg_pool": 1}),
        ("haiku_resnet", {"conv": 20, "dense": 1, "sum": 8, "norm_layer": 0}),
        ("linen_resnet", {"conv": 20, "dense": 1, "sum": 8, "norm_layer": 0}),
        ("nnx_network", {"conv": 3, "dense": 3}),
    ],
)
def test_one_explanation_however_it_is_written(peer, network, kinds):
    answer = peer.ask("properties", network=network)
    differences = answer["differences"]
    assert len(differences) == 24  # four ways: the output and five composites
    assert {name: off for name, off in differences.items() if not off <= 1e-6} == {}
    assert {kind: answer["kinds"].get(kind, 0) for kind in kinds} == kinds
    assert "unknown" not in answer["kinds"]


@pytest.mark.parametrize(
    ("network", "kinds"),
    [
        ("equinox_vit", {"attention": 2, "attention_weights": 2, "conv": 1}),
        ("haiku_transformer", {"attention": 2, "attention_weights": 2, "embedding": 1}),
        ("linen_gpt2", {"attention": 2, "attention_weights": 2, "embedding": 1}),
        ("nnx_vit", {"attention": 1, "attention_weights": 1, "recurrent": 1}),  # its layers are a loop
    ],
)
def test_transformers_as_others_wrote_them(peer, network, kinds):
    answer = peer.ask("properties", network=network)
    assert len(answer["differences"]) == (6 if network == "nnx_vit" else 12)
    assert {name: off for name, off in answer["differences"].items() if not off <= 1e-6} == {}
    assert {kind: answer["kinds"].get(kind, 0) for kind in kinds} == kinds
    assert "unknown" not in answer["kinds"]


def test_the_recipes_of_the_page(peer):
    assert peer.ask("recipes") == {
        "equinox": pytest.approx(0, abs=1e-9), "haiku": pytest.approx(0, abs=1e-9),
        "equimo": [2, 3, 16, 16], "flaxmodels": [2, 7], "jimm": [2, 16, 16, 3],
    }  # fmt: skip
