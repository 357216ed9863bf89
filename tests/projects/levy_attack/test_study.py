"""The small study end to end, what it publishes, run directories of before, and a killed attack that goes on."""

import dataclasses
import json

import pytest

from common import app, weight_files
from common.publishing import markdown, origin
from common.runs import run_directory
from common.study import pieces, statistics
from common.training import supervised
from projects.levy_attack import arms, attack, study
from projects.levy_attack.arms import ALPHAS, BASELINE, NULL, SMALL, STUDIES, Arm
from projects.levy_attack.page import direction_finding, page, tables
from projects.levy_attack.study import StudyConfig

SHORTER = dataclasses.replace(  # without the null control, which is a program of its own
    SMALL, attack=dataclasses.replace(SMALL.attack, budget=400), arms=SMALL.arms[:2]
)
TITLES = ["alpha = 2", "alpha = 1", "isotropic (null control), alpha = 1"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small study with fewer queries: (run, result)."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("study"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "SMALL", SHORTER)
        patch.setattr(statistics, "RESAMPLES", 500)
        yield run, study.main(StudyConfig(), run)


def what_there_is(run, seeds=(0,)):
    """What there is of the small study: (its pieces, Gathered)."""
    attacks = SHORTER.pieces(seeds, str(run.path / "runs"))
    return attacks, pieces.take(attacks.values())


def check_tables(run, result, budget, laws):
    """A row for every law, and what its attack leaves."""
    distances = json.loads((run.path / "tables" / "distances.json").read_text())
    assert [row[1] for row in distances["rows"]] == TITLES[:laws]
    assert len(json.loads((run.path / "tables" / "comparison.json").read_text())["rows"]) == laws - 1
    test = result["mlp"]["alpha = 1"]
    assert 0.5 < test["low"] <= test["ratio"] <= test["high"] < 2 and test["p_holm"] == test["p_value"]
    assert (run.plots / "mlp.png").is_file()
    piece = run.path / "runs" / "levy_attack.attack" / "mlp_coordinatewise_1_seed0"
    assert {path.stem for path in (piece / "plots").glob("*.png")} == {"distances", "step_sizes", "gallery"}
    arrays = weight_files.load_npz(piece / "attack.npz")
    assert arrays["traces"]["l1"].shape == (20, len(arrays["grid"])) and (arrays["queries"] == budget).all()


def test_every_law_has_a_row(small):
    check_tables(*small, budget=400, laws=2)


@pytest.mark.slow
def test_every_law_has_a_row_as_the_small_study_ships(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    check_tables(run, study.main(StudyConfig(), run), budget=1000, laws=3)


def test_a_second_call_attacks_nothing(small, monkeypatch):
    run, result = small

    def attack_again(settings: attack.VerbConfig, run):
        raise AssertionError("attacked again")

    monkeypatch.setattr(attack, "main", attack_again)
    again = study.main(StudyConfig(), run)
    assert again["mlp"] == result["mlp"] and again["missing"] == {}


def test_a_published_study_says_how_good_the_victim_is(small, tmp_path, monkeypatch):
    run, result = small
    monkeypatch.setitem(STUDIES, "mlp", SHORTER)
    monkeypatch.setattr(study, "page", dataclasses.replace(page, folder=tmp_path))
    monkeypatch.setattr(origin, "require_clean_tree", lambda folder: None)
    provenance = pieces.Gathered.provenance  # of a tree that somebody works on
    monkeypatch.setattr(
        pieces.Gathered, "provenance", lambda self, stamp, *some: provenance(self, stamp, *some) | {"dirty": False}
    )
    (tmp_path / "results").mkdir()
    training = json.loads((run.path / "runs" / "levy_attack.train" / "digits" / "result.json").read_text())
    settings = StudyConfig(
        scale="full", studies=("mlp",), seeds=(0,), runs=str(run.path / "runs"), pieces="take", publish=True
    )
    assert study.main(settings, run)["mlp"] == result["mlp"]
    published = study.page.read()["mlp"]
    assert published["accuracy"] == pytest.approx(training["test_accuracy"], abs=1e-9)
    assert (tmp_path / "results" / "mlp.png").is_file() and published["provenance"]["dirty"] is False
    share = f"MLP 784-128-10: {100 * training['test_accuracy']:.2f} % of {training['test_images']:,}"
    assert share in markdown.text_of(tables({"mlp": published}))
    for failures, words in (((0, 0), None), ((0, 2), "0 to 2"), ((3, 3), "3")):
        for row, count in zip(published["arms"], failures, strict=True):
            row["failures"] = count
        text = markdown.text_of(tables({"mlp": published}))
        sentence = f"MLP 784-128-10: {words} of 20 with every law." if words else None
        assert sentence in text if sentence else "no start was" not in text


def test_what_has_not_run_is_named(small):
    attacks, gathered = what_there_is(small[0], seeds=(0, 1))
    result = study.measure(SHORTER, attacks, gathered)
    assert result["missing"] == [f"{arm.title}, seed 1" for arm in SHORTER.arms]
    text = direction_finding(result)
    assert "no difference shown" in text or "alpha 1 (ratio" in text
    assert "Not run yet: MLP 784-128-10: alpha = 2, seed 1, " in markdown.text_of(
        tables({"mlp": result | {"provenance": {"device": "cpu", "date": "2026-11-28", "commit": "0" * 40}}})
    )


def test_run_directories_have_the_names_and_flags_of_before(tmp_path):
    """Two verbs made them, each with names of its own; they are taken, and those of other settings are refused."""
    runs = str(tmp_path)
    attacks = STUDIES["mlp"].pieces((0,), runs) | STUDIES["effort_mnist_cnn"].pieces((2,), runs)
    plain, short = attacks[NULL, 0], attacks[Arm("length", 1.0, True), 2]
    assert plain.key == "levy_attack.attack/mlp_isotropic_1_seed0"
    assert short.key == "levy_attack.effort/mnist_cnn_length_1_short_seed2"
    assert (short.settings.delta, short.settings.eps, short.settings.width) == (0.05, 0.002, 0.25)
    assert plain.settings.checkpoint == f"{runs}/levy_attack.train/mlp"
    assert [piece.key for piece in short.needs] == ["levy_attack.train/mnist_cnn_quarter"]
    flags = (
        f"--victim=mnist_cnn\n--checkpoint={runs}/levy_attack.train/mnist_cnn_quarter\n--dataset=none\n--width=0.25\n"
        "--images=12\n--per_class=2\n--seed=2\n--alpha=1.0\n--noise=length\n--cap=10.0\n--rescale_after_clip=false\n"
        "--budget=10000\n--delta=0.05\n--eps=0.002\n--goal=0.0\n--quantise=none\n--targeted=false\n--batch_size=12\n"
        "--gallery=0\n--chunk=100\n--checkpoint_seconds=60.0\n"
    )
    short.path.mkdir(parents=True)
    (short.path / "result.json").write_text("{}")
    (short.path / "meta.json").write_text(json.dumps({"verb": "levy_attack.attack", "status": "finished"}))
    (short.path / "flags.txt").write_text(flags)
    assert short in pieces.take([short])
    (short.path / "flags.txt").write_text(flags.replace("eps=0.002", "eps=0.003"))
    assert "--eps (0.003 there, 0.002 now)" in pieces.take([short]).missing[short]


@pytest.mark.parametrize("name", [one.training for one in STUDIES.values() if one.training])
def test_every_victim_has_a_flag_file(name):
    assert arms.training_piece(name).settings.model == name.removesuffix("_quarter")


def test_studies_have_the_baseline_first():
    assert all(one.arms[0] == BASELINE and len(set(one.arms)) == len(one.arms) for one in STUDIES.values())
    assert [len(one.arms) for one in STUDIES.values()] == [9, 8, 3, 3, 3, 2, 9, 9] and len(ALPHAS) == 7


@pytest.mark.slow
def test_an_attack_that_is_told_to_end_goes_on_to_the_same_numbers(small, tmp_path, monkeypatch):
    run, _ = small
    settings = what_there_is(run)[0][Arm("coordinatewise", 1.0), 0].settings
    again = run_directory.open_for_test(tmp_path / "again")
    starts, progress = [], run_directory.Run.progress
    monkeypatch.setattr(run_directory.Run, "progress", lambda *a: starts.append(a[3]) or progress(*a))
    with monkeypatch.context() as patch, pytest.raises(app.Preempted):
        patch.setattr(supervised.Termination, "after", lambda _, queries: queries > 4000)
        attack.main(settings, again)
    attack.main(settings, again)
    assert starts[0] == 0 and starts[1] > 4000  # the rate that is shown is of this process
    piece = run.path / "runs" / "levy_attack.attack" / "mlp_coordinatewise_1_seed0"
    assert (piece / "attack.npz").read_bytes() == (again.path / "attack.npz").read_bytes()
    assert (piece / "gallery.npz").read_bytes() == (again.path / "gallery.npz").read_bytes()
