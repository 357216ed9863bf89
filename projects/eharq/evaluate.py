"""Rates, effective error rates and latency of fitted predictors: `--predictors`, `--calibrate` and `--test` in.

Thresholds come from the calibration blocks, rates with their intervals from the test blocks; the three sets of blocks
are of three seeds. Latency is that of blocks on a slotted link, see `latency`.
"""

import pathlib

import numpy as np

from common import app, config
from common.study import parts
from projects.eharq import blocks, findings, latency, pictures, predictors, rates, tables
from projects.eharq.blocks import Blocks
from projects.eharq.findings import Scores
from projects.eharq.predict_config import KINDS, EvaluateConfig, QueueConfig, TrainConfig
from projects.eharq.predictors import Predictor
from projects.eharq.train import opened, path_of

OWN_FLAGS = ("seed", "blocks", "batch", "batches", "strata", "strata_shares")  # in which sets of one link may differ
REGULAR = "regular feedback"


def main(settings: EvaluateConfig, run: app.Run) -> dict:
    """Evaluates every subcode and returns what goes to `result.json`."""
    about = {"calibrate": opened(settings.calibrate, "calibrate"), "test": opened(settings.test, "test")}
    fitted = predictors_of(settings.predictors)
    trained = config.read_flagfile(pathlib.Path(settings.predictors) / "flags.txt", TrainConfig)
    doubts = check_sets(about, trained.get("data"), fitted)
    run.inputs(
        *(path_of(settings.predictors, subcode, kind) for subcode, kinds in fitted.items() for kind in kinds),
        blocks.manifest_path(settings.calibrate), blocks.manifest_path(settings.test),
    )  # fmt: skip
    calibrate, test = blocks.load(settings.calibrate), blocks.load(settings.test)
    sent = int(about["test"]["settings"].get("sent", max(about["test"]["subcodes"])))
    result: dict = {}
    with run.progress(len(about["test"]["subcodes"]), "subcodes") as progress:
        for subcode, bits in enumerate(about["test"]["subcodes"]):

            def evaluate(subcode=subcode, bits=bits):
                return subcode_of(settings, run, fitted[subcode], calibrate, test, subcode, bits, sent)

            result[str(bits)] = parts.part(run, f"subcode_{bits}", evaluate)
            doubts += doubts_of(bits, result[str(bits)], settings)
            progress.update(1)
    status = {"status": {"level": "doubtful", "reasons": doubts}} if doubts else {}
    return {"settings": about["test"]["settings"], "sent": sent, "subcodes": result, **status}


def subcode_of(
    settings: EvaluateConfig, run: app.Run, fitted: dict[str, Predictor], calibrate: Blocks, test: Blocks,
    subcode: int, bits: int, sent: int,
) -> dict:  # fmt: skip
    """Returns the findings of one subcode of so many bits, with its latency; leaves its pictures and tables."""
    result, scores = findings.measure(fitted, calibrate, test, subcode, settings)
    if settings.latency:
        kinds = shown_in_latency(result)
        result["latency"], latencies = latency_of(settings, result, scores, test, kinds, bits / sent)
        caption = f"Blocks that have not arrived after a time, early feedback after {bits} of {sent} bits."
        pictures.draw_latency(run, f"latency_{bits}", latencies, settings.deadline_ms, caption)
    draw(run, settings, result, scores, test, subcode, bits)
    write_tables(run, settings, bits, result)
    return result


def predictors_of(folder: str) -> dict[int, dict[str, Predictor]]:
    """Returns subcode -> kind -> predictor of a finished training.

    Raises:
      ValueError: it is not one.
    """
    paths = sorted((pathlib.Path(folder) / "checkpoints").glob("subcode*_*.npz"))
    if not paths or not (pathlib.Path(folder) / "result.json").is_file():
        raise ValueError(f"--predictors={folder}: expected the run directory of a finished eharq.train")
    fitted: dict[int, dict[str, Predictor]] = {}
    for predictor in map(predictors.load, paths):
        fitted.setdefault(predictor.subcode, {})[predictor.kind] = predictor
    return {subcode: {kind: each[kind] for kind in KINDS if kind in each} for subcode, each in fitted.items()}


def check_sets(about: dict[str, dict], trained_on: str | None, fitted: dict[int, dict]) -> list[str]:
    """Returns what is to be said of sets of blocks that do not fit together as they should.

    Raises:
      ValueError: two sets are of one seed, the two here are of different links, or subcodes are missing.
    """
    sets = dict(about)
    if trained_on is not None and blocks.manifest_path(trained_on).is_file():
        sets["training"] = blocks.describe(trained_on)
    seeds = {name: one["settings"].get("seed") for name, one in sets.items()}
    known = [seed for seed in seeds.values() if seed is not None]
    if len(set(known)) < len(known):
        texts = ", ".join(f"{name} {seed}" for name, seed in seeds.items())
        raise ValueError(f"sets of blocks of one seed ({texts}): rates need blocks of another; generate them apart")
    links = {
        name: {flag: value for flag, value in one["settings"].items() if flag not in OWN_FLAGS}
        for name, one in sets.items()
    }
    differing = {
        name: [flag for flag in link if link[flag] != links["test"].get(flag)] for name, link in links.items()
    }  # fmt: skip
    if differing["calibrate"] or about["calibrate"]["subcodes"] != about["test"]["subcodes"]:
        flags = ", ".join(f"--{flag}" for flag in differing["calibrate"]) or "their subcodes"
        raise ValueError(f"--calibrate and --test differ in {flags}: thresholds have to come from the same link")
    if missing := set(range(len(about["test"]["subcodes"]))) - set(fitted):
        raise ValueError(f"--predictors has none for subcode {min(missing)} of the test set; train them on such blocks")
    flags = ", ".join(f"--{flag}" for flag in differing.get("training", ()))
    return [f"the predictors were trained on another link: {flags}"] if flags else []


