"""The search for the smallest file that is accurate enough: the coarser a step, the smaller and less accurate its file.

What the searches over steps and rate weights of DC-v1 and DC-v2 (arXiv:1907.11900) and their kin share: a bisection for
the coarsest setting that meets a demand, what counts as meeting it, and the choice among the files tried.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

File = TypeVar("File")

SLACK = 1e-9  # accuracies are ratios of small integers; a rounding error must not decide


def is_enough(accuracy: float, least: float) -> bool:
    """Returns whether an accuracy is at least another, up to rounding."""
    return accuracy >= least - SLACK


def bisect(
    passing: float, failing: float, excess: Callable[[Any], float], rounds: int = 64, near: float = -1.0
) -> float:
    """Returns a place that meets a demand, next to one that does not.

    Args:
      passing: a place that meets it, or is taken for one; it is not tried.
      failing: a place that does not, above or below; it is not tried. Both integers: so is what lies between.
      excess: of a place, by how much it meets the demand; negative: not at all.
      rounds: halvings at most.
      near: an excess from 0 up to it ends the search; negative: none does.
    """
    for _ in range(rounds):
        whole = isinstance(passing, int) and isinstance(failing, int)
        middle = (passing + failing) // 2 if whole else (passing + failing) / 2
        if middle in (passing, failing):
            break
        margin = excess(middle)
        if margin < 0:
            failing = middle
            continue
        passing = middle
        if margin <= near:
            break
    return passing


def coarsest(values: Iterable[float], make: Callable[[float], File], is_met: Callable[[File], bool]) -> list[File]:
    """Returns every file of a bisection for the last of `values` whose file meets a demand, in the order of making.

    Args:
      values: from the finest to the coarsest.
      make: the file of a value.
      is_met: whether a file meets the demand.
    """
    values = list(values)
    made: list[File] = []

    def excess(index: int) -> float:
        made.append(make(float(values[index])))
        return 0.0 if is_met(made[-1]) else -1.0

    bisect(-1, len(values), excess)
    return made


def smallest(
    files: Iterable[File],
    is_met: Callable[[File], bool],
    size: Callable[[File], float],
    accuracy: Callable[[File], float],
) -> File:
    """Returns the smallest of the files that meet a demand, or the most accurate where none does.

    Of equals it is the first. An empty collection is a ValueError.
    """
    files = list(files)
    if not files:
        raise ValueError("no file was tried: there is none to choose")
    fitting = [file for file in files if is_met(file)]
    return min(fitting, key=size) if fitting else max(files, key=accuracy)
