"""What a compression found, as numbers for `result.json` and as tables and pictures for the report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from common import app, weight_files
from kernels import entropy_coding
from projects.deepcabac import evaluation, quantization
from projects.deepcabac.quantization import Network, Rule
from projects.deepcabac.search import SLACK, Candidate, Search

if TYPE_CHECKING:
    from projects.deepcabac.compress import CompressConfig


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a compression found.

    Attributes:
      data: the file.
      rule: how it was quantised; None where everything is lossless.
      decoded: the tree that the file decodes to.
      search: the search behind it, if any.
    """

    data: bytes
    rule: Rule | None
    decoded: dict
    search: Search | None = None


def describe(
    config: CompressConfig, original: dict, network: Network, outcome: Outcome, judge: evaluation.Evaluator | None
) -> dict:
    """Returns sizes, quality and accuracy of an outcome for `result.json`."""
    arrays = weight_files.flatten(original)
    before = sum(array.nbytes for array in arrays.values())
    snr = quantization.weight_snr(network.tree, outcome.decoded)
    result = {
        "bytes": len(outcome.data),
        "original_bytes": before,
        "percent_of_original": 100 * len(outcome.data) / before if before else None,
        "weight_snr_db": snr if math.isfinite(snr) else str(snr),
        "rule": dataclasses.asdict(outcome.rule) if outcome.rule else "lossless",
    }
    result |= worst_tensor(arrays, weight_files.flatten(outcome.decoded))
    if judge is None and "zeroed" in result:  # accuracies would tell
        reason = f"nothing but zeros is left of {len(result['zeroed'])} tensors, see zeroed; no accuracy was measured"
        result["status"] = {"level": "doubtful", "reasons": [reason]}
    if outcome.rule is not None:
        reasons = quantization.unquantised(network, quantization.rule_steps(network, outcome.rule))
        if reasons:
            result["stored_exactly"] = reasons
    if judge is not None:
        known, found = judge.correct(original, "test"), judge.correct(outcome.decoded, "test")
        low, high = evaluation.paired_interval(known, found)
        result |= {
            "dataset": judge.data.name,
            "test_images": len(known),
            "test_accuracy_before": float(known.mean()),
            "test_accuracy": float(found.mean()),
            "test_difference_95_percent": [low, high],
        }
    if outcome.search is not None:
        chosen = outcome.search.candidates[outcome.rule]
        result |= {
            "validation_accuracy_before": outcome.search.reference_accuracy,
            "validation_accuracy": outcome.search.accuracy(chosen),
            "tolerance": config.tolerance,
            "caution": config.caution,
            "candidates_evaluated": len(outcome.search.evaluated()),
        }
        loss = outcome.search.loss_that_counts(chosen, config.caution)
        if loss > config.tolerance + SLACK:
            result["unmet"] = [f"--tolerance={config.tolerance}: the most accurate candidate may lose {loss:.4f}"]
    return result


def worst_tensor(before: Mapping, after: Mapping) -> dict:
    """Returns the weights of the lowest signal-to-noise ratio, and the tensors of which nothing is left but zeros.

    The ratio of all weights together is that of the largest: it may be high where a layer of small weights is gone.
    """
    ratios, zeroed = {}, []
    for name, array in before.items():
        if name in after and quantization.is_float(array) and array.any():
            if not after[name].any():
                zeroed.append(name)
            if quantization.is_weight(array):
                ratios[name] = quantization.weight_snr({name: array}, {name: after[name]})
    result: dict = {"zeroed": zeroed} if zeroed else {}
    if ratios and math.isfinite(lowest := min(ratios.values())):
        result["lowest_snr_db"] = {"tensor": min(ratios, key=ratios.__getitem__), "db": lowest}
    return result


def draw(config: CompressConfig, run: app.Run, original: dict, network: Network, outcome: Outcome) -> None:
    """Writes tables and pictures of an outcome for the report."""
    from projects.deepcabac import baselines, plots  # matplotlib takes a second to import

    options = {"max_output_bytes": network.most_bytes, "jobs": network.jobs}
    summary = entropy_coding.inspect(outcome.data, **options)
    run.table(
        "tensors",
        ["tensor", "shape", "coding", "step", "zeros in %", "bits a weight", "bytes"],
        [
            [t.name, "x".join(map(str, t.shape)), t.coding, t.step, 100 * t.sparsity, t.bits_per_weight, t.stored_bytes]
            for t in summary.tensors
        ],
        "Tensors of the file",
        f"{summary.total_bytes} bytes, of which {summary.header_bytes} are header. Small tensors share a stream.",
    )
    plots.draw_bits(run, summary)
    plots.draw_predictions(run, entropy_coding.decompress(outcome.data, quantized=True, **options), summary)
    plots.draw_histograms(run, network.tree, outcome.decoded)
    if network.quantizer != "trellis":  # its integers only make sense to a coder that knows its states
        table = baselines.measure(outcome.data, **options)
        run.table("baselines", *table.report())
        plots.draw_baselines(run, table)
    if outcome.search is not None:
        search = outcome.search
        run.table(
            "pareto",
            ["bytes", "validation accuracy", "step", "rate weight", "small relative step"],
            [
                [c.bytes, search.accuracy(c), c.rule.step, c.rule.rate_weight, c.rule.small_relative_step]
                for c in search.pareto()
            ],
            "Candidates that no smaller file matches",
        )
        original_bytes = sum(array.nbytes for array in weight_files.flatten(original).values())
        chosen = search.candidates[outcome.rule]
        caption = f"{len(search.evaluated())} candidates; chosen: {choice(config, search, chosen)}."
        plots.draw_rate_accuracy(run, search, chosen, original_bytes, caption)


def choice(config: CompressConfig, search: Search, chosen: Candidate) -> str:
    """Returns what the chosen candidate is, in words: what it was held against, and whether it met that."""
    if search.loss_that_counts(chosen, config.caution) > config.tolerance + SLACK:
        return f"the most accurate one; none stays within the tolerance of {100 * config.tolerance:g} points"
    within = f"within the tolerance of {100 * config.tolerance:g} points"
    if config.caution == 0:
        return f"the smallest file {within}"
    return f"the smallest file whose loss, with {config.caution:g} standard errors and without its luck, stays {within}"
