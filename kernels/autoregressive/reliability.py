"""Whether a number with an error bar is to be trusted: one status for estimates from weights, from chains, from both.

Samples of q say nothing of what q misses, and weights without variance are not a result without error: a network that
collapsed on one state has both. What is looked at, in this order of weight:

- an exact value, or an estimate from samples of p, beside the estimate: how many of their errors lie between them;
- how many states the samples cover: where they are few, lost ones and such that do not exist look the same;
- the shape k of the tail of the weights, against min(1 - 1/log10 n, 0.7) (A. Vehtari et al., JMLR 25 (72), 2024): above
  it no affordable n makes the stated error true; above 1, and with few effective samples, none gives the mean;
- effective samples in absolute number, n ESS: below 100 an error bar is itself hardly known (one of 100 samples of a
  normal law has it to 7 %); and the share of the heaviest sample;
- for chains: their length in integrated times (emcee's rule, 50 of its times, which are twice ours: of series of 100
  steps with rho(t) = 0.9^t, where the time is 9.5, it rejects 399 of 400, of 2,000 steps 4), moves at all, and whether
  halves and chains agree.

Each finding makes an estimate doubtful or not usable; of one that is not usable all errors are infinite.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from . import pareto

TRUSTED, DOUBTFUL, NOT_USABLE = LEVELS = ("trusted", "doubtful", "not usable")

LARGEST_SHARE = 0.1  # of all weight in one sample
FEW_EFFECTIVE, TOO_FEW_EFFECTIVE = 100, 10  # samples
FEW_STATES = 32
SIGMAS, MANY_SIGMAS = 4.0, 8.0  # from what is known otherwise: by chance once in 16,000, never
MANY_MORE = 1000
NO_MEAN = 1.0  # shape of a tail
HEAVY = 20.0  # mean weights, below which the heaviest sample ends no tail that matters, whatever its shape
ROUNDING = 5e-7  # relative: four units of float32, in which log-probabilities are computed
SEES_A_HALF = math.log(2) / SIGMAS  # error of an estimate that would show one lost half of a symmetric law


class Status(NamedTuple):
    """What is known of a number beside its error bar.

    Attributes:
      level: "trusted", "doubtful" or "not usable".
      reasons: a sentence for each finding that speaks against it; empty where it is trusted.
      unchecked: what could not be looked at, such as "samples of p".
    """

    level: str = TRUSTED
    reasons: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.level}: {'; '.join(self.reasons)}" if self.reasons else self.level


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known beside the weights, for the status of an estimate; None for what is not.

    Attributes:
      entropy: -mean ln q over the samples, nats: of how many states q makes use.
      states: how many states there are in all.
      exact: name ("ln_z", or of any estimate) to its true value.
      reverse: from samples of p (`reverse_ln_z`): anything with ln_z, error and status.
      mirror: (difference, error): by how much ln Z rises when q is averaged with its image under a symmetry of the
        energy. It is 0 unless q misses a part.
    """

    entropy: float | None = None
    states: float | None = None
    exact: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reverse: Any = None
    mirror: tuple[float, float] | None = None


class Weights(NamedTuple):
    """What a set of weights says of itself. Attributes: n; positive: those above 0; effective: n ESS; share of the
    heaviest; k_hat; constant: whether all are equal; distinct: a function that counts the states seen for certain."""

    n: int
    positive: int
    effective: float
    share: float
    k_hat: float
    constant: bool
    distinct: Callable[[], int]


def of_weights(weights: Weights, values: Mapping[str, tuple[float, float]], evidence: Evidence | None = None) -> Status:
    """Returns the status of estimates from importance weights.

    Args:
      weights: what they say of themselves.
      values: name to (estimate, error by formula), "ln_z" among them.
      evidence: what is known beside them.
    """
    evidence = evidence or Evidence()
    if not weights.positive:
        return Status(NOT_USABLE, (f"all {weights.n} weights are zero",))
    # Of n samples none may lie where q has less than 1/n: ln Z is not known better, whatever the formula says.
    ln_z, error = values["ln_z"]
    values = {**values, "ln_z": (ln_z, math.hypot(error, 1 / weights.n))}
    findings = [*_of_tail(weights), *_of_comparisons(values, evidence)]
    if not _agrees(*values["ln_z"], evidence) and covers_few_states(weights, evidence):
        findings.append(_few_states(weights, evidence))
    unchecked = []
    if "ln_z" not in evidence.exact:
        unchecked.append("exact value")
    if evidence.reverse is None:
        unchecked.append("samples of p")
    elif evidence.reverse.status.level == NOT_USABLE:
        unchecked.append("samples of p (what they say is not usable)")
    if pareto.tail_length(weights.n) < pareto.SHORTEST_TAIL:
        unchecked.append("k-hat")
    return _of_findings(findings, unchecked)


