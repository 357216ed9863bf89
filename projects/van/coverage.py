"""How often error bars hold what they promise, and how often they say that they do not know: many seeds a case.

Cases: networks with effective samples of about 0.9, 0.3 and 0.02, one that lost half of the law, an untrained MADE,
log-normal weights of deviation 3. Of each: one-sigma coverage by the delta method, the jackknife and neural MCMC, of
all seeds and of those that are trusted, and the share that is told to be doubtful or not usable. A status is looked at
as it is without the truth (from weights alone, with the mirror image, with samples of p), then with it.
--publish puts the result into `results/coverage.json`, which README.md shows.
"""

import dataclasses
import warnings
from collections.abc import Sequence

import jax
import numpy as np

from common import app, config, files
from common.runs import provenance
from kernels.autoregressive import Estimates, Evidence, Status, finalise, log_weights, reliability, stream
from kernels.autoregressive.importance import by_formula
from kernels.autoregressive.thermodynamics import SPINS, spin_derived, spin_numbers
from projects.van import coverage_tables, estimates, published, sums
from projects.van.coverage_cases import CASES, Case, Draw

QUANTITIES = ("ln_z", "u", "entropy", "c_v", "abs_m_site")
STAGES = ("weights", "mirror", "samples of p", "exact")  # what a status knows, one after the other
FIRST_SEED = 1000
FEW = 20  # seeds, of which no coverage is stated


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoverageConfig:
    """How many seeds, of how many samples."""

    seeds: int = config.field(400, "of each case", minimum=2)
    samples: int = config.field(10_000, "of each seed", minimum=100)
    cases: tuple[str, ...] = config.field((), "which cases (empty: all)")
    publish: bool = config.field(False, "put the result into results/coverage.json")

    def __post_init__(self):
        if unknown := set(self.cases) - set(CASES):
            raise ValueError(f"--cases={','.join(sorted(unknown))}: expected of {', '.join(CASES)}")


def main(settings: CoverageConfig, run: app.Run) -> dict:
    """Measures every case, each a piece that stays, and returns what goes to `result.json`."""
    rows = {}
    for name in settings.cases or CASES:
        path = run.path / "pieces" / f"{name}_{settings.seeds}_{settings.samples}.json"
        if (row := files.read_json(path)) is None:
            row = files.clean(measured(CASES[name](), settings, run, name))
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(path, row)
        rows[name] = row
        run.log(f"{name}: ESS {row['ess']:.3f}, told {row['told']}")
    run.table("told", *coverage_tables.told(rows), "How much is told")
    for method in coverage_tables.METHODS:
        run.table(method, *coverage_tables.covered(rows, method), f"One-sigma coverage: {method}")
    result = {
        "title": "coverage of error bars", "seeds": settings.seeds, "first_seed": FIRST_SEED,
        "samples": settings.samples, "coverage": rows, "provenance": provenance.stamp(),
    }  # fmt: skip
    result |= {"front_page": coverage_tables.front_page(result)}
    if settings.publish and run.is_main:
        files.write_json(published.RESULTS / "coverage.json", result)
    return result


def measured(case: Case, settings: CoverageConfig, run: app.Run, name: str) -> dict:
    """Returns the row of one case."""
    seeds = range(FIRST_SEED, FIRST_SEED + settings.seeds)
    with run.progress(settings.seeds, name) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # they are counted
        each = []
        for seed in seeds:
            each.append(of_one_seed(case, seed, case.samples or settings.samples))
            progress.update(1)
    told = {stage: float(np.mean([one["levels"][stage] != reliability.TRUSTED for one in each])) for stage in STAGES}
    useless = {
        stage: float(np.mean([one["levels"][stage] == reliability.NOT_USABLE for one in each])) for stage in STAGES
    }
    return {
        "about": case.about, "ess": float(np.median([one["ess"] for one in each])),
        "k_hat": quantiles([one["k_hat"] for one in each]),
        "told": told, "not_usable": useless,
        "silent": sum(one["levels"]["samples of p"] == reliability.TRUSTED for one in each),
        "methods": {method: coverage(each, method) for method in ("delta", "jackknife", "nmcmc")},
    }  # fmt: skip


