"""What is read off a simulation: its curve by columns, bits by direction and part, the first crossing of a target.

Bits are those of all clients together, as integers; megabytes (10^6 bytes) are those of an average client.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.federated.simulate import Point

DIRECTIONS = ("up", "down")
PARTS = ("payload", "side", "framing")  # of a direction's bits; "reference" is what the published code would count


def megabytes(bits: int, clients: int) -> float:
    """Returns 10^6 bytes of an average client."""
    return bits / 8e6 / clients


def curve_columns(curve: Sequence[Point]) -> dict[str, list]:
    """Returns the points of a curve by their names, without the bits by part."""
    names = ("rounds", "iterations", "loss", "accuracy", "bits_up", "bits_down")
    return {name: [getattr(point, name) for point in curve] for name in names}


def bits_by_part(point: Point) -> dict[str, dict[str, int]]:
    """Returns what all clients have sent and taken, by direction: its parts, their total, and the reference's count."""
    bits = {direction: getattr(point, direction) for direction in DIRECTIONS}
    return {direction: parts._asdict() | {"total": parts.total} for direction, parts in bits.items()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns how a number differs between clients: mean, standard deviation, extremes, and quantiles between them."""
    quantiles = {"lowest": 0.0, "10_percent": 0.1, "median": 0.5, "90_percent": 0.9, "highest": 1.0}
    numbers = np.asarray(values, float)
    moments = {"mean": float(numbers.mean()), "standard_deviation": float(numbers.std())}
    return moments | {name: float(np.quantile(numbers, share)) for name, share in quantiles.items()}


def crossing(curve: Mapping[str, Sequence], target: float, clients: int) -> dict[str, Any] | None:
    """Returns where a curve first has an accuracy of at least the target; None where it never does.

    Accuracy is measured at the points of the curve only: what is returned is late by less than a step between two.
    """
    reached = np.flatnonzero(np.asarray(curve["accuracy"], float) >= target)
    if not len(reached):
        return None
    place = int(reached[0])
    point = {name: curve[name][place] for name in ("rounds", "iterations", "accuracy")}
    return point | {
        f"megabytes_{direction}": megabytes(curve[f"bits_{direction}"][place], clients) for direction in DIRECTIONS
    }
