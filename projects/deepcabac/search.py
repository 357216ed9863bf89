"""The smallest file whose accuracy, on images kept apart, stays within a tolerance: search over step and rate weight.

DC-v1 and DC-v2 of arXiv:1907.11900 try a full grid; here a coarse grid finds the region and halved spacings around the
best candidate the rest. Sizes are cheap and accuracies are not, so that only candidates smaller than the best are
evaluated. Every candidate is kept in a file as soon as it is known: a killed search goes on to the same result.
"""

import dataclasses
import json
import math
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from common import app, weight_files
from kernels import entropy_coding
from projects.deepcabac import quantization
from projects.deepcabac.quantization import Network, Rule

STEP_OCTAVES = {"dc_v1": (-1, 4), "dc_v2": (-4, 1)}  # finest and coarsest step of the grid, around `unit_step`
COARSE = 0.5  # octaves between the steps of the grid
SPACINGS = (
    (0.25, 0.25),
    (0.125, 0.125),
    (0.0625, 0.0625),
)  # of the refinement: octaves of step, decades of rate weight
LEAST_RATE = 0.003  # rate weights below it are tried as 0 only
MOST_FINER = 6  # octaves below the grid, when nothing in it is accurate enough
HOPELESS = 8  # losing so many tolerances, a walk towards coarser steps ends
SMALL_STEPS = (0.0625, 0.125, 0.25, 0.5, 1.0)  # of biases, scales and statistics, in root mean squares
FIRST_SMALL = 0.125
ABOUT_THE_SAME = 0.08  # difference of the logarithms of two sizes
CODER_REVISION = "steps fitted to levels "  # sizes and accuracies of an earlier one are not those of this one
SLACK = 1e-9  # accuracies are ratios of small integers; a rounding error must not decide


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A rule tried: bytes of its file, and how many images kept apart it loses and wins (None: not evaluated)."""

    rule: Rule
    bytes: int
    lost: int | None = None
    won: int | None = None


class Search:
    """Tries rules on one network, each at most once, and remembers them in a file."""

    def __init__(
        self,
        network: Network,
        correct: Callable[[Sequence[Mapping]], np.ndarray],
        cache: pathlib.Path,
        run: app.Run,
        description: str = "search",
        views: int = 1,
        at_once: int = 1,
    ):
        """
        Args:
          network: what to compress.
          correct: bool [trees, images], which images kept apart each of several decoded trees classifies rightly.
          cache: file of known candidates, a JSON object a line; made when missing, begun anew for another network.
          run: for progress.
          description: shown with the progress.
          views: an image comes so many times in `correct`; its answers count as one observation.
          at_once: so many candidates go to `correct` together; more may then be evaluated than would be one by one.
        """
        self.network, self._correct, self._cache, self._run = network, correct, pathlib.Path(cache), run
        self._description, self._views, self._at_once, self._progress = description, views, at_once, None
        self.candidates: dict[Rule, Candidate] = {}
        self._identity = fingerprint(network) + (f" {views} views" if views > 1 else "")
        self._read_cache()
        self._reference = correct([network.tree])[0]
        self.reference_accuracy = float(self._reference.mean())

    def accuracy(self, candidate: Candidate) -> float:
        """Share of the images kept apart that a candidate classifies rightly."""
        right = int(self._reference.sum()) - candidate.lost + candidate.won
        return right / len(self._reference)

    def cautious_loss(self, candidate: Candidate, caution: float) -> float:
        """Accuracy lost, as a share, and `caution` standard errors of that (of the mean of -1, 0, 1 an image; views of
        one image are not taken for independent)."""
        count, net = len(self._reference), candidate.lost - candidate.won
        variance = (candidate.lost + candidate.won) / count - (net / count) ** 2
        return net / count + caution * math.sqrt(variance * self._views / count)

    def smallest(
        self, tolerance: float, caution: float, octaves: tuple[float, float], rate_weights: Sequence[float]
    ) -> Candidate:
        """Returns the smallest file found whose loss, with `caution`, is at most `tolerance`; else the most accurate.

        Args:
          tolerance: share of images, 0.005 for half a point.
          caution: standard errors of the loss that must fit into the tolerance as well. Above 0, luck is discounted
            too: the best of many candidates looks better on these images than on others (see `expected_loss`).
          octaves: log2 of the finest and the coarsest step of the first grid, over `unit_step`.
          rate_weights: of the first grid.

        Raises:
          ValueError: no candidate is that accurate.
        """
        if octaves[0] > octaves[1]:
            raise ValueError(f"--step_octaves={octaves[0]},{octaves[1]}: the finest step comes first")

        def fits(tried: Candidate) -> bool:
            return self.cautious_loss(tried, caution) <= tolerance + SLACK

        with self._run.progress(None, self._description) as self._progress:
            best = self._grid(fits, tolerance, octaves, rate_weights)
            best = self._refine(best, fits)
            best = self._small_steps(best, fits)
            best = self._refine(best, fits)
        self._progress = None
        if caution > 0:
            sound = [item for item in self.evaluated() if self.expected_loss(item, caution) <= tolerance + SLACK]
            best = sound[0] if sound else max(self.evaluated(), key=self.accuracy)
        return best

    def loss_that_counts(self, candidate: Candidate, caution: float) -> float:
        """Returns the loss that a choice with this caution holds against the tolerance."""
        return self.expected_loss(candidate, caution) if caution > 0 else self.cautious_loss(candidate, caution)

    def expected_loss(self, candidate: Candidate, caution: float) -> float:
        """Cautious loss, but from the mean loss of the better half of the candidates of its size where that is more."""
        near = [
            item.lost - item.won
            for item in self.evaluated()
            if abs(math.log(item.bytes / candidate.bytes)) <= ABOUT_THE_SAME
        ]
        better_half = sorted(near)[: (len(near) + 1) // 2]
        excess = sum(better_half) / len(better_half) - (candidate.lost - candidate.won)
        return self.cautious_loss(candidate, caution) + max(excess, 0.0) / len(self._reference)

    def pareto(self) -> list[Candidate]:
        """Returns the candidates that no smaller file matches in accuracy, by size."""
        front: list[Candidate] = []
        for item in sorted(self.evaluated(), key=lambda item: (item.bytes, -self.accuracy(item))):
            if not front or self.accuracy(item) > self.accuracy(front[-1]):
                front.append(item)
        return front

    def evaluated(self) -> list[Candidate]:
        """Returns every candidate with an accuracy, by size."""
        return sorted((item for item in self.candidates.values() if item.lost is not None), key=lambda item: item.bytes)

    def _grid(self, fits, tolerance, octaves, rate_weights) -> Candidate:
        unit, best = unit_step(self.network), None
        count = round((octaves[1] - octaves[0]) / COARSE)
        for rate_weight in rate_weights:
            steps = [rounded(unit * 2 ** (octaves[0] + k * COARSE)) for k in range(count + 1)]
            for tried in self._each([Rule(step, rounded(rate_weight), None, FIRST_SMALL) for step in steps]):
                if fits(tried) and (best is None or tried.bytes < best.bytes):
                    best = tried
                if self.cautious_loss(tried, 0) > HOPELESS * max(tolerance, 0.0025):
                    break
        for k in range(1, MOST_FINER + 1):
            if best is None:  # finer steps than the grid's, of the small tensors too, until one fits
                step = rounded(unit * 2.0 ** (octaves[0] - k))
                (tried,) = self._try([Rule(step, 0.0, None, FIRST_SMALL / 4**k)])
                best = tried if fits(tried) else None
        if best is None:
            most = max(self.evaluated(), key=self.accuracy)
            raise ValueError(
                f"no candidate stays within {tolerance} of the accuracy {self.reference_accuracy:.4f}: the best has "
                f"{self.accuracy(most):.4f} at {most.bytes} bytes; allow more"
            )
        return best

    def _refine(self, best: Candidate, fits) -> Candidate:
        for octave, decade in SPACINGS:
            better = best
            while better is not None:
                best = better
                rates = neighbouring_rates(best.rule.rate_weight, decade)
                steps = [rounded(best.rule.step * 2 ** (octave * k)) for k in (-1, 0, 1)]
                rules = [dataclasses.replace(best.rule, step=s, rate_weight=r) for s in steps for r in rates]
                better = self._first_better(rules, best, fits)
        return best

    def _small_steps(self, best: Candidate, fits) -> Candidate:
        rules = [dataclasses.replace(best.rule, small_relative_step=size) for size in SMALL_STEPS]
        return self._first_better(rules, best, fits) or best

    def _first_better(self, rules: Iterable[Rule], best: Candidate, fits) -> Candidate | None:
        """The smallest file of `rules` that is smaller than `best` and accurate enough."""
        sized = sorted((self._size(rule) for rule in rules), key=lambda item: (item.bytes, item.rule.step))
        smaller = [item.rule for item in sized if item.bytes < best.bytes]
        return next((tried for tried in self._each(smaller) if fits(tried)), None)

    def _each(self, rules: Sequence[Rule]) -> Iterator[Candidate]:
        """Yields the candidates of rules in order, evaluated a few at a time."""
        for start in range(0, len(rules), self._at_once):
            yield from self._try(rules[start : start + self._at_once])

    def _size(self, rule: Rule) -> Candidate:
        if rule not in self.candidates:
            self._remember(Candidate(rule, len(quantization.encode(self.network, rule))))
        return self.candidates[rule]

    def _try(self, rules: Sequence[Rule]) -> list[Candidate]:
        unknown = [rule for rule in rules if rule not in self.candidates or self.candidates[rule].lost is None]
        if unknown:
            files = [quantization.encode(self.network, rule) for rule in unknown]
            verdicts = self._correct(
                [
                    entropy_coding.decompress(data, max_output_bytes=self.network.most_bytes, jobs=self.network.jobs)
                    for data in files
                ]
            )
            for rule, data, correct in zip(unknown, files, verdicts, strict=True):
                lost = int(np.count_nonzero(self._reference & ~correct))
                won = int(np.count_nonzero(correct & ~self._reference))
                self._remember(Candidate(rule, len(data), lost, won))
        found = [self.candidates[rule] for rule in rules]
        if self._progress is not None:
            for known in found:
                self._progress.update(
                    1, bytes=known.bytes, accuracy=round(self.accuracy(known), 4), step=known.rule.step,
                    rate=known.rule.rate_weight,
                )  # fmt: skip
        return found

    def _remember(self, candidate: Candidate) -> Candidate:
        self.candidates[candidate.rule] = candidate
        row = dataclasses.asdict(candidate)
        with self._cache.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return candidate

    def _read_cache(self) -> None:
        lines = self._cache.read_text(encoding="utf-8").split("\n") if self._cache.is_file() else []
        head = _row(lines[0]) if lines else None
        if head is None or head.get("network") != self._identity:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            self._cache.write_text(json.dumps({"network": self._identity}) + "\n", encoding="utf-8")
            return
        # The last piece is empty, or a line that a kill cut short: it goes, so that the next row starts its own.
        self._cache.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
        for row in map(_row, lines[1:-1]):
            if row is not None:
                rule = Rule(**row.pop("rule"))
                self.candidates[rule] = Candidate(rule, **row)


def _row(line: str) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


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
    weights = [array for array in weight_files.flatten(network.tree).values() if quantization.is_weight(array)]
    count = sum(int(np.count_nonzero(array)) for array in weights)
    if not count:
        raise ValueError("the checkpoint has no nonzero weights with two or more axes; there is nothing to search")
    return math.sqrt(sum(float(np.square(array.astype(np.float64)).sum()) for array in weights) / count)


def fingerprint(network: Network) -> str:
    """Returns a check sum of everything in a network that decides the bytes."""
    crc = zlib.crc32(
        f"{CODER_REVISION}{sorted(network.layer_steps.items())} {network.scan}{network.quantizer or ''}".encode()
    )
    for name, array in sorted(
        (weight_files.flatten(network.tree) | {f"F {k}": v for k, v in network.importance.items()}).items()
    ):
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).view(np.uint8), crc)
    return f"{crc:08x}"