def quantiles(values: Sequence[float]) -> list[float] | None:
    """Returns the quantiles of 5, 50 and 95 % of those that are numbers; None where there are none."""
    numbers = [value for value in values if not np.isnan(value)]
    return [float(np.quantile(numbers, share)) for share in (0.05, 0.5, 0.95)] if numbers else None


def coverage(each: Sequence[dict], method: str) -> dict[str, dict[str, float | None]]:
    """Returns name to coverage of all seeds and of the trusted ones (None where fewer than 20 are)."""
    shares = {}
    for name in each[0][method]:
        within = np.array([abs(off) < error for off, error, _ in (one[method][name] for one in each)])
        trusted = np.array([level == reliability.TRUSTED for _, _, level in (one[method][name] for one in each)])
        shares[name] = {
            "all": float(within.mean()), "trusted": float(within[trusted].mean()) if trusted.sum() >= FEW else None,
            "told": float(1 - trusted.mean()),
        }  # fmt: skip
    return shares


def of_one_seed(case: Case, seed: int, n: int) -> dict:
    """Returns, of one seed, statuses by what they know, and name to (distance from the truth, error, level) by method.

    Errors are those of the formula, whatever the status says of them; levels those without the truth.
    """
    draw = case.draw(seed, n)
    log_w = log_weights(draw.log_q, draw.energy, case.beta)
    numbers = spin_numbers(draw.energy, draw.magnetisation)
    state = stream.update(stream.init(len(SPINS), numbers.mean(axis=1)), log_w, numbers)
    derived = spin_derived(case.beta, case.sites)
    evidence = Evidence(-float(np.mean(draw.log_q)), 2.0**case.sites)
    levels, judged = {}, None
    for stage in STAGES:
        if stage == "mirror":
            evidence = dataclasses.replace(evidence, mirror=draw.mirror)
        if stage == "samples of p" and case.reverse is not None:
            evidence = dataclasses.replace(evidence, reverse=case.reverse(seed))
        if stage == "exact":
            evidence = dataclasses.replace(evidence, exact=case.truth)
        result = finalise(state, SPINS, derived, evidence)
        levels[stage] = result.status.level
        judged = result if stage == "samples of p" else judged
    plain = by_formula(state, SPINS, derived)
    pairs = {"ln_z": (plain.ln_z, plain.ln_z_err)} | {name: (plain.mean[name], plain.err[name]) for name in derived}
    jack = {name: (plain.jackknife[name], plain.jackknife_err[name]) for name in QUANTITIES}
    return {
        "ess": plain.ess, "k_hat": plain.k_hat, "levels": levels,
        "delta": {name: off(pairs[name], case.truth[name], judged.statuses[name]) for name in QUANTITIES},
        "jackknife": {name: off(jack[name], case.truth[name], judged.statuses[name]) for name in QUANTITIES},
        "nmcmc": of_chain(case, draw, seed, judged),
    }  # fmt: skip


def off(pair: tuple[float, float], truth: float, status: Status) -> tuple[float, float, str]:
    """Returns (distance from the truth, error, level)."""
    return pair[0] - truth, pair[1], status.level


def of_chain(case: Case, draw: Draw, seed: int, judged: Estimates) -> dict[str, tuple[float, float, str]]:
    """Returns the same of U and |M| by neural MCMC on the same samples; an error that it does not state is infinite."""
    numbers = spin_numbers(draw.energy, draw.magnetisation)
    gathered = sums.add(
        sums.empty(numbers.mean(axis=1)), jax.random.key(seed), draw.log_q, draw.energy, draw.magnetisation, case.beta
    )
    chain = sums.chain_means(gathered.chain, len(draw.log_q))
    _, statuses = estimates.statuses_of(judged.status, chain, case.sites, judged)
    values = estimates.chain_values(chain, case.sites)
    return {name: off(values[name], case.truth[name], statuses[name]) for name in ("u", "abs_m_site")}


if __name__ == "__main__":
    app.run(main, CoverageConfig)
