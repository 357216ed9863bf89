"""The smallest file whose accuracy, on images kept apart, stays within a tolerance: search over step and rate weight.

DC-v1 and DC-v2 of arXiv:1907.11900 try a full grid; here a coarse grid finds the region and halved spacings around the
best candidate the rest. Sizes are cheap and accuracies are not, so that only candidates smaller than the best are
evaluated.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from common import app, step_search
from common.step_search import SLACK
from kernels.entropy_coding.layer_steps import is_weight
from projects.deepcabac.candidates import Candidate, Candidates
from projects.deepcabac.config import CompressConfig
from projects.deepcabac.network import Network
from projects.deepcabac.quantization import Rule

STEP_OCTAVES = {"dc_v1": (-1, 4), "dc_v2": (-4, 1)}  # finest and coarsest step of the grid, around `unit_step`
COARSE = 0.5  # octaves between the steps of the grid
SPACINGS = (0.25, 0.125, 0.0625)  # of the refinement: octaves of the step, decades of the rate weight
LEAST_RATE = 0.003  # rate weights below it are tried as 0 only
MOST_FINER = 6  # octaves below the grid, when nothing in it is accurate enough
HOPELESS = 8  # losing so many tolerances, a walk towards coarser steps ends
SMALL_STEPS = (0.0625, 0.125, 0.25, 0.5, 1.0)  # of biases, scales and statistics, in root mean squares
FIRST_SMALL = 0.125

Fits = Callable[[Candidate], bool]


def smallest(candidates: Candidates, settings: CompressConfig, run: app.Run) -> Candidate:
    """Returns the smallest file whose loss, with `caution`, is at most `tolerance`; else the most accurate.

    Args:
      candidates: of the network; gets those that are tried.
      settings: `tolerance`, a share of images; `caution`, standard errors of the loss that must fit into the tolerance
        as well; `step_octaves` (over `unit_step`) and `rate_weights` of the first grid. With caution, luck is
        discounted too (see `Candidates.expected_loss`).
      run: for progress.

    Raises:
      ValueError: no candidate is that accurate.
    """
    tolerance, caution = settings.tolerance, settings.caution

    def fits(candidate: Candidate) -> bool:
        return candidates.cautious_loss(candidate, caution) <= tolerance + SLACK

    with run.progress(None, f"{settings.search} on {candidates.images} images kept apart") as progress:

        def evaluate(rules: list[Rule]) -> Iterator[Candidate]:
            for candidate in candidates.evaluate(rules):
                accuracy, rule = round(candidates.accuracy(candidate), 4), candidate.rule
                progress.update(1, bytes=candidate.bytes, accuracy=accuracy, step=rule.step, rate=rule.rate_weight)
                yield candidate

        best = _grid(candidates, settings, evaluate, fits)
        best = _refine(candidates, best, evaluate, fits)
        rules = [dataclasses.replace(best.rule, small_relative_step=size) for size in SMALL_STEPS]
        best = _first_better(candidates, rules, best, evaluate, fits) or best
        best = _refine(candidates, best, evaluate, fits)
    if caution > 0:
        return step_search.smallest(
            candidates.evaluated(), lambda item: candidates.expected_loss(item, caution) <= tolerance + SLACK,
            lambda item: item.bytes, candidates.accuracy,
        )  # fmt: skip
    return best


def _grid(candidates: Candidates, settings: CompressConfig, evaluate, fits: Fits) -> Candidate:
    finest, coarsest = settings.step_octaves or STEP_OCTAVES[settings.search]
    unit, best = unit_step(candidates.network), None
    steps = [rounded(unit * 2 ** (finest + k * COARSE)) for k in range(round((coarsest - finest) / COARSE) + 1)]
    for rate_weight in settings.rate_weights:
        for candidate in evaluate([Rule(step, rounded(rate_weight), None, FIRST_SMALL) for step in steps]):
            if fits(candidate) and (best is None or candidate.bytes < best.bytes):
                best = candidate
            if candidates.cautious_loss(candidate, 0) > HOPELESS * max(settings.tolerance, 0.0025):
                break
    for k in range(1, MOST_FINER + 1):
        if best is None:  # finer steps than the grid's, of the small tensors too, until one fits
            (candidate,) = evaluate([Rule(rounded(unit * 2.0 ** (finest - k)), 0.0, None, FIRST_SMALL / 4**k)])
            best = candidate if fits(candidate) else None
    if best is None:
        most = max(candidates.evaluated(), key=candidates.accuracy)
        raise ValueError(
            f"no candidate stays within {settings.tolerance} of the accuracy {candidates.reference_accuracy:.4f}: the "
            f"best has {candidates.accuracy(most):.4f} at {most.bytes} bytes; allow more"
        )
    return best


def _refine(candidates: Candidates, best: Candidate, evaluate, fits: Fits) -> Candidate:
    for spacing in SPACINGS:
        better: Candidate | None = best
        while better is not None:
            best = better
            rates = neighbouring_rates(best.rule.rate_weight, spacing)
            steps = [rounded(best.rule.step * 2 ** (spacing * k)) for k in (-1, 0, 1)]
            rules = [dataclasses.replace(best.rule, step=step, rate_weight=rate) for step in steps for rate in rates]
            better = _first_better(candidates, rules, best, evaluate, fits)
    return best


def _first_better(candidates: Candidates, rules: Iterable[Rule], best: Candidate, evaluate, fits: Fits):
    """The smallest file of `rules` that is smaller than `best` and accurate enough; None where there is none."""
    sizes = sorted(candidates.sizes(list(rules)), key=lambda item: (item.bytes, item.rule.step))
    smaller = [item.rule for item in sizes if item.bytes < best.bytes]
    return next((candidate for candidate in evaluate(smaller) if fits(candidate)), None)


def most_accurate(candidates_by_method: Mapping[str, Candidates], budget: float) -> tuple[str, Candidate]:
    """Returns method and candidate: the most accurate on images kept apart of at most `budget` bytes; of equals the
    largest, whose weights are closest to the original.

    Raises:
      ValueError: no candidate is that small.
    """
    fitting = [
        (candidates.accuracy(candidate), candidate.bytes, method, candidate)
        for method, candidates in candidates_by_method.items()
        for candidate in candidates.evaluated()
        if candidate.bytes <= budget
    ]
    if not fitting:
        raise ValueError(f"no candidate of the search has at most {budget:.0f} bytes")
    return max(fitting, key=lambda item: item[:3])[2:]


def rounded(value: float) -> float:
    """Returns a number of six significant digits, so that a setting can be read and typed again."""
    return float(f"{value:.6g}")


def neighbouring_rates(rate_weight: float, decades: float) -> list[float]:
    """Returns a rate weight, one above and one below."""
    if rate_weight == 0:
        return [0.0, LEAST_RATE]
    below = rounded(rate_weight / 10**decades)
    return [below if below >= LEAST_RATE else 0.0, rate_weight, rounded(rate_weight * 10**decades)]


def unit_step(network: Network) -> float:
    """Returns the step around which the grid lies: 1 with layer steps, else the nonzero weights' root mean square.

    Raises:
      ValueError: there are no nonzero weights.
    """
    if network.layer_steps:
        return 1.0
    weights = [array for array in network.flat.values() if is_weight(array)]
    count = sum(int(np.count_nonzero(array)) for array in weights)
    if not count:
        raise ValueError("the checkpoint has no nonzero weights with two or more axes; there is nothing to search")
    return math.sqrt(sum(float(np.square(array.astype(np.float64)).sum()) for array in weights) / count)
