"""nncodec's whole pipeline answers, and codes what its step promises: `make peers-full` builds it and runs this."""

import numpy as np
import pytest

from tests.peers import client

pytestmark = pytest.mark.skipif(
    client.python_of("nncodec-full") is None, reason="no .venv-peers/nncodec-full: `make peers-full` builds it"
)


def test_round_trip_within_half_a_step():
    random = np.random.default_rng(5)
    tree = {
        "first.weight": random.laplace(scale=0.05, size=(60, 80)).astype(np.float32),
        "first.bias": random.normal(size=60).astype(np.float32),
    }
    with client.open_peer("nncodec-full") as peer:
        data, answer = peer.encode_network(tree, qp=-32, use_dq=False)
        assert len(data) == answer["length"] < 60 * 81 * 4 / 2
        back, _ = peer.decode_network(data)
    step = 2.0**-8  # qp -32 at density 2
    assert np.abs(back["first.weight"] - tree["first.weight"]).max() <= step / 2 + 1e-6
    assert np.abs(back["first.bias"] - tree["first.bias"]).max() < 1e-4
