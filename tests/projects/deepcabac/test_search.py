"""The search: it keeps its tolerance, finds what a full grid finds, and goes on after a kill to the same result."""

import itertools
import json
import shutil

import numpy as np
import pytest

from common.runs import run_directory
from kernels import entropy_coding
from projects.deepcabac import compress, quantization, search
from projects.deepcabac.candidates import Candidate, Candidates
from projects.deepcabac.config import CompressConfig
from projects.deepcabac.network import Network
from projects.deepcabac.quantization import Rule

RANDOM = np.random.default_rng(7)
INPUTS = RANDOM.normal(size=(400, 24)).astype(np.float32)
TREE = {
    "kernel": (RANDOM.laplace(0, 0.3, (24, 6)) * (RANDOM.random((24, 6)) < 0.6)).astype(np.float32),
    "bias": RANDOM.normal(0, 0.3, 6).astype(np.float32),
}
LABELS = np.argmax(INPUTS @ TREE["kernel"] + TREE["bias"] + RANDOM.normal(0, 0.4, (400, 6)), axis=1)
OCTAVES, RATES = (-4.0, 1.0), (0.0, 0.03, 0.1)


def correct(tree) -> np.ndarray:
    return np.argmax(INPUTS @ tree["kernel"] + tree["bias"], axis=1) == LABELS


def correct_many(trees) -> np.ndarray:
    return np.stack([correct(tree) for tree in trees])


def make(folder, evaluate=correct_many, tree=TREE, **options) -> Candidates:
    return Candidates(Network(tree, jobs=1), evaluate, folder / "candidates.jsonl", **options)


