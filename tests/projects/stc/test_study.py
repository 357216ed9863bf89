"""The small study end to end, verdicts by hand, what it publishes and the page shows."""

import dataclasses
import json

import pytest

from common.publishing import markdown, origin
from common.runs import run_directory
from common.study import pieces, statistics
from projects.stc import findings, simulate, study
from projects.stc.arms import ARMS, LEAD, NON_IID, SMALL, STUDIES
from projects.stc.page import headline, page, tables
from projects.stc.study import StudyConfig

PLACE = dataclasses.replace(SMALL.environments[0], arms=(LEAD, "fed_avg100"))
TINY = dataclasses.replace(SMALL, environments=(PLACE,), settings=dataclasses.replace(SMALL.settings, iterations=50))
SETTINGS = StudyConfig(seeds=(0, 1))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small study with less in it: (run, result)."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("study"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "SMALL", TINY)
        return run, study.main(SETTINGS, run)


def gathered_of(run, one=TINY):
    simulations = one.pieces((0, 1), str(run.path / "runs"))
    return simulations, pieces.take(simulations.values())


def test_a_study_has_verdicts_tables_and_a_picture(small):
    run, result = small
    claims = {claim["claim"]: claim for claim in result["small"]["claims"]}
    assert set(claims) == {"STC 1/10 beats FedAvg-25: non-iid data"} and not result["missing"]
    assert {claim["verdict"] for claim in claims.values()} <= {findings.HOLDS, findings.MISSED, findings.OPEN}
    assert (run.plots / "small.png").is_file()
    cost = json.loads((run.path / "tables" / "small_4_cost.json").read_text())
    assert [row[1] for row in cost["rows"]] == ["STC 1/10", "FedAvg-25"]


def test_differences_are_paired_by_seed(small):
    simulations, gathered = gathered_of(small[0])
    result = findings.measure(TINY, simulations, gathered)
    ours, theirs = (gathered[simulations["classes2", arm]].result["seeds"] for arm in (LEAD, "fed_avg100"))
    expected = statistics.over_seeds([ours[seed]["accuracy"] - theirs[seed]["accuracy"] for seed in ("0", "1")])
    assert result["environments"]["classes2"]["ahead"]["fed_avg100"] == pytest.approx(expected._asdict())


def test_nothing_is_claimed_where_nothing_is_learnt(small):
    """Being as good as FedSGD is easy while both guess."""
    accuracy = statistics.over_seeds([0.1, 0.101])._asdict()
    near = statistics.over_seeds([0.001, 0.0])._asdict()
    rows = {arm: {"title": arm, "accuracy": accuracy} for arm in (LEAD, "fed_sgd")}
    place = {"title": "", "claim": NON_IID, "rows": rows, "ahead": {"fed_sgd": near}, "order": None}
    (claim,) = findings._claims(TINY, place)
    assert claim["verdict"] == findings.OPEN and "FedSGD itself is at 10.1 %" in claim["measured"]
    rows["fed_sgd"] = {"title": "fed_sgd", "accuracy": statistics.over_seeds([0.9, 0.91])._asdict()}
    (claim,) = findings._claims(TINY, place)
    assert claim["verdict"] == findings.HOLDS


def test_a_second_call_simulates_nothing(small, monkeypatch):
    run, result = small

    def simulate_again(settings: simulate.SimulateConfig, run):
        raise AssertionError("simulated again")

    monkeypatch.setattr(simulate, "main", simulate_again)
    monkeypatch.setattr(study, "SMALL", TINY)
    assert study.main(SETTINGS, run)["small"] == result["small"]


