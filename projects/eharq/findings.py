"""What the study shows of one setting (signal-to-noise ratio and subcode): predictors by their rates, and verdicts.

Thresholds come from the calibration blocks, rates and intervals from the test blocks, which no choice has seen.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from projects.eharq import comparison, predictors, rates
from projects.eharq.blocks import FEATURES, Blocks
from projects.eharq.comparison import FEW, LEAST
from projects.eharq.predict_config import EvaluateConfig
from projects.eharq.predictors import Predictor

LEARNED = ("logistic_regression", "random_forest", "isolation_forest", "autoencoder")
GRID = 60  # thresholds of a curve, and from which an operating point is chosen
CURVE = (3e-5, 0.5)  # the FNR of its ends, on the calibration blocks
REACHED, NOT_SHOWN, NOT_REACHED = "reached", "not shown", "not reached"


class Scores(NamedTuple):
    """Scores of one predictor, float64 [blocks] each, of the calibration and of the test blocks."""

    calibrate: np.ndarray
    test: np.ndarray


def scores_of(predictor: Predictor, calibrate: Blocks, test: Blocks) -> Scores:
    """Returns the scores of both sets."""
    return Scores(*(predictors.score(predictor, blocks.features[:, predictor.subcode]) for blocks in (calibrate, test)))


def single_features(subcode: int, inputs: tuple[str, ...]) -> dict[str, Predictor]:
    """Returns a threshold on each of some features, which needs no training."""
    empty = {"location": np.zeros(1), "scale": np.ones(1), "notes": {}}
    signs = {name: 1.0 if name.startswith("unsatisfied") else -1.0 for name in inputs}
    return {
        name: Predictor(
            "threshold", (name,), subcode, arrays={"column": np.array(0), "sign": np.array(sign)}, **empty
        )  # fmt: skip
        for name, sign in signs.items()
    }


def measure(
    fitted: Mapping[str, Predictor], calibrate: Blocks, test: Blocks, subcode: int, settings: EvaluateConfig
) -> tuple[dict[str, Any], dict[str, Scores]]:
    """Returns everything that is shown of one subcode, as JSON has it, and the scores by kind.

    Args:
      fitted: by kind, of this subcode.
      calibrate, test: blocks of other seeds than those of the training, and than each other.
      subcode: which.
      settings: of the evaluation.
    """
    scores = {kind: scores_of(predictor, calibrate, test) for kind, predictor in fitted.items()}
    rows = {kind: _predictor(scores[kind], calibrate, test, settings) for kind in fitted}
    for kind, predictor in fitted.items():
        rows[kind]["title"] = title_of(predictor)
    singles = single_features(subcode, FEATURES)
    features = {name: _feature(scores_of(one, test, test).test, test, settings) for name, one in singles.items()}
    points = {kind: row["operating_point"] for kind, row in rows.items()}
    return {
        "blocks": {name: counts(blocks) for name, blocks in (("calibrate", calibrate), ("test", test))},
        "without_prediction": without_prediction(test),
        "predictors": rows,
        "features": features,
        "comparisons": _comparisons(fitted, scores, test, settings),
        "best": best_of(points),
    }, scores


def title_of(predictor: Predictor) -> str:
    """Returns the predictor in words, a threshold with its feature."""
    title = predictors.TITLES[predictor.kind]
    feature = predictor.notes.get("feature")
    return f"{title} on {feature}" if feature else title


def counts(blocks: Blocks) -> dict[str, Any]:
    """Returns how many blocks there are, how many are lost, and how probable that is."""
    return {
        "blocks": len(blocks.failed),
        "nacks": int(np.count_nonzero(blocks.failed)),
        "bler": rates.share(blocks.failed, blocks.weight)._asdict(),
        "strata": len(np.unique(blocks.stratum)),
        "is_weighted": bool(np.ptp(blocks.weight) > 0),
        "largest_weight": float(blocks.weight.max()),
    }


def without_prediction(test: Blocks) -> dict[str, Any]:
    """Returns P_eff and the share that is sent again without a predictor: by regular feedback, never, and always."""
    nothing, everything = np.zeros(len(test.failed), bool), np.ones(len(test.failed), bool)
    cases = {"regular": test.failed, "never": nothing, "always": everything}
    return {
        name: {
            "effective": rates.share(np.where(nack, test.combined_failed, test.failed), test.weight)._asdict(),
            "repeated": rates.share(nack, test.weight)._asdict(),
        }
        for name, nack in cases.items()
    }


def _predictor(scores: Scores, calibrate: Blocks, test: Blocks, settings: EvaluateConfig) -> dict[str, Any]:
    known, own = (calibrate.failed, calibrate.weight), (test.failed, test.weight)

    def at(threshold: float) -> rates.PointRates:
        return rates.at_threshold(threshold, scores.test, test.failed, test.combined_failed, test.weight)

    points = {}
    for fnr in settings.fnr:
        guarantee = rates.guaranteed_threshold(scores.calibrate, *known, calibrate.stratum, fnr, settings.delta)
        points[f"{fnr:g}"] = {
            "fpr": rates.fpr_at(scores.test, *own, fnr)._asdict(),
            "few": few(scores.test, test, fnr),
            "calibrated": as_row(
                at(rates.threshold_at(scores.calibrate, *known, fnr)), few(scores.calibrate, calibrate, fnr)
            ),
            "guaranteed": as_row(at(guarantee.threshold), _promise(guarantee)),
        }
    grid = [rates.threshold_at(scores.calibrate, *known, fnr) for fnr in np.geomspace(*CURVE, GRID)]
    grid = list(dict.fromkeys(grid))
    return {
        "auc": rates.auc(scores.test, *own)._asdict(),
        "at": points,
        "curve": [as_row(at(threshold)) for threshold in grid],
        "operating_point": operating_point(scores, calibrate, test, grid, settings.target),
    }


def as_row(point: rates.PointRates, note: str | None = None) -> dict[str, Any]:
    """Returns the rates at a threshold as JSON has them, with what is to be said of it."""
    row = {name: getattr(point, name)._asdict() for name in ("fnr", "fpr", "effective", "repeated")}
    return {"threshold": point.threshold, **row, "transmissions": 1 + point.repeated.value, "note": note}


def _promise(guarantee: rates.Guarantee) -> str | None:
    if np.isfinite(guarantee.threshold):
        return None
    return (
        f"nothing can be promised by {guarantee.nacks:,} NACKs ({guarantee.least_nacks:,} are the least): all are "
        "sent again"
    )


def few(scores: np.ndarray, blocks: Blocks, fnr: float) -> str | None:
    """Returns the words for too few lost blocks to speak of an FNR, None where there are enough.

    They are counted below the threshold: those of strata stand for more or fewer than one.
    """
    lost = scores[blocks.failed]
    missed = int(np.count_nonzero(lost < rates.threshold_at(scores, blocks.failed, blocks.weight, fnr)))
    return None if missed >= LEAST else f"{FEW}: {missed} of {len(lost):,} would be missed"


def _feature(scores: np.ndarray, test: Blocks, settings: EvaluateConfig) -> dict[str, Any]:
    """Returns a single feature's area and its FPR at the FNR of comparisons."""
    fpr = rates.fpr_at(scores, test.failed, test.weight, settings.compare_fnr)
    return {"auc": rates.auc(scores, test.failed, test.weight)._asdict(), "fpr": fpr._asdict()}


