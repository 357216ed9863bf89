"""nncodec's whole pipeline answers, and codes what its step promises: `make peers-full` builds it and runs this."""

import numpy as np

from kernels.entropy_coding.bench import variety

PEER = "nncodec-full"


def test_round_trip_within_half_a_step(peer):
    random = np.random.default_rng(5)
    tree = {
        "first.weight": random.laplace(scale=0.05, size=(60, 80)).astype(np.float32),
        "first.bias": random.normal(size=60).astype(np.float32),
    }
    data = variety.peer_file(peer, tree, qp=-32, use_dq=False)
    assert len(data) < 60 * 81 * 4 / 2
    back = variety.peer_arrays(peer, data)
    step = 2.0**-8  # qp -32 at density 2
    assert np.abs(back["first.weight"] - tree["first.weight"]).max() <= step / 2 + 1e-6
    assert np.abs(back["first.bias"] - tree["first.bias"]).max() < 1e-4