def shown_in_latency(result: dict) -> list[str]:
    """Returns the threshold and, of the others, the one with the best operating point."""
    points = {kind: row["operating_point"] for kind, row in result["predictors"].items()}
    learned = {kind: point for kind, point in points.items() if kind != "threshold"}
    kinds = ["threshold"] if "threshold" in points else []
    return kinds + ([findings.best_of(learned)["predictor"]] if learned else [])


def latency_of(
    settings: QueueConfig, result: dict, scores: dict[str, Scores], test: Blocks, kinds: list[str], share: float
) -> tuple[dict, dict[str, dict[float, np.ndarray]]]:
    """Returns the latency of regular feedback and of early feedback at operating points, and latencies in ms.

    Args:
      settings: of the evaluation.
      result: of the subcode.
      scores: of its predictors.
      test: whose outcomes are drawn.
      kinds: of predictors that are shown.
      share: the subcode's part of a slot.
    """
    feedback, latencies = {}, {}
    for kind in (None, *kinds):
        title = REGULAR if kind is None else f"early, {result['predictors'][kind]['title']}"
        nack = test.failed
        if kind is not None:
            nack = scores[kind].test >= result["predictors"][kind]["operating_point"]["threshold"]
        outcomes = latency.Outcomes(nack, test.failed, test.combined_failed)
        feedback[title], latencies[title] = {}, {}
        for load in settings.loads:
            generator = np.random.default_rng([settings.seed, round(1e6 * load)])  # the same blocks for all
            drawn = latency.draw(outcomes, test.weight, settings.queue_blocks, generator)
            passage = latency.simulate(settings, load, drawn, None if kind is None else share, settings.seed)
            feedback[title][f"{load:g}"] = latency.measure(settings, load, passage)
            latencies[title][load] = latency.milliseconds(settings, passage)
    delays = {"early": latency.feedback_delay(settings, share), "regular": latency.feedback_delay(settings, None)}
    return {"retransmission_after_slots": delays, "feedback": feedback}, latencies


def draw(
    run: app.Run, settings: EvaluateConfig, result: dict, scores: dict[str, Scores], test: Blocks, subcode: int,
    bits: int,
) -> None:  # fmt: skip
    """Leaves the pictures of one subcode."""
    lines = {kind: rates.roc(one.test, test.failed, test.weight) for kind, one in scores.items()}
    titles = {kind: row["title"] for kind, row in result["predictors"].items()}
    first = f"After {bits} bits, on {len(test.failed):,} test blocks"
    pictures.draw_roc(run, f"roc_{bits}", lines, titles, f"{first}; dotted: fewer than 10 missed blocks.")
    caption = f"{first}: bands are 95 % intervals, dots the operating points. Thresholds are of the calibration blocks."
    pictures.draw_effective(run, f"effective_{bits}", result, settings.target, caption)
    caption = f"{first}: medians, and bands of 80 % and 98 % of the blocks, weighted as they are probable."
    pictures.draw_trajectories(run, f"trajectories_{bits}", test, subcode, caption)


def write_tables(run: app.Run, settings: EvaluateConfig, bits: int, result: dict) -> None:
    """Leaves the tables of one subcode."""
    run.table(
        f"{bits}_1_comparisons", *tables.comparison_table(result), f"{bits} bits: predictors beside each other",
        "bootstrap over blocks, paired, with both thresholds set anew",
    )  # fmt: skip
    run.table(
        f"{bits}_2_operating", *tables.operating_table(result), f"{bits} bits: operating points",
        "chosen on the calibration blocks by the upper end of the interval of P_eff, else by its estimate, else within "
        "the interval of the lowest (floor); rates are of the test blocks",
    )  # fmt: skip
    run.table(
        f"{bits}_3_rates", *tables.rate_table(result), f"{bits} bits: false positive rates",
        "both rates on the test blocks; intervals know that the threshold is estimated",
    )  # fmt: skip
    run.table(
        f"{bits}_4_points", *tables.point_table(result), f"{bits} bits: thresholds of the calibration blocks",
        f"guaranteed: with {100 * (1 - settings.delta):g} % over calibration sets the FNR is at most that",
    )  # fmt: skip
    title = f"{bits} bits: a threshold on one feature, at FNR {settings.compare_fnr:g}"
    run.table(f"{bits}_5_features", *tables.feature_table(result), title)
    if "latency" in result:
        title = f"{bits} bits: blocks later than {settings.deadline_ms:g} ms or lost"
        note = "intervals allow for blocks that are late together"
        run.table(f"{bits}_6_latency", *tables.latency_table(result["latency"]), title, note)


def doubts_of(bits: int, result: dict, settings: EvaluateConfig) -> list[str]:
    """Returns why numbers of a subcode cannot be trusted, or what was asked for and not reached."""
    reasons = []
    if any(row["verdict"] == findings.FEW for row in result["comparisons"]):
        nacks = result["blocks"]["test"]["nacks"]
        reasons.append(
            f"{bits} bits: {nacks:,} lost test blocks are too few to compare at FNR {settings.compare_fnr:g}"
        )
    if (verdict := result["best"]["verdict"]) != findings.REACHED:
        reasons.append(f"{bits} bits: P_eff of {settings.target:g} is {verdict}")
    return reasons


if __name__ == "__main__":
    app.run(main, EvaluateConfig)
