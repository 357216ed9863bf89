"""From blocks to tables: the verbs on synthetic blocks, a killed training, sets that do not fit together."""

import dataclasses
import math

import numpy as np
import pytest

from common import files
from common.runs import run_directory
from projects.eharq import blocks, evaluate, findings, rates, train
from projects.eharq.predict_config import KINDS, EvaluateConfig, TrainConfig
from tests.projects.eharq import synthetic

COUNT = 15_000
SETTINGS = {"es_n0_db": "4.0", "sent": "1800"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for seed, name in enumerate(("train", "calibrate", "test")):
        rows = synthetic.blocks(COUNT, seed)
        blocks.save(folder / name, rows, SETTINGS | {"seed": str(seed)}, subcodes=(900, 1500))
    return folder


def call(verb, module, settings, path):
    run = run_directory.open_run(path, settings, verb=verb, argv=[])
    try:
        return run.finish(module.main(settings, run))
    finally:
        run.close()


@pytest.fixture(scope="module")
def trained(sets):
    settings = TrainConfig(
        data=str(sets / "train"), trees=10, depth=6, forest_rows=3000, isolation_rows=64, steps=600, batch_size=256
    )  # fmt: skip
    return settings, call("eharq.train", train, settings, sets / "trained")


@pytest.fixture(scope="module")
def evaluated(sets, trained):
    settings = EvaluateConfig(
        predictors=str(sets / "trained"), calibrate=str(sets / "calibrate"), test=str(sets / "test"), resamples=100,
        fnr=(1e-1, 1e-2, 1e-3), compare_fnr=1e-2, target=2e-3, loads=(0.2, 0.6), queue_blocks=4000,
    )  # fmt: skip
    return settings, call("eharq.evaluate", evaluate, settings, sets / "evaluated")


def test_every_predictor_is_there(sets, trained):
    _, result = trained
    assert list(result["subcodes"]) == ["900", "1500"] and all(
        list(one) == list(KINDS) for one in result["subcodes"].values()
    )
    assert len(evaluate.predictors_of(str(sets / "trained"))) == 2


def test_a_killed_training_goes_on(sets, trained, tmp_path, monkeypatch):
    settings, result = trained
    settings = dataclasses.replace(settings, kinds=("threshold", "logistic_regression"))
    fits, calls = train.predictors.fit, []

    def fit(*arguments):
        calls.append(arguments[:1])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fits(*arguments)

    monkeypatch.setattr(train.predictors, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        call("eharq.train", train, settings, tmp_path / "run")
    again = call("eharq.train", train, settings, tmp_path / "run")
    assert len(calls) == 5  # two, the one that was killed, two more
    for bits, kinds in again["subcodes"].items():
        assert kinds == {kind: result["subcodes"][bits][kind] for kind in kinds}


def test_what_is_found_is_what_was_planted(evaluated, sets):
    _, result = evaluated
    test = blocks.load(sets / "test")
    for one in result["subcodes"].values():
        assert one["blocks"]["test"]["nacks"] == test.failed.sum()
        cuts = {(row["predictor"], row["baseline"]): row for row in one["comparisons"]}
        assert cuts["logistic_regression", "threshold"]["is_better"] == "holds"
        assert cuts["isolation_forest", "threshold"]["is_better"] == "missed"
        point = one["predictors"]["logistic_regression"]["operating_point"]
        assert point["transmissions"] < 1.4 and point["effective"]["value"] < 4e-3
        assert one["without_prediction"]["never"]["effective"]["value"] == pytest.approx(test.failed.mean())
        few = one["predictors"]["threshold"]["at"]["0.001"]
        assert few["few"].startswith("too few NACKs") and few["guaranteed"]["note"].startswith(
            "nothing can be promised"
        )
        assert few["guaranteed"]["repeated"]["value"] == 1
    later = [one["predictors"]["logistic_regression"]["auc"]["value"] for one in result["subcodes"].values()]
    assert later[1] > later[0]


def test_rates_are_of_the_test_blocks_and_thresholds_of_the_calibration_blocks(evaluated, sets):
    _, result = evaluated
    fitted = evaluate.predictors_of(str(sets / "trained"))[0]["logistic_regression"]
    calibrate, test = blocks.load(sets / "calibrate"), blocks.load(sets / "test")
    scores = findings.scores_of(fitted, calibrate, test)
    point = result["subcodes"]["900"]["predictors"]["logistic_regression"]["at"]["0.01"]["calibrated"]
    assert point["threshold"] == rates.threshold_at(scores.calibrate, calibrate.failed, calibrate.weight, 0.01)
    nack = scores.test >= point["threshold"]
    assert point["fnr"]["value"] == np.mean(~nack[test.failed]) and point["fpr"]["value"] == np.mean(nack[~test.failed])
    effective = np.mean(test.failed & ~nack) + np.mean(test.combined_failed & nack)
    assert point["effective"]["value"] == pytest.approx(effective) and point["transmissions"] == 1 + nack.mean()


def test_the_report_has_its_parts(evaluated, sets):
    _, result = evaluated
    names = {path.stem for path in (sets / "evaluated" / "plots").glob("*.png")}
    assert names == {
        f"{name}_{bits}" for name in ("roc", "effective", "trajectories", "latency") for bits in (900, 1500)
    }
    tables = {path.stem: files.read_json(path) for path in (sets / "evaluated" / "tables").glob("*.json")}
    assert len(tables) == 12
    latency = result["subcodes"]["900"]["latency"]
    assert list(latency["feedback"])[0] == "regular feedback" and len(latency["feedback"]) == 3
    assert latency["retransmission_after_slots"] == {"early": 3, "regular": 4}
    assert all(math.isfinite(row["late"]["value"]) for loads in latency["feedback"].values() for row in loads.values())


def test_an_operating_point_is_chosen_on_the_calibration_blocks():
    draw = np.random.default_rng(0)

    def rows(failed):
        nothing = np.zeros(len(failed))
        return blocks.Blocks(None, failed, np.zeros(len(failed), bool), nothing.astype(int), nothing + 1, nothing)

    failed = draw.random(40_000) < 0.1
    scores = findings.Scores(*(draw.normal(size=40_000) + 5 * failed for _ in range(2)))
    grid = [rates.threshold_at(scores.calibrate, failed, np.ones(40_000), fnr) for fnr in (1e-3, 1e-2, 1e-1)]
    point = findings.operating_point(scores, rows(failed), rows(failed), grid, 2e-3)
    assert point["threshold"] == grid[1] and (point["chosen_by"], point["verdict"]) == ("interval", findings.REACHED)
    point = findings.operating_point(
        scores, rows(failed), rows(failed), grid, 9.9e-4
    )  # 1e-3 * 0.99 is within an interval
    assert point["threshold"] == grid[0]
    always = rows(failed)._replace(combined_failed=failed)  # combining helps nobody
    point = findings.operating_point(scores, always, always, grid, 1e-3)
    assert (point["threshold"], point["chosen_by"], point["verdict"]) == (grid[2], "floor", findings.NOT_REACHED)


def test_sets_that_do_not_fit_together(evaluated, sets, tmp_path):
    settings, _ = evaluated

    def fails(match, **changes):
        with pytest.raises(ValueError, match=match):
            evaluate.main(dataclasses.replace(settings, **changes), run_directory.open_for_test(tmp_path / "run"))

    fails("sets of blocks of one seed .calibrate 2, test 2", calibrate=str(sets / "test"))
    fails("sets of blocks of one seed .calibrate 0, test 2, training 0", calibrate=str(sets / "train"))
    other = synthetic.blocks(300, 5)
    blocks.save(tmp_path / "other", other, SETTINGS | {"seed": "5", "es_n0_db": "3.0"}, subcodes=(900, 1500))
    fails("calibrate and --test differ in --es_n0_db", calibrate=str(tmp_path / "other"))
    fails("expected the run directory of a finished eharq.train", predictors=str(tmp_path / "other"))
    short = other._replace(features=other.features[:, :, :7])
    blocks.save(tmp_path / "short", short, SETTINGS | {"seed": "6"}, features=blocks.FEATURES[:7], subcodes=(900, 1500))
    fails("has the features raw, .*generate them with --feature_iterations=5", test=str(tmp_path / "short"))
