"""How much of a study's work each piece is, as far as one can tell before it runs: for a progress bar that is honest.

A finished piece took the seconds that stand in its record. A missing one is expected to take what finished pieces of
the same verb took: by cost, where pieces say theirs, else the median.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.study.pieces import Piece

UNIT = 1000  # of the whole work


def shares(pieces: Sequence["Piece"], seconds: Mapping["Piece", float]) -> list[int]:
    """Returns the share of each piece in the work of all, in thousandths that add up to 1,000.

    Args:
      pieces: of the study, each with a `cost`, relative to others of its verb, or None.
      seconds: what finished ones took.
    """
    verbs = {verb: _expected(verb, pieces, seconds) for verb in {piece.verb for piece in pieces}}
    estimates = [time for times in verbs.values() for time in times.values() if time is not None]
    usual = statistics.median(estimates) if estimates else 1.0
    times = [verbs[piece.verb][piece] for piece in pieces]
    weights = [usual if time is None else max(time, 1e-9) for time in times]
    ends, total = [0.0], sum(weights)
    for weight in weights:
        ends.append(ends[-1] + weight)
    marks = [round(UNIT * end / total) for end in ends]
    return [after - before for before, after in zip(marks, marks[1:], strict=False)]


def _expected(verb: str, pieces: Sequence["Piece"], seconds: Mapping["Piece", float]) -> dict["Piece", float | None]:
    """Returns the seconds of all pieces of a verb; of costs alone where none has finished; None where nothing tells."""
    own = [piece for piece in pieces if piece.verb == verb]
    finished = [piece for piece in own if piece in seconds]
    rates = [seconds[piece] / piece.cost for piece in finished if piece.cost]
    if not finished:
        costs = [piece.cost for piece in own if piece.cost]
        mean = sum(costs) / len(costs) if costs else 1.0
        return {piece: None if not costs else (piece.cost or mean) / mean for piece in own}
    rate, usual = statistics.median(rates or [0.0]), statistics.median(seconds[piece] for piece in finished)
    return {piece: seconds.get(piece, rate * piece.cost if rates and piece.cost else usual) for piece in own}