def smallest(candidates: Candidates, tolerance=0.01, caution=0.0, octaves=OCTAVES, rates=RATES) -> Candidate:
    settings = CompressConfig(
        checkpoint="a", output="b", search="dc_v2", tolerance=tolerance, caution=caution, step_octaves=octaves,
        rate_weights=rates,
    )  # fmt: skip
    return search.smallest(candidates, settings, run_directory.open_for_test(candidates.cache.parent / "run"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search that several tests look at: (candidates, the best one)."""
    candidates = make(tmp_path_factory.mktemp("searched"))
    return candidates, smallest(candidates)


def test_it_keeps_the_tolerance_and_says_the_true_size(searched):
    candidates, best = searched
    data = quantization.encode(candidates.network, best.rule)
    assert len(data) == best.bytes
    accuracy = correct(entropy_coding.decompress(data)).mean()
    assert accuracy == pytest.approx(candidates.accuracy(best)) and accuracy >= correct(TREE).mean() - 0.01 - 1e-12
    assert len(candidates.evaluated()) < 120


def test_it_is_at_least_as_good_as_its_grid(searched):
    candidates, best = searched
    unit = search.unit_step(candidates.network)
    sizes = []
    for octave, rate in itertools.product(np.arange(-4, 1.01, 0.5), RATES):
        rule = Rule(search.rounded(unit * 2.0**octave), rate, None, search.FIRST_SMALL)
        data = quantization.encode(candidates.network, rule)
        if correct(entropy_coding.decompress(data)).mean() >= correct(TREE).mean() - 0.01 - 1e-12:
            sizes.append(len(data))
    assert best.bytes <= min(sizes)


@pytest.mark.slow
def test_more_tolerance_is_never_larger(tmp_path):
    candidates = make(tmp_path)
    sizes = [smallest(candidates, tolerance).bytes for tolerance in (0.0, 0.02, 0.1)]
    assert sizes == sorted(sizes, reverse=True)


def test_caution_adds_standard_errors(tmp_path):
    candidates = make(tmp_path)
    candidate = Candidate(Rule(1.0), 10, lost=9, won=5)
    differences = np.array([1.0] * 9 + [-1.0] * 5 + [0.0] * 386)
    expected = differences.mean() + 2 * differences.std() / np.sqrt(400)
    assert candidates.cautious_loss(candidate, 2.0) == pytest.approx(expected)


def test_a_lucky_candidate_is_charged_with_its_neighbours(tmp_path):
    candidates = make(tmp_path)
    for size, lost in ((1000, 2), (1010, 8), (1020, 6), (990, 12), (2000, 0)):
        rule = Rule(float(size))
        candidates.by_rule[rule] = Candidate(rule, size, lost, 0)
    lucky = candidates.by_rule[Rule(1000.0)]
    # Of 2, 6, 8, 12 around it, the better half has the mean 4: two images more than its own 2.
    assert candidates.expected_loss(lucky, 0.0) == pytest.approx(4 / 400)
    assert candidates.expected_loss(candidates.by_rule[Rule(990.0)], 0.0) == pytest.approx(12 / 400)
    assert candidates.expected_loss(candidates.by_rule[Rule(2000.0)], 0.0) == 0


def test_a_killed_search_ends_as_if_it_had_never_been(searched, tmp_path):
    _, whole = searched
    calls = 0

    def dies(trees):
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return correct_many(trees)

    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        smallest(make(folder, dies))
    cache = folder / "candidates.jsonl"
    cache.write_text(cache.read_text() + '{"rule": {"step": 0.1, "rate_w')  # a row that the kill cut short
    before = calls
    resumed = make(folder, lambda trees: dies(trees) if calls < 12 else correct_many(trees))
    assert len(resumed.evaluated()) == before - 2  # the reference, and the one that died, left no row
    assert smallest(resumed) == whole
    rows = [json.loads(line) for line in cache.read_text().splitlines()]
    rules = [json.dumps(row["rule"]) for row in rows[1:] if row["lost"] is not None]
    assert len(rules) == len(set(rules)), "a candidate was evaluated twice"


def test_a_finished_search_evaluates_nothing_again(searched):
    candidates, first = searched
    calls = []
    again = smallest(make(candidates.cache.parent, lambda trees: calls.append(1) or correct_many(trees)))
    assert again == first and len(calls) == 1  # the reference alone


def test_another_network_begins_anew(searched, tmp_path):
    shutil.copy(searched[0].cache, tmp_path)
    assert make(tmp_path).evaluated()
    other = {**TREE, "bias": TREE["bias"] + 1}
    assert make(tmp_path, tree=other).evaluated() == []


def test_the_front_has_no_dominated_candidate(searched):
    candidates, _ = searched
    front = candidates.pareto()
    for item in candidates.evaluated():
        assert any(
            other.bytes <= item.bytes and candidates.accuracy(other) >= candidates.accuracy(item) for other in front
        )
    assert all(
        a.bytes < b.bytes and candidates.accuracy(a) < candidates.accuracy(b) for a, b in itertools.pairwise(front)
    )


def test_a_grid_that_is_too_coarse_is_left_for_finer_steps(tmp_path):
    candidates = make(tmp_path)
    best = smallest(candidates, 0.0, 0.0, (2.0, 3.0), (0.1,))
    assert candidates.accuracy(best) >= correct(TREE).mean()
    assert best.rule.step < 4 * search.unit_step(candidates.network)


def test_out_of_reach_says_what_was_reached(tmp_path):
    def strict(trees):
        return np.stack([np.full(400, tree is TREE) for tree in trees])

    with pytest.raises(ValueError, match=r"no candidate stays within 0\.01.*best has 0\.0000"):
        smallest(make(tmp_path, strict))


def test_views_of_an_image_are_one_observation(tmp_path):
    """Twice the same answers: the same loss and the same standard error, so the same choice."""
    once, twice = tmp_path / "once", tmp_path / "twice"
    once.mkdir(), twice.mkdir()
    few = {"caution": 1.0, "octaves": (-2.0, 1.0), "rates": (0.0,)}
    best = smallest(make(once), **few)
    doubled = make(twice, lambda trees: np.tile(correct_many(trees), (1, 2)), views=2)
    assert smallest(doubled, **few).rule == best.rule


def test_only_photographs_have_views():
    flags = CompressConfig(checkpoint="m", output="m", search="dc_v2", model="lenet5", dataset="digits", views=2)
    with pytest.raises(ValueError, match="--views=2: only imagenet_samples can be moved; digits has one view"):
        compress.judge_of(flags)


@pytest.mark.parametrize("at_once", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_candidates_evaluated_together(at_once, searched, tmp_path):
    calls = []

    def counted(trees):
        calls.append(len(trees))
        return correct_many(trees)

    assert smallest(make(tmp_path, counted, at_once=at_once)) == searched[1]
    assert max(calls) == at_once and np.mean(calls) > at_once / 2
