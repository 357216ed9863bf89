"""The peer that a test file names (`PEER = "zennit"`), running; its tests are skipped where it has not been built."""

import pytest

from kernels import peers


@pytest.fixture(scope="module")
def peer(request):
    """A running `peers.Peer`."""
    if reason := peers.missing(request.module.PEER):
        pytest.skip(reason)
    with peers.start(request.module.PEER) as running:
        yield running
