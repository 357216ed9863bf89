"""Verdicts on results, {"level": ..., "reasons": [...]} as the report shows them: of many together, and in tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.publishing.numbers import UNKNOWN
from common.publishing.report_parts import STATUSES

LEVELS = tuple(STATUSES)  # the best first


def count(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Returns how many results have which level: "9 trusted, 2 doubtful"; of one its level."""
    levels = [verdict["level"] for verdict in verdicts]
    if len(levels) == 1:
        return levels[0]
    return ", ".join(f"{levels.count(level)} {level}" for level in LEVELS if level in levels)


def worst(verdicts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the worst of the verdicts at several places, each reason with its place, and under "points" how many have
    which level."""
    points = {LEVELS[0]: 0}
    for verdict in verdicts.values():
        points[verdict["level"]] = points.get(verdict["level"], 0) + 1
    level = max((level for level in points if points[level]), key=LEVELS.index, default=LEVELS[0])
    reasons = [f"{place}: {reason}" for place, verdict in verdicts.items() for reason in verdict["reasons"]]
    return {"level": level, "reasons": reasons, "points": points}


def marked(value: Any, level: str | None) -> Any:
    """Returns a cell of a report's table in the colour of a level, a dash for what is not known."""
    value = UNKNOWN if value is None else value
    return value if level is None else {"value": value, "status": level}
