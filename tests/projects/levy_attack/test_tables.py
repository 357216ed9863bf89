"""The small tables end to end, what they keep, and a killed attack that goes on."""

import json

import numpy as np
import pytest

from common import app, weight_files
from common.runs import run_directory
from projects.levy_attack import attack, published, study, tables
from projects.levy_attack.tables import TablesConfig


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small tables: (run, result)."""
    run = run_directory.open_for_test(tmp_path_factory.mktemp("tables"))
    return run, tables.main(TablesConfig(), run)


def test_every_law_has_a_row(small):
    run, result = small
    shown = json.loads((run.path / "tables" / "queries.json").read_text())
    assert [row[1] for row in shown["rows"]] == ["alpha = 2", "alpha = 1", "isotropic (null control), alpha = 1"]
    compared = json.loads((run.path / "tables" / "alpha.json").read_text())
    assert len(compared["rows"]) == 2
    found = result["mlp"]["alpha = 1"]
    assert 0.5 < found["low"] <= found["ratio"] <= found["high"] < 2 and found["p_holm"] == found["p_value"]
    assert (run.plots / "mlp.png").is_file()
    piece = run.path / "runs" / "levy_attack.attack" / "mlp_coordinatewise_1_seed0"
    assert {path.stem for path in (piece / "plots").glob("*.png")} == {"distances", "step_sizes", "gallery"}
    arrays = weight_files.load_npz(piece / "attack.npz")
    assert arrays["traces"]["l1"].shape == (20, len(arrays["grid"])) and np.all(arrays["queries"] == 1000)


def test_a_second_call_attacks_nothing(small, monkeypatch):
    run, result = small
    monkeypatch.setattr(attack, "main", None)
    assert tables.main(TablesConfig(), run) == result


def test_a_published_study_says_how_good_the_victim_is(small, tmp_path, monkeypatch):
    run, result = small
    one = study.small(str(run.path / "runs" / "victim"))
    monkeypatch.setitem(study.STUDIES, "mlp", one)
    monkeypatch.setattr(published, "RESULTS", tmp_path)
    trained = json.loads((run.path / "runs" / "victim" / "result.json").read_text())
    monkeypatch.chdir(run.path)  # where runs/ is
    settings = TablesConfig(scale="full", victims=("mlp",), seeds=(0,), attack=False, publish=True)
    assert tables.main(settings, run)["mlp"] == result["mlp"]
    written = json.loads((tmp_path / "mlp.json").read_text())
    assert written["accuracy"] == pytest.approx(trained["test_accuracy"], abs=1e-9)
    assert written["test_images"] == trained["test_images"]
    share = f"MLP 784-128-10: {100 * trained['test_accuracy']:.2f} % of {trained['test_images']:,}"
    assert share in published.rendered(tmp_path) and (tmp_path / "mlp.png").is_file()
    for failures, said in (((0, 0, 0), None), ((0, 2, 1), "0 to 2"), ((3, 3, 3), "3")):
        for row, count in zip(written["laws"], failures, strict=True):
            row["failures"] = count
        (tmp_path / "mlp.json").write_text(json.dumps(written))
        page = published.rendered(tmp_path)
        assert f"MLP 784-128-10: {said} of 20 with every law." in page if said else "no start was" not in page


def test_what_has_not_run_is_named(small):
    run, _ = small
    one = study.small(str(run.path / "runs" / "victim"))
    found = study.measure(one, (0, 1), run.path / "runs", run, is_run=False)
    assert found["missing"] == [f"{law.title()}, seed 1" for law in one.laws]
    assert "no difference shown" in published.finding("mlp", found) or "alpha 1 (ratio" in published.finding(
        "mlp", found
    )


def test_an_attack_that_is_told_to_end_goes_on_to_the_same_numbers(small, tmp_path, monkeypatch):
    run, _ = small
    settings = study.settings_of(study.small(str(run.path / "runs" / "victim")), study.Law("coordinatewise", 1.0), 0)
    again = run_directory.open_for_test(tmp_path / "again")
    told = attack._Watch.__call__

    def tell(watch, progress):
        watch.is_asked = progress.queries > 4000
        told(watch, progress)

    starts, shown = [], run_directory.Run.progress
    monkeypatch.setattr(run_directory.Run, "progress", lambda *a: starts.append(a[3]) or shown(*a))
    monkeypatch.setattr(attack._Watch, "__call__", tell)
    with pytest.raises(app.Preempted):
        attack.main(settings, again)
    monkeypatch.setattr(attack._Watch, "__call__", told)
    attack.main(settings, again)
    assert starts[0] == 0 and starts[1] > 4000  # the rate that is shown is of this process
    piece = run.path / "runs" / "levy_attack.attack" / "mlp_coordinatewise_1_seed0"
    assert (piece / "attack.npz").read_bytes() == (again.path / "attack.npz").read_bytes()
    assert (piece / "gallery.npz").read_bytes() == (again.path / "gallery.npz").read_bytes()
