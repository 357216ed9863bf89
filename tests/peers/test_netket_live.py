"""Our log-probabilities are those of a torch network with the same weights, and NetKet samples on request.

`make peers` builds the environment and runs this.
"""

import dataclasses

import jax
import numpy as np
import pytest

from kernels.autoregressive import MADE, PixelCNN, log_prob, sample
from tests.kernels.autoregressive.networks import NETWORKS, parameters, random_spins, resized

PEER = "netket"


def torch_log_prob(peer, params, cfg, spins):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    weights = peer.put_many("weights", {"/".join(part.key for part in path): np.asarray(leaf) for path, leaf in leaves})
    network, out = {"kind": type(cfg).__name__, **dataclasses.asdict(cfg)}, peer.folder / "out.npy"
    peer.ask("log_prob", weights=weights, spins=np.asarray(spins), out=out, network=network)
    return peer.get("out.npy")


@pytest.mark.parametrize("cfg", NETWORKS.values(), ids=NETWORKS)
def test_log_prob_is_torchs_in_double(peer, cfg):
    cfg = resized(cfg, 5, 6)
    with jax.enable_x64(True):
        params, spins = parameters(cfg, dtype=np.float64), random_spins(7, 5, 6)
        np.testing.assert_allclose(log_prob(params, cfg, spins), torch_log_prob(peer, params, cfg, spins), atol=1e-10)


@pytest.mark.parametrize("cfg", [PixelCNN(16, depth=6, channels=64, half_width=3), MADE(16, depth=3, channels=4)])
def test_log_q_of_samples_is_torchs(peer, cfg):
    params = parameters(cfg, scale=1.0)
    spins, log_q = sample(params, cfg, jax.random.key(0), 20)
    np.testing.assert_allclose(log_q, torch_log_prob(peer, params, cfg, spins), rtol=0, atol=1e-4)


def test_netket_samples(peer):
    answer = peer.ask("sample", length=4, depth=2, channels=3, half_width=1, batch=50)
    assert answer["shape"] == [1, 50, 16] and answer["seconds"][0] > 0 and abs(answer["mean"]) < 0.6