def operating_point(
    scores: Scores, calibrate: Blocks, test: Blocks, grid: list[float], target: float
) -> dict[str, Any]:
    """Returns the point of fewest transmissions that keeps P_eff, chosen on the calibration blocks.

    First choice is the highest threshold whose whole interval there is at or below the target ("interval"), then the
    highest whose estimate is ("estimate"), then the highest whose estimate is within the interval of the lowest one
    ("floor"): what combined decoding loses, no prediction saves. What is said of it is measured on the test blocks.

    Args:
      scores: of a predictor.
      calibrate, test: the blocks.
      grid: thresholds to choose from; sending every block again is added.
      target: of P_eff.
    """
    grid = sorted({-np.inf, *grid})
    known = [
        rates.share(
            np.where(scores.calibrate >= threshold, calibrate.combined_failed, calibrate.failed), calibrate.weight
        )
        for threshold in grid
    ]
    safe = [place for place, rate in enumerate(known) if rate.high <= target]
    likely = [place for place, rate in enumerate(known) if rate.value <= target]
    floor = min(known, key=lambda rate: rate.value).high
    near = [place for place, rate in enumerate(known) if rate.value <= floor]
    place = (safe or likely or near)[-1]
    point = rates.at_threshold(grid[place], scores.test, test.failed, test.combined_failed, test.weight)
    by = "interval" if safe else "estimate" if likely else "floor"
    effective = point.effective
    verdict = REACHED if effective.high <= target else NOT_REACHED if effective.low > target else NOT_SHOWN
    return as_row(point) | {"target": target, "chosen_by": by, "verdict": verdict, "calibrate": known[place]._asdict()}


def best_of(points: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns which predictor's operating point to take: of the best verdict, the fewest transmissions."""
    order = (REACHED, NOT_SHOWN, NOT_REACHED)
    ranks = {kind: (order.index(point["verdict"]), point["transmissions"]) for kind, point in points.items()}
    first = min(ranks, key=ranks.get)
    return {"predictor": first, "verdict": points[first]["verdict"]}


def _comparisons(fitted, scores, test: Blocks, settings: EvaluateConfig) -> list[dict[str, Any]]:
    """Returns each learned predictor beside the threshold, and the autoencoder beside logistic regression."""
    pairs = [(kind, "threshold", settings.cut) for kind in LEARNED] + [("autoencoder", "logistic_regression", 0.0)]
    rows = []
    for kind, baseline, bar in pairs:
        if kind not in fitted or baseline not in fitted:
            continue
        result = comparison.cut(
            scores[kind].test, scores[baseline].test, test.failed, test.weight, settings.compare_fnr,
            resamples=settings.resamples, seed=settings.seed,
        )  # fmt: skip
        rows.append({
            "predictor": kind, "baseline": baseline, "title": title_of(fitted[kind]),
            "baseline_title": title_of(fitted[baseline]), "bar": bar, **result._asdict(),
            "verdict": comparison.verdict(result, bar), "is_better": comparison.verdict(result, 0.0, strict=True),
            "is_as_good_within_interval": result.high >= 0,
        })  # fmt: skip
    return rows
