"""What a study shows: numbers by environment and method, differences over the same seeds, and claims beside their bars.

A difference is paired: the simulations of a seed have the same split and the same first weights. A claim holds where
the whole 95 % interval over seeds is at or above its bar, is missed where it is wholly below, and is open between.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.study import statistics
from common.study.pieces import Gathered, Piece
from projects.stc import measures
from projects.stc.arms import IID, LEAD, NON_IID, Environment, Study
from projects.stc.config import iterations_of
from projects.stc.simulate import doubts

SGD, AVG, LONG_AVG = "fed_sgd", "fed_avg100", "fed_avg400"
HOLDS, MISSED, OPEN = "holds", "missed", "open"
LEARNT = 0.2  # accuracy of FedSGD, twice that of guessing, below which being near it says nothing


def measure(study: Study, pieces: Mapping[tuple[str, str], Piece], gathered: Gathered) -> dict[str, Any]:
    """Returns the published form of a study, of what there is of it."""
    environments = {}
    for place in study.environments:
        results = {
            arm: gathered[pieces[place.name, arm]].result for arm in place.arms if pieces[place.name, arm] in gathered
        }
        if results:
            environments[place.name] = _environment(study, place, results)
    return {
        "title": study.title,
        "iterations": iterations_of(study.settings),
        "every": study.settings.every,
        "target": study.settings.target,
        "near": study.near,
        "environments": environments,
        "claims": [claim for name in environments for claim in _claims(study, environments[name])],
        "missing": [piece.key for piece in pieces.values() if piece not in gathered],
    }


def _environment(study: Study, place: Environment, results: Mapping[str, Mapping]) -> dict[str, Any]:
    """Returns one environment: a row a method, what STC is ahead of each, and what was not as asked."""
    accuracies = {
        arm: {seed: one["accuracy"] for seed, one in result["seeds"].items()} for arm, result in results.items()
    }
    rows, ahead = {}, {}
    for arm, result in results.items():
        names = ("local_steps", "rounds", "parameters", "clients", "accuracy", "megabytes", "crossing")
        first = next(iter(result["seeds"].values()))
        rows[arm] = {
            "title": result["method"],
            **{name: result[name] for name in names},
            "bits": first["bits"],
            "bits_over_reference": result["bits_over_reference"],
        }
        common = [seed for seed in accuracies.get(LEAD, {}) if seed in accuracies[arm]]
        if arm != LEAD and common:
            differences = [accuracies[LEAD][seed] - accuracies[arm][seed] for seed in common]
            ahead[arm] = statistics.over_seeds(differences)._asdict()
    notes = dict.fromkeys(
        f"seed {seed}: {line}" for seed, one in next(iter(results.values()))["seeds"].items() for line in doubts(one)
    )
    return {
        "title": place.title,
        "claim": place.claim,
        "changes": dict(place.changes),
        "rows": rows,
        "ahead": ahead,
        "order": _difference(accuracies, AVG, LONG_AVG),
        "notes": list(notes),
    }


def _difference(accuracies: Mapping[str, Mapping], first: str, second: str) -> dict | None:
    """Returns how far one method is ahead of another, over seeds that both have."""
    common = [seed for seed in accuracies.get(first, {}) if seed in accuracies.get(second, {})]
    if not common:
        return None
    return statistics.over_seeds([accuracies[first][seed] - accuracies[second][seed] for seed in common])._asdict()


def _claims(study: Study, place: Mapping) -> list[dict[str, str]]:
    """Returns the claims that an environment can speak to, each with what was measured and its verdict."""
    ahead, rows, claims = place["ahead"], place["rows"], []

    def add(claim: str, source: str, difference: Mapping | None, bar: float, strict: bool = False) -> None:
        if difference is not None:
            measured, where = points(difference), place["title"]
            verdict = verdict_of(difference, bar, strict=strict)
            if SGD in rows and (mean := rows[SGD]["accuracy"]["mean"]) < LEARNT:
                verdict, measured = OPEN, f"{measured}, but FedSGD itself is at {100 * mean:.1f} %: too few iterations"
            claims.append({"claim": claim, "of": source, "where": where, "measured": measured, "verdict": verdict})

    name = rows[LEAD]["title"] if LEAD in rows else LEAD
    if SGD in ahead and place["claim"]:
        bar = f"{name} is at most {100 * study.near:g} points below FedSGD at equal iterations"
        add(bar, "our bar", ahead[SGD], -study.near)
    if AVG in ahead and place["claim"] not in ("", IID):
        add(f"{name} beats {rows[AVG]['title']}: {place['claim']}", "the paper", ahead[AVG], 0.0, strict=True)
    if study.ahead is not None and AVG in ahead and place["claim"] == NON_IID:
        bar = f"{name} is at least {100 * study.ahead:g} points above {rows[AVG]['title']}"
        add(bar, "our bar", ahead[AVG], study.ahead)
        if place["order"] is not None:
            order = f"{rows[AVG]['title']} is above {rows[LONG_AVG]['title']}"
            add(order, "our bar", place["order"], 0.0, strict=True)
    if place["claim"] == IID:
        claims += _pareto(place)
    return claims


def _pareto(place: Mapping) -> list[dict[str, str]]:
    """Returns whether some STC needs fewer iterations and fewer bits to the target than each FedAvg, by their means."""
    names = ("iterations", "megabytes_up", "megabytes_down")
    costs = {
        arm: [row["crossing"][name]["mean"] for name in names] if "iterations" in row["crossing"] else None
        for arm, row in place["rows"].items()
    }
    ours = {arm: cost for arm, cost in costs.items() if arm.startswith("stc") and cost is not None}
    claims = []
    for arm in (arm for arm in costs if arm.startswith("fed_avg")):
        row, theirs = place["rows"][arm], costs[arm]
        if theirs is None:
            verdict, text = (HOLDS if ours else OPEN), f"{row['title']} does not reach it in every seed"
        else:
            better = {other: np.less_equal(cost, theirs) for other, cost in ours.items()}
            winners = [place["rows"][other]["title"] for other, less in better.items() if less.all()]
            verdict = HOLDS if winners else MISSED
            text = f"{', '.join(winners)} in all three" if winners else _losses(place["rows"], better)
        claims.append({
            "claim": f"some STC needs fewer iterations, fewer bits up and fewer down to the target than {row['title']}",
            "of": "the paper", "where": place["title"], "measured": text, "verdict": verdict,
        })  # fmt: skip
    return claims


def _losses(rows: Mapping, better: Mapping[str, np.ndarray]) -> str:
    """Returns in words where each STC is not better."""
    words = ("iterations", "bits up", "bits down")
    texts = []
    for arm, less in better.items():
        worse = [word for word, is_less in zip(words, less, strict=True) if not is_less]
        texts.append(f"{rows[arm]['title']} needs more {' and '.join(worse)}")
    return "; ".join(texts) or "no STC reaches it in every seed"


def verdict_of(difference: Mapping, bar: float, *, strict: bool = False) -> str:
    """Returns whether an interval over seeds is at or above a bar; a single seed speaks for itself."""
    low = difference["mean"] if difference["low"] is None else difference["low"]
    high = difference["mean"] if difference["high"] is None else difference["high"]
    if low > bar or (low == bar and not strict):
        return HOLDS
    return MISSED if high < bar or (high == bar and strict) else OPEN


def points(difference: Mapping) -> str:
    """Returns "+12.3 points (11.0 to 13.6)"; of one seed without an interval, and so said."""
    text = f"{100 * difference['mean']:+.1f} points"
    if difference["low"] is None:
        return f"{text} (one seed)"
    return f"{text} ({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f})"


def megabytes_of(row: Mapping, direction: str) -> dict[str, float]:
    """Returns the first seed's bits in megabytes of an average client: parts, total, and the reference's count."""
    bits = row["bits"][direction]
    return {name: measures.megabytes(bits[name], row["clients"]) for name in (*measures.PARTS, "total", "reference")}