def test_a_published_study_stands_on_its_page(small, tmp_path, monkeypatch):
    run, _ = small
    monkeypatch.setitem(STUDIES, "mnist", TINY)
    monkeypatch.setattr(study, "page", dataclasses.replace(page, folder=tmp_path))
    monkeypatch.setattr(origin, "require_clean_tree", lambda folder: None)
    (tmp_path / "results").mkdir()
    settings = StudyConfig(
        scale="full", studies=("mnist",), seeds=(0, 1), runs=str(run.path / "runs"), pieces="take", publish=True
    )
    provenance = pieces.Gathered.provenance
    monkeypatch.setattr(
        pieces.Gathered, "provenance", lambda self, stamp, *some: provenance(self, stamp, *some) | {"dirty": False}
    )
    study.main(settings, run)
    results = study.page.read()
    assert (tmp_path / "results" / "mnist.png").is_file() and results["mnist"]["missing"] == []
    text = markdown.text_of(tables(results))
    assert "STC 1/10 minus the others in points" in text and "published code's count" in text
    assert "STC 1/10" in headline(results).result and headline(results).sources == ("mnist",)


def test_what_has_not_run_is_named(small):
    more = dataclasses.replace(TINY, environments=(dataclasses.replace(PLACE, arms=(LEAD, "fed_avg100", "sign_sgd")),))
    simulations, gathered = gathered_of(small[0], more)
    result = findings.measure(more, simulations, gathered)
    assert result["missing"] == ["stc.simulate/small_classes2_sign_sgd"]
    stamp = {"device": "cpu", "date": "2026-11-28", "commit": "0" * 40}
    assert "Not run yet: stc.simulate/small_classes2_sign_sgd." in markdown.text_of(
        tables({"mnist": result | {"provenance": stamp}})
    )


@pytest.mark.parametrize(
    ("values", "bar", "strict", "verdict"),
    [
        ((0.05, 0.05), 0.05, False, "holds"), ((0.05, 0.05), 0.05, True, "missed"),
        ((0.10, 0.101), 0.05, True, "holds"), ((-0.02, -0.021), -0.01, False, "missed"),
        ((-0.03, 0.04), 0.0, True, "open"), ((0.02,), 0.0, True, "holds"),
        ((-0.02,), 0.0, True, "missed"),
    ],
)  # fmt: skip
def test_verdicts_by_hand(values, bar, strict, verdict):
    difference = statistics.over_seeds(values)._asdict()
    assert findings.verdict_of(difference, bar, strict=strict) == verdict
    assert ("one seed" in findings.points(difference)) == (len(values) == 1)


def row(title, crossing):
    names = ("iterations", "megabytes_up", "megabytes_down")
    means = {} if crossing is None else {name: {"mean": value} for name, value in zip(names, crossing, strict=True)}
    return {"title": title, "crossing": {"reached": 5 if crossing else 2, "of": 5} | means}


def test_a_claim_of_fewer_bits_is_missed_where_they_are_more():
    rows = {
        "stc100": row("STC 1/100", (300, 1.0, 9.0)), "stc400": row("STC 1/400", (500, 0.5, 4.0)),
        "fed_avg25": row("FedAvg-25", (400, 10.0, 10.0)), "fed_avg100": row("FedAvg-100", (400, 3.0, 3.0)),
        "fed_avg400": row("FedAvg-400", None),
    }  # fmt: skip
    claims = findings._pareto({"title": "all classes a client", "rows": rows})
    assert [claim["verdict"] for claim in claims] == ["holds", "missed", "holds"]
    assert claims[0]["measured"] == "STC 1/100 in all three"
    assert claims[1]["measured"] == (
        "STC 1/100 needs more bits down; STC 1/400 needs more iterations and bits down"
    )  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_pieces_of_a_study_have_names_of_their_own(name, tmp_path):
    simulations = STUDIES[name].pieces(range(5), str(tmp_path))
    assert len({piece.key for piece in simulations.values()}) == len(simulations)
    assert all(set(place.arms) <= set(ARMS) and LEAD in place.arms for place in STUDIES[name].environments)
    assert len(pieces.ordered(simulations.values())) == len(simulations)


def test_page_is_up_to_date():
    text = (page.folder / "README.md").read_text(encoding="utf-8")
    assert page.rendered(text) == text, "run: python -m projects.stc.study --render_readme"
