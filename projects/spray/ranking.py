"""Which class is decided by an artifact? How separable its clusters are, beside chance and beside the other classes.

Two questions, two numbers. Against a null without clusters: do the maps of this class cluster at all? Those of
nearly every class do, an artifact or not, since a digit is written in several ways. Against the other classes: are they
more separable than those? It asks whether ln J = ln(tau / (1 - tau)) of a class lies beyond what the others predict, by
Student's t for a new observation, times the number of classes (Bonferroni). It takes for granted that most classes have
no artifact and that ln J is about normal among them; with fewer than five classes it does not answer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEAST_CLASSES = 5
LEVEL = 0.05


class Beside(NamedTuple):
    """A class beside the others.

    Attributes:
      t: how far ln J lies above the others' mean, in standard errors of a prediction.
      p: the probability of that much or more for any of the classes, where none has an artifact; NaN for few classes.
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
    usable = np.isfinite(values)
    answers = []
    for number, value in enumerate(values):
        others = np.delete(values, number)[np.delete(usable, number)]
        if not usable[number] or len(others) + 1 < LEAST_CLASSES or not others.std() > 0:
            answers.append(Beside(math.nan, math.nan, math.nan))
            continue
        scale = others.std(ddof=1) * math.sqrt(1 + 1 / len(others))
        t, classes = (value - others.mean()) / scale, len(others) + 1
        p = min(1.0, classes * float(stats.t.sf(t, len(others) - 1)))
        bound = others.mean() + scale * stats.t.isf(LEVEL / classes, len(others) - 1)
        answers.append(Beside(float(t), p, 1 / (1 + math.exp(-bound))))
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
