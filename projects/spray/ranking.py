"""Which class is decided by an artifact? How separable its clusters are, beside chance and beside the other classes.

Two questions, two numbers. Against a null without clusters: do the maps of this class cluster at all? Those of nearly
every class do, an artifact or not, since a digit is written in several ways. Against the other classes: are they more
separable than those? It asks whether ln J = ln(tau / (1 - tau)) of a class lies beyond what the classes below it
predict, by Student's t for a new observation, times their number (Bonferroni). The most separable quarter of the
classes is asked so one after another, so that two artifacts do not hide each other (the generalised extreme
studentised deviate, Rosner 1983); CALIBRATION keeps the rate of false alarms of any class at 5 % or less, simulated for
5 to 100 normal classes. It takes for granted that three quarters of the classes have no artifact and that ln J is about
normal among them; with fewer than five classes it does not answer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEAST_CLASSES = 5
LEVEL = 0.05
SHARE = 4  # one class in so many may have an artifact
CALIBRATION = 1.4  # on p where more than one class may: several are asked


class Beside(NamedTuple):
    """A class beside the others.

    Attributes:
      t: how far ln J lies above the mean of the classes below it, in standard errors of a prediction.
      p: the probability of that much or more for any of the classes, where none has an artifact; NaN for few classes,
        1 for those below the most separable quarter. No class has a larger p than one below it.
      limit: the tau above which a cluster is as suspicious, at 5 %.
    """

    t: float
    p: float
    limit: float


def log_j(tau: float) -> float:
    """Returns ln(tau / (1 - tau)), -inf to inf."""
    return math.log(tau) - math.log1p(-tau) if 0 < tau < 1 else math.copysign(math.inf, tau - 0.5)


def beside_others(taus: Sequence[float]) -> list[Beside]:
    """Returns every class beside the others.

    Args:
      taus: the highest separability of each class; NaN where there is none, which takes part in nothing.
    """
    values = np.array([log_j(tau) if np.isfinite(tau) else np.nan for tau in taus])
    usable = np.flatnonzero(np.isfinite(values))
    answers = [Beside(math.nan, math.nan, math.nan)] * len(values)
    count = len(usable)
    if count < LEAST_CLASSES:
        return answers
    order = usable[np.argsort(-values[usable], kind="stable")]
    candidates = max(1, count // SHARE)
    least = 1.0
    for place in reversed(range(count)):
        number, others = (
            order[place],
            values[order[place + 1 :]] if place < candidates else values[order[order != order[place]]],
        )
        if not others.std() > 0:
            continue
        scale = others.std(ddof=1) * math.sqrt(1 + 1 / len(others))
        factor = (len(others) + 1) * (CALIBRATION if candidates > 1 else 1.0)
        t = float((values[number] - others.mean()) / scale)
        if place < candidates:
            least = min(least, factor * float(stats.t.sf(t, len(others) - 1)))
        bound = others.mean() + scale * stats.t.isf(LEVEL / factor, len(others) - 1)
        answers[number] = Beside(t, least if place < candidates else 1.0, 1 / (1 + math.exp(-bound)))
    return answers


def suspicious(labels: dict[int, np.ndarray], separability: dict[int, np.ndarray], limit: float) -> np.ndarray:
    """Returns which maps of a class are in a cluster beyond the limit, of any number of clusters, bool `[n]`."""
    count = len(next(iter(labels.values()))) if labels else 0
    flagged = np.zeros(count, bool)
    for k, row in separability.items():
        for cluster in np.flatnonzero(np.asarray(row) > limit):  # NaN is not
            members = labels[k] == cluster
            flagged |= members if members.mean() <= 0.5 else ~members  # the smaller side is the unusual one
    return flagged
