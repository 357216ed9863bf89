"""Other coders' sizes against bounds and by hand; the published tables against their files."""

import numpy as np
import pytest

from kernels import entropy_coding, peers
from projects.deepcabac import other_coders
from projects.deepcabac.page import page


def test_a_huffman_code_by_hand():
    """Counts 1, 1, 2, 3 have code words of 3, 3, 2, 1 bits: 13 bits, 8 bytes of ends, and a table of 4 lengths."""
    q = np.array([0, 1, 2, 2, 3, 3, 3], np.int32)
    assert other_coders.huffman_bytes(q) == 2 + 8 + 4
    assert other_coders.huffman_bytes(q[:0]) == 0


def test_entropy_of_a_fair_coin():
    assert other_coders.entropy_bits(np.array([0, 1] * 50)) == pytest.approx(100)
    assert other_coders.entropy_bits(np.zeros(50, int)) == 0


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(1)
    levels = np.rint(random.laplace(0, 0.8, (200, 150)) * (random.random((200, 150)) < 0.3))
    tree = {
        "fc1": {"kernel": (0.1 * levels).astype(np.float32), "bias": random.normal(size=150).astype(np.float32)},
        "fc2": {"kernel": np.zeros((64, 64), np.float32)},
    }
    return tree, other_coders.measure(entropy_coding.compress(tree, step=0.1))


def test_sizes_are_of_the_same_integers(table):
    tree, coders = table
    levels = np.rint(tree["fc1"]["kernel"] / 0.1).astype(np.int32)
    sizes = coders.bytes
    assert sizes[other_coders.FLOAT32] == 4 * (200 * 150 + 150 + 64 * 64)
    lossless = 4 * 150
    assert sizes[other_coders.ENTROPY] - lossless == pytest.approx(other_coders.entropy_bits(levels) / 8, abs=1)
    assert sizes[other_coders.ENTROPY] <= sizes[other_coders.HUFFMAN]
    assert sizes[other_coders.STREAMS] < sizes[other_coders.FILE] < sizes[other_coders.BZ2]
    for name in (other_coders.RANGE, other_coders.NNCODEC):
        assert sizes[name] is None or sizes[name] > 0.9 * sizes[other_coders.ENTROPY]


def test_a_missing_peer_says_how_to_get_it(table, monkeypatch, tmp_path):
    tree, _ = table
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)
    coders = other_coders.measure(entropy_coding.compress(tree, step=0.1))
    assert coders.bytes[other_coders.RANGE] is None and coders.bytes[other_coders.NNCODEC] is None
    rows = {row[0]: row for row in coders.report()[1]}
    assert rows[other_coders.NNCODEC][1] == "make peers"


def test_nncodec_makes_the_same_streams(table):
    tree, coders = table
    if coders.bytes[other_coders.NNCODEC] is None:
        pytest.skip("no .venv-peers/nncodec: make peers")
    levels = np.rint(tree["fc1"]["kernel"] / 0.1).astype(np.int32)
    shortest = min(entropy_coding.stream_length(q) for q in (levels, np.ascontiguousarray(levels.T)))
    assert coders.bytes[other_coders.NNCODEC] == shortest + 4 * 150
    # Our order of axes is chosen by an estimate of the bits, which may miss a near tie.
    assert coders.bytes[other_coders.STREAMS] <= 1.005 * coders.bytes[other_coders.NNCODEC]


def test_the_readme_shows_what_the_result_files_say():
    text = (page.folder / "README.md").read_text()
    assert page.rendered(text) == text, "run: python -m projects.deepcabac.study --render_readme"


def test_results_name_their_origin_and_are_within_their_own_bounds():
    for name, result in page.read().items():
        assert {"commit", "device", "versions", "date"} <= set(result["provenance"]), name
        assert (page.results / f"{name}.png").is_file()
        for point in result["points"].values():
            for row in point["seeds"]:
                assert row["percent"] == pytest.approx(100 * row["bytes"] / result["float32_bytes"], rel=1e-6)


def test_steps_too_fine_for_a_static_coder_leave_it_out(tmp_path):
    """Biases at a step that makes millions of different integers: every other coder still has its row."""
    tree = {"kernel": np.ones((50, 60), np.float32), "bias": np.array([-3.0, 4.0], np.float32)}
    coders = other_coders.measure(entropy_coding.compress(tree, step=0.5, small_step=1e-6))
    assert coders.bytes[other_coders.RANGE] is None
    assert coders.bytes[other_coders.BZ2] and coders.bytes[other_coders.FILE]
    rows = {row[0]: row[1] for row in coders.report()[1]}
    assert rows[other_coders.RANGE] == (
        other_coders.TOO_MANY if "constriction" in coders.versions else other_coders.MISSING
    )