def of_inverse_weights(n: int, effective: float, share: float, k_hat: float, constant: bool) -> Status:
    """Returns the status of ln Z from n samples of p; the arguments are those of `Weights`, of 1 / w.

    Their mean is 1 / Z and exists wherever q is, so that a heavy tail alone leaves them doubtful.
    """
    findings = _of_tail(Weights(n, n, effective, share, k_hat, constant, int), "inverse weights")
    if constant:
        findings.append((NOT_USABLE, "all inverse weights are equal: the error is not known"))
    return _of_findings(findings)


def light_tail(n: int, k_hat: float, share: float) -> str:
    """Returns why a k-hat of n weights that is too large leaves their status as it is; nothing where it does not.

    Args:
      n, k_hat: of the weights; share: of the heaviest.
    """
    if not (k_hat > pareto.largest_shape(n) and n * share <= HEAVY):
        return ""
    return f"large, but the heaviest sample has {n * share:.2g} mean weights, too few for a tail to matter"


def _of_tail(weights: Weights, name: str = "weights") -> list[tuple[str, str]]:
    findings = []
    largest = pareto.largest_shape(weights.n)
    if weights.k_hat > largest and not light_tail(weights.n, weights.k_hat, weights.share):
        # Of a law of few states the fit is rough: without a mean, and without samples that would have met it.
        hopeless = weights.k_hat > NO_MEAN and weights.effective < FEW_EFFECTIVE and name == "weights"
        level = NOT_USABLE if hopeless else DOUBTFUL
        end = "no number of samples in reach gives their mean" if level == NOT_USABLE else "their error seems too small"
        findings.append((level, f"k-hat {weights.k_hat:.2f} of the {name}, above {largest:.2f}: {end}"))
    if weights.effective < FEW_EFFECTIVE:
        level = NOT_USABLE if weights.effective < TOO_FEW_EFFECTIVE else DOUBTFUL
        findings.append((level, f"{weights.effective:.3g} effective samples, fewer than {FEW_EFFECTIVE}"))
    if weights.share > LARGEST_SHARE:
        findings.append(
            (DOUBTFUL, f"one of {weights.n} samples holds {weights.share:.0%} of all {name.removesuffix('s')}")
        )
    return findings


def _of_comparisons(values: Mapping[str, tuple[float, float]], evidence: Evidence) -> list[tuple[str, str]]:
    ln_z, error = values["ln_z"]
    findings = _of_exact(values, evidence.exact)
    if evidence.reverse is not None and evidence.reverse.status.level != NOT_USABLE:
        gap = sigmas(ln_z, math.hypot(error, evidence.reverse.error), evidence.reverse.ln_z)
        sure = evidence.reverse.status.level == TRUSTED
        text = f"ln Z is {_count(gap)} errors off what samples of p say ({evidence.reverse.ln_z:.4f})"
        findings += _off(gap, text, sure)
    if evidence.mirror is not None:
        difference, spread = evidence.mirror
        text = f"averaged with its mirror image the network gives an ln Z higher by {difference:.3g}: it lost a part"
        findings += _off(max(sigmas(difference, spread, 0.0, scale=abs(ln_z)), 0.0), text)
    return findings


def _of_exact(values: Mapping[str, tuple[float, float]], exact: Mapping[str, float]) -> list[tuple[str, str]]:
    # Where a number is the same in all samples its error is not known, and nothing to measure a distance in.
    measured = {name: values[name] for name in exact if name in values and 0 < values[name][1] < math.inf}
    far = {name: sigmas(*pair, exact[name]) for name, pair in measured.items()}
    if not far:
        return []
    name = max(far, key=lambda name: abs(far[name]))
    label = "ln Z" if name == "ln_z" else name
    return _off(far[name], f"{label} is {_count(far[name])} of its errors off the exact value")


