"""The findings of one subcode as rows of a table: rates with intervals, comparisons with verdicts, latencies."""

from collections.abc import Mapping
from typing import Any

from common.publishing.numbers import UNKNOWN

Table = tuple[list[str], list[list]]


def share_text(rate: Mapping[str, Any]) -> str:
    """Returns "3.36 % (2.99 to 3.90)", "9.7e-04 (5.0e-04 to 1.7e-03)" below a thousandth, of no event its one-sided
    95 % bound."""
    if not rate["blocks"]:
        return UNKNOWN
    if not rate["events"]:
        return f"0 of {rate['blocks']:,}: below {rate['bound']:.1e}"
    ends = [rate["value"], rate["low"], rate["high"]]
    if rate["value"] >= 1e-3:
        value, low, high = (f"{100 * end:.3g}" for end in ends)
        return f"{value} % ({low} to {high})"
    value, low, high = (f"{end:.1e}" for end in ends)
    return f"{value} ({low} to {high})"


def rate_table(result: Mapping[str, Any]) -> Table:
    """Returns a row a predictor: area, and FPR at each FNR on the test blocks, with the threshold's own uncertainty."""
    rows, fnrs = [], []
    for row in result["predictors"].values():
        fnrs = list(row["at"])
        area = row["auc"]
        cells = [point["few"] or share_text(point["fpr"]) for point in row["at"].values()]
        rows.append([row["title"], f"{area['value']:.5f} ({area['low']:.5f} to {area['high']:.5f})", *cells])
    return ["predictor", "AUC", *(f"FPR at FNR {float(fnr):g}" for fnr in fnrs)], rows


def feature_table(result: Mapping[str, Any]) -> Table:
    """Returns a row a feature: what a threshold on it alone would do."""
    rows = [
        [name, f"{row['auc']['value']:.5f}", share_text(row["fpr"])] for name, row in result["features"].items()
    ]  # fmt: skip
    return ["feature", "AUC", "FPR"], rows


def point_table(result: Mapping[str, Any]) -> Table:
    """Returns a row a predictor and FNR: thresholds of the calibration blocks, rates of the test blocks."""
    columns = ["predictor", "threshold", "FNR", "FPR", "P_eff", "mean transmissions", "remark"]
    rows = []
    for row in result["predictors"].values():
        for fnr, point in row["at"].items():
            for name, words in (("calibrated", "FNR {} on calibration"), ("guaranteed", "FNR {} guaranteed")):
                one = point[name]
                cells = [share_text(one[rate]) for rate in ("fnr", "fpr", "effective")]
                rows.append(
                    [row["title"], words.format(f"{float(fnr):g}"), *cells, transmissions_text(one), one["note"] or ""]
                )
    return columns, rows


def operating_table(result: Mapping[str, Any]) -> Table:
    """Returns a row a predictor at its operating point, and feedback without prediction."""
    columns = ["predictor", "P_eff", "mean transmissions", "FNR", "FPR", "target", "chosen by"]
    rows = []
    for row in result["predictors"].values():
        point = row["operating_point"]
        rates = [share_text(point[name]) for name in ("fnr", "fpr")]
        cells = [share_text(point["effective"]), transmissions_text(point), *rates]
        rows.append([row["title"], *cells, f"{point['target']:g}: {point['verdict']}", point["chosen_by"]])
    for name, words in (("regular", "regular feedback"), ("always", "always sent again"), ("never", "never again")):
        point = result["without_prediction"][name]
        rows.append([words, share_text(point["effective"]), transmissions_text(point), *[UNKNOWN] * 4])
    return columns, rows


def transmissions_text(point: Mapping[str, Any]) -> str:
    """Returns "1.163 (1.162 to 1.164)"."""
    value, low, high = (f"{1 + point['repeated'][end]:.4f}" for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def comparison_table(result: Mapping[str, Any]) -> Table:
    """Returns a row a pair: what of the FPR is saved at the same FNR, and whether that is what was hoped for."""
    columns = ["predictor", "beside", "FNR", "FPR", "its FPR", "less FPR", "verdict"]
    rows = []
    for row in result["comparisons"]:
        value, low, high = (f"{100 * row[end]:.1f}" for end in ("value", "low", "high"))
        if row["bar"]:
            hope = f"at least {100 * row['bar']:g} % less: {row['verdict']}; any less: {row['is_better']}"
        else:
            hope = f"as good within the interval: {'yes' if row['is_as_good_within_interval'] else 'no'}"
        pair = [row["title"], row["baseline_title"], f"{row['fnr']:g}"]
        rows.append([*pair, f"{row['fpr']:.3g}", f"{row['baseline_fpr']:.3g}", f"{value} % ({low} to {high})", hope])
    return columns, rows


def latency_table(latency: Mapping[str, Any]) -> Table:
    """Returns a row a load and feedback."""
    columns = ["load", "feedback", "utilisation", "median, ms", "99 %, ms", "late or lost", "lost"]
    rows = []
    for name, loads in latency["feedback"].items():
        for load, row in loads.items():
            late = row["late"]
            text = f"{late['value']:.2e} ({late['low']:.2e} to {late['high']:.2e})"
            busy = f"{row['utilisation']:.3f}" if row["is_stable"] else "overloaded"
            quantiles = [f"{float(row['quantiles_ms'][level]):.3f}" for level in ("0.5", "0.99")]
            rows.append([float(load), name, busy, *quantiles, text, f"{row['lost']:.1e}"])
    return columns, sorted(rows, key=lambda row: row[0])
