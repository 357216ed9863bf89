"""The general-purpose coders answer with sizes that their theory allows: `make peers` builds them and runs this."""

import numpy as np
import pytest

from tests.kernels.entropy_coding import cases

PEER = "coders"


def test_range_coder_stays_close_to_the_entropy(peer):
    q = cases.levels(200_000, 100, 0, seed=9).reshape(400, 500)
    sizes = peer.ask("sizes", tensor=q)
    assert sizes["entropy"] <= sizes["range_coder_parts"]["payload"] + 8 < sizes["entropy"] * 1.01 + 16
    assert sizes["range_coder"] == sizes["range_coder_parts"]["payload"] + sizes["range_coder_parts"]["table"]
    assert sizes["bz2"] > sizes["entropy"] and sizes["zstd19"] > sizes["entropy"]


@pytest.mark.parametrize(("shape", "value"), [((3, 4), 0), ((0, 4), 0), ((2, 2), -7)])
def test_degenerate_tensors(peer, shape, value):
    values = np.full(shape, value, np.int32)
    sizes = peer.ask("sizes", tensor=values)
    assert sizes["entropy"] == 0 and sizes["range_coder"] <= 12


def test_hopeless_alphabet_is_refused(peer):
    with pytest.raises(RuntimeError, match="makes no sense"):
        peer.ask("sizes", tensor=np.array([[-(2**30), 2**30]], np.int32))
