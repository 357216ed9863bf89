"""Rules tried on one network: bytes of their files and what they lose on images kept apart, remembered in a file.

Every candidate is written down as soon as it is evaluated: a killed search goes on to the same result.
"""

import dataclasses
import json
import math
import pathlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from projects.deepcabac import quantization
from projects.deepcabac.network import Network
from projects.deepcabac.quantization import Rule

ABOUT_THE_SAME = 0.08  # difference of the logarithms of two sizes
CODER_REVISION = "steps fitted to levels "  # sizes and accuracies of an earlier one are not those of this one


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A rule tried: bytes of its file, and how many images kept apart it loses and wins (None: not evaluated)."""

    rule: Rule
    bytes: int
    lost: int | None = None
    won: int | None = None


class Candidates:
    """The candidates of one network, each evaluated at most once."""

    def __init__(
        self,
        network: Network,
        correct: Callable[[Sequence[Mapping]], np.ndarray],
        cache: pathlib.Path,
        views: int = 1,
        at_once: int = 1,
    ):
        """
        Args:
          network: what to compress.
          correct: bool [trees, images], which images kept apart each of several decoded trees classifies rightly.
          cache: file of the candidates, a JSON object a line; made when missing, begun anew for another network.
          views: an image comes so many times in `correct`; its answers count as one observation.
          at_once: so many candidates go to `correct` together; more may then be evaluated than would be one by one.
        """
        self.network, self.views, self._correct, self._at_once = network, views, correct, at_once
        self.by_rule: dict[Rule, Candidate] = {}
        self.cache = pathlib.Path(cache)
        self._read_cache(fingerprint(network) + (f" {views} views" if views > 1 else ""))
        self._reference = correct([network.tree])[0]
        self.reference_accuracy, self.images = float(self._reference.mean()), len(self._reference) // views

    def evaluate(self, rules: Sequence[Rule]) -> Iterator[Candidate]:
        """Yields the candidates of rules in order, evaluated a few at a time."""
        for start in range(0, len(rules), self._at_once):
            group = rules[start : start + self._at_once]
            new = [rule for rule in group if rule not in self.by_rule or self.by_rule[rule].lost is None]
            if new:
                files = quantization.encode_many(self.network, new)
                verdicts = self._correct([self.network.decode(data) for data in files])
                for rule, data, correct in zip(new, files, verdicts, strict=True):
                    lost = int(np.count_nonzero(self._reference & ~correct))
                    won = int(np.count_nonzero(correct & ~self._reference))
                    self._remember(Candidate(rule, len(data), lost, won))
            yield from (self.by_rule[rule] for rule in group)

    def sizes(self, rules: Sequence[Rule]) -> list[Candidate]:
        """Returns candidates of which the sizes count alone: they may have no accuracy."""
        at_once = len(rules) if self.network.implementation == "xla" else 1  # else each is remembered when it is there
        new = [rule for rule in dict.fromkeys(rules) if rule not in self.by_rule]
        for start in range(0, len(new), max(at_once, 1)):
            group = new[start : start + at_once]
            for rule, data in zip(group, quantization.encode_many(self.network, group), strict=True):
                self._remember(Candidate(rule, len(data)))
        return [self.by_rule[rule] for rule in rules]

    def evaluated(self) -> list[Candidate]:
        """Returns every candidate with an accuracy, by size."""
        return sorted((item for item in self.by_rule.values() if item.lost is not None), key=lambda item: item.bytes)

    def accuracy(self, candidate: Candidate) -> float:
        """Share of the images kept apart that a candidate classifies rightly."""
        right = int(self._reference.sum()) - candidate.lost + candidate.won
        return right / len(self._reference)

    def cautious_loss(self, candidate: Candidate, caution: float) -> float:
        """Accuracy lost, as a share, and `caution` standard errors of that (of the mean of -1, 0, 1 an image; views of
        one image are not taken for independent)."""
        count, net = len(self._reference), candidate.lost - candidate.won
        variance = (candidate.lost + candidate.won) / count - (net / count) ** 2
        return net / count + caution * math.sqrt(variance * self.views / count)

    def loss_that_counts(self, candidate: Candidate, caution: float) -> float:
        """Returns the loss that a choice with this caution holds against the tolerance."""
        return self.expected_loss(candidate, caution) if caution > 0 else self.cautious_loss(candidate, caution)

    def expected_loss(self, candidate: Candidate, caution: float) -> float:
        """Cautious loss, but from the mean loss of the better half of the candidates of its size where that is more:
        the best of many candidates looks better on these images than on others."""
        losses = [
            item.lost - item.won
            for item in self.evaluated()
            if abs(math.log(item.bytes / candidate.bytes)) <= ABOUT_THE_SAME
        ]
        better_half = sorted(losses)[: (len(losses) + 1) // 2]
        excess = sum(better_half) / len(better_half) - (candidate.lost - candidate.won)
        return self.cautious_loss(candidate, caution) + max(excess, 0.0) / len(self._reference)

    def pareto(self) -> list[Candidate]:
        """Returns the candidates that no smaller file matches in accuracy, by size."""
        front: list[Candidate] = []
        for item in sorted(self.evaluated(), key=lambda item: (item.bytes, -self.accuracy(item))):
            if not front or self.accuracy(item) > self.accuracy(front[-1]):
                front.append(item)
        return front

    def _remember(self, candidate: Candidate) -> None:
        self.by_rule[candidate.rule] = candidate
        with self.cache.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(candidate)) + "\n")

    def _read_cache(self, identity: str) -> None:
        lines = self.cache.read_text(encoding="utf-8").split("\n") if self.cache.is_file() else []
        head = _row(lines[0]) if lines else None
        if head is None or head.get("network") != identity:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            self.cache.write_text(json.dumps({"network": identity}) + "\n", encoding="utf-8")
            return
        # The last piece is empty, or a line that a kill cut short: it goes, so that the next row starts its own.
        self.cache.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
        for row in map(_row, lines[1:-1]):
            if row is not None:
                rule = Rule(**row.pop("rule"))
                self.by_rule[rule] = Candidate(rule, **row)


def _row(line: str) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


def fingerprint(network: Network) -> str:
    """Returns a check sum of everything in a network that decides the bytes."""
    options = f"{sorted(network.layer_steps.items())} {network.scan}{network.quantizer or ''}"
    crc = zlib.crc32(f"{CODER_REVISION}{options}".encode())
    importance = {f"F {name}": values for name, values in network.importance.items()}
    for name, array in sorted((network.flat | importance).items()):
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).view(np.uint8), crc)
    return f"{crc:08x}"
