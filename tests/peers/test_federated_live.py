"""One and several rounds of federated averaging are those of FedJAX and of Flower: `make peers-federated` builds them.

Batches of all samples are the same whoever draws them, and so are batches of clients whose samples are all equal.
"""

import contextlib
import pathlib

import numpy as np
import pytest

from kernels import peers
from projects.stc import bench

PEER = "federated"
pytestmark = pytest.mark.slow

COMMANDS = {
    "jit": ("fedjax", {"backend": "jit"}),
    "pmap": ("fedjax", {"backend": "pmap"}),
    "flower": ("flower", {"intervals": [0.005], "warm_up": 0}),
}


@pytest.fixture(scope="module", params=COMMANDS)
def contestant(request):
    """A peer and how it is asked; each in a process of its own."""
    if reason := peers.missing(PEER):
        pytest.skip(reason)
    with peers.start(PEER) as running:
        yield running, *COMMANDS[request.param]


def samples(sizes, features=30):
    """Returns x and y of clients of some sizes, zeros behind."""
    rng = np.random.default_rng(5)
    shape = len(sizes), max(sizes)
    x, y = rng.standard_normal((*shape, features)).astype(np.float32), rng.integers(0, 10, shape).astype(np.int32)
    return x, y, np.array(sizes, np.int32)


def difference(problem, contestant, rounds):
    """Returns the largest difference of weights after some rounds, and how far these have come."""
    peer, command, options = contestant
    (peer.folder / "problem.npz").unlink(missing_ok=True)
    _, theirs = problem.theirs(peer, command, rounds, **options)
    ours = problem.ours(bench.model(problem.x.shape[-1]), problem.population, rounds).params
    moved = max(float(np.abs(theirs[name]).max()) for name in theirs)
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in theirs), moved


def test_batches_of_all_samples(contestant):
    """4 clients of 24 samples, 3 local steps, one round and three."""
    problem = bench.Problem(*samples([24] * 4), batch_size=24, steps=3, learning_rate=0.2)
    for rounds in (1, 3):
        distance, moved = difference(problem, contestant, rounds)
        assert distance < 1e-5 < 0.05 < moved


def test_clients_weigh_as_many_samples_as_they_have(contestant):
    """Each client has copies of one sample, 8, 16 and 40 of them."""
    x, y, sizes = samples([8, 16, 40])
    x[:], y[:] = x[:, :1], y[:, :1]
    problem = bench.Problem(x, y, sizes, batch_size=8, steps=4, learning_rate=0.2)
    distance, moved = difference(problem, contestant, 2)
    assert distance < 1e-5 < 0.05 < moved


def test_nothing_is_left_behind(contestant):
    """What a simulation starts carries its server's mark in its environment; other tests have run one before."""
    mark, marked, count = f"HAVEL_FLOWER_PEER={contestant[0].process.pid} ".encode(), [], 0
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            content, count = path.read_bytes(), count + 1
            marked += [path] if mark in content else []
    assert count and not marked