def against_exact(values: Mapping[str, tuple[float, float]], exact: Mapping[str, float]) -> Status:
    """Returns what exact values say of estimates by any method; the one that is farthest off speaks for all.

    Args:
      values: name to (estimate, error); of errors that are 0 or infinite nothing is said.
      exact: name to true value, of those that have one.
    """
    return _of_findings(_of_exact(values, exact))


def against_better(value: tuple[float, float], better: tuple[float, float], name: str, source: str) -> Status:
    """Returns what an estimate (value, error) that sees more says of another one.

    Args:
      value, better: (estimate, error) each; where an error is 0 or infinite nothing is said.
      name, source: what they are of, and where the better one comes from, for the reason.
    """
    if not (0 < value[1] < math.inf and 0 < better[1] < math.inf):
        return Status()
    gap = sigmas(value[0], math.hypot(value[1], better[1]), better[0])
    return _of_findings(_off(gap, f"{name} is {_count(gap)} errors off what {source} says ({better[0]:.4f})"))


def _count(far: float) -> str:
    return f"{abs(far):.3g}" if abs(far) < MANY_MORE else f"more than {MANY_MORE:,}"


def _off(far: float, text: str, sure: bool = True) -> list[tuple[str, str]]:
    if not abs(far) > SIGMAS:
        return []
    return [(NOT_USABLE if sure and abs(far) > MANY_SIGMAS else DOUBTFUL, text)]


def _agrees(ln_z: float, error: float, evidence: Evidence) -> bool:
    """Whether something that would show a lost part of the law shows none."""
    if "ln_z" in evidence.exact:
        return abs(sigmas(ln_z, error, evidence.exact["ln_z"])) <= SIGMAS and error < SEES_A_HALF
    reverse = evidence.reverse
    if reverse is None or reverse.status.level != TRUSTED:
        return False
    both = math.hypot(error, reverse.error)
    return abs(sigmas(ln_z, both, reverse.ln_z)) <= SIGMAS and both < SEES_A_HALF


def covers_few_states(weights: Weights, evidence: Evidence) -> bool:
    """Whether the samples cover so few states that weights cannot tell lost ones from such that do not exist."""
    enough = min(FEW_STATES, evidence.states or FEW_STATES, weights.n / 2)
    few = weights.constant if evidence.entropy is None else evidence.entropy < math.log(enough)
    return few and weights.distinct() < enough


def _few_states(weights: Weights, evidence: Evidence) -> tuple[str, str]:
    if evidence.entropy is None:
        text = "all weights are equal, and nothing tells whether the samples cover more than one state (give log_q)"
    else:
        count = math.exp(min(evidence.entropy, 50))
        text = f"the samples cover about {count:.2g} state{'' if count < 1.05 else 's'}: weights cannot see lost ones"
    return NOT_USABLE if weights.constant else DOUBTFUL, text


def sigmas(value: float, error: float, truth: float, scale: float | None = None) -> float:
    """Returns (value - truth) in units of the error, which is no less than the rounding of float32 here."""
    least = ROUNDING * max(abs(truth) if scale is None else scale, 1.0)
    return (value - truth) / math.hypot(error, least)


def _of_findings(findings: Sequence[tuple[str, str]], unchecked: Sequence[str] = ()) -> Status:
    """Returns the status with the worst level, worst reasons first."""
    findings = sorted(findings, key=lambda finding: -LEVELS.index(finding[0]))
    level = findings[0][0] if findings else TRUSTED
    return Status(level, tuple(text for _, text in findings), tuple(unchecked))


def worst(*statuses: Status) -> Status:
    """Returns the worst level with the reasons of all, each once, those of the worst first."""
    ordered = sorted(statuses, key=lambda status: -LEVELS.index(status.level))
    reasons = dict.fromkeys(reason for status in ordered for reason in status.reasons)
    unchecked = dict.fromkeys(name for status in ordered for name in status.unchecked)
    return Status(ordered[0].level if ordered else TRUSTED, tuple(reasons), tuple(unchecked))


def warn(status: Status, advice: str, stacklevel: int = 3) -> None:
    """Gives a UserWarning where a status is not "trusted"; the numbers carry it anyway."""
    if status.level != TRUSTED:
        warnings.warn(f"{status}; {advice}", stacklevel=stacklevel)
