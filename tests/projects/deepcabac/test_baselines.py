"""Other coders' sizes against bounds and by hand; the published tables against their files."""

import itertools

import numpy as np
import pytest

from kernels import entropy_coding
from kernels.entropy import huffman_lengths
from projects.deepcabac import baselines, evaluation, published
from projects.deepcabac.page import page


def test_huffman_lengths_by_hand():
    # 1+1 -> 2, 2+2 -> 4, 3+4 -> 7: the code of counts 1, 1, 2, 3 has lengths 3, 3, 2, 1.
    assert huffman_lengths(np.array([1, 1, 2, 3])).tolist() == [3, 3, 2, 1]
    assert huffman_lengths(np.array([5])).tolist() == [0]


def test_huffman_is_a_prefix_code_within_a_bit_of_the_entropy():
    random = np.random.default_rng(0)
    for size in (2, 3, 17, 300):
        counts = random.integers(1, 1000, size)
        lengths = huffman_lengths(counts)
        assert sum(2.0 ** -int(length) for length in lengths) == 1.0  # Kraft, and no bit wasted
        p = counts / counts.sum()
        entropy, mean = -(p * np.log2(p)).sum(), (p * lengths).sum()
        assert entropy <= mean < entropy + 1


def test_huffman_is_optimal_among_all_codes_of_four_symbols():
    counts = np.array([7, 1, 4, 2])
    allowed = [code for code in itertools.product((1, 2, 3), repeat=4) if sum(2.0**-n for n in code) <= 1]
    assert counts @ huffman_lengths(counts) == min(counts @ np.array(code) for code in allowed)


def test_entropy_of_a_fair_coin():
    assert baselines.entropy_bits(np.array([0, 1] * 50)) == pytest.approx(100)
    assert baselines.entropy_bits(np.zeros(50, int)) == 0


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(1)
    levels = np.rint(random.laplace(0, 0.8, (200, 150)) * (random.random((200, 150)) < 0.3))
    tree = {
        "fc1": {"kernel": (0.1 * levels).astype(np.float32), "bias": random.normal(size=150).astype(np.float32)},
        "fc2": {"kernel": np.zeros((64, 64), np.float32)},
    }
    return tree, baselines.measure(entropy_coding.compress(tree, step=0.1))


def test_sizes_are_of_the_same_integers(table):
    tree, found = table
    levels = np.rint(tree["fc1"]["kernel"] / 0.1).astype(np.int32)
    sizes = found.sizes
    assert sizes[baselines.FLOAT32] == 4 * (200 * 150 + 150 + 64 * 64)
    lossless = 4 * 150
    assert sizes[baselines.ENTROPY] - lossless == pytest.approx(baselines.entropy_bits(levels) / 8, abs=1)
    assert sizes[baselines.ENTROPY] <= sizes[baselines.HUFFMAN]
    assert sizes[baselines.STREAMS] < sizes[baselines.FILE] < sizes[baselines.BZ2]
    for name in (baselines.RANGE, baselines.NNCODEC):
        assert sizes[name] is None or sizes[name] > 0.9 * sizes[baselines.ENTROPY]


def test_a_missing_peer_says_how_to_get_it(table, monkeypatch, tmp_path):
    tree, _ = table
    monkeypatch.setattr(baselines.provenance, "ROOT", tmp_path)
    found = baselines.measure(entropy_coding.compress(tree, step=0.1))
    assert found.sizes[baselines.RANGE] is None and found.sizes[baselines.NNCODEC] is None
    rows = {row[0]: row for row in found.report()[1]}
    assert rows[baselines.NNCODEC][1] == "make peers"


def test_nncodec_makes_the_same_streams(table):
    tree, found = table
    if found.sizes[baselines.NNCODEC] is None:
        pytest.skip("no .venv-peers/nncodec: make peers")
    levels = np.rint(tree["fc1"]["kernel"] / 0.1).astype(np.int32)
    shortest = min(entropy_coding.stream_length(q) for q in (levels, np.ascontiguousarray(levels.T)))
    assert found.sizes[baselines.NNCODEC] == shortest + 4 * 150
    # Our order of axes is chosen by an estimate of the bits, which may miss a near tie.
    assert found.sizes[baselines.STREAMS] <= 1.005 * found.sizes[baselines.NNCODEC]


def test_paired_interval_covers_the_difference():
    before = np.array([True] * 90 + [False] * 10)
    after = before.copy()
    after[:4], after[95] = False, True
    low, high = evaluation.paired_interval(before, after)
    assert low < -0.03 < high and (low, high) == evaluation.paired_interval(before, after)
    # The normal approximation: -0.03 +- 1.96 * sqrt((5/100 - 0.03^2) / 100).
    assert low == pytest.approx(-0.0734, abs=0.011) and high == pytest.approx(0.0134, abs=0.011)


def test_no_changed_answer_is_no_interval_of_width_zero():
    """None of 100 images: a share up to 1 - 0.025^(1/100) is within 95 % on both sides."""
    same = np.array([True] * 90 + [False] * 10)
    low, high = evaluation.paired_interval(same, same)
    assert high == -low == pytest.approx(1 - 0.025**0.01) and 0.036 < high < 0.037


def test_one_changed_answer_does_not_make_an_interval_narrower_than_none():
    """One of 100 the worse: the interval ended at 0, and was narrower than that of no change at all."""
    before = np.array([True] * 90 + [False] * 10)
    after, unseen = before.copy(), 1 - 0.025**0.01
    after[0] = False
    low, high = evaluation.paired_interval(before, after)
    assert low <= -0.03 and high == pytest.approx(unseen)
    low, high = evaluation.paired_interval(after, before)
    assert high >= 0.03 and low == pytest.approx(-unseen)


def test_the_readme_shows_what_the_result_files_say():
    text = (published.ROOM / "README.md").read_text()
    assert page.rendered(text) == text, "run: python -m projects.deepcabac.tables --render_readme"


def test_results_name_their_origin_and_are_within_their_own_bounds():
    for name, result in published.load().items():
        assert {"commit", "device", "versions", "date"} <= set(result["provenance"]), name
        assert (published.RESULTS / f"{name}.png").is_file()
        for point in result["points"].values():
            for row in point["seeds"]:
                assert row["percent"] == pytest.approx(100 * row["bytes"] / result["float32_bytes"], rel=1e-6)


def test_steps_too_fine_for_a_static_coder_leave_it_out(tmp_path):
    """Biases at a step that makes millions of different integers: every other coder still has its row."""
    tree = {"kernel": np.ones((50, 60), np.float32), "bias": np.array([-3.0, 4.0], np.float32)}
    table = baselines.measure(entropy_coding.compress(tree, step=0.5, small_step=1e-6))
    assert table.sizes[baselines.RANGE] is None
    assert table.sizes[baselines.BZ2] and table.sizes[baselines.FILE]
    shown = {row[0]: row[1] for row in table.report()[1]}
    assert shown[baselines.RANGE] == (baselines.TOO_MANY if "constriction" in table.versions else baselines.MISSING)
