"""What came of a compression: numbers for `result.json`, warnings, and tables and pictures for the report."""

import dataclasses
import math
from collections.abc import Mapping

from common import app, weight_files
from common.models import training_state, zoo
from common.step_search import SLACK
from common.study import other_coders, statistics
from kernels import entropy_coding
from kernels.entropy_coding import layer_steps
from kernels.entropy_coding.layer_steps import is_float, is_weight
from projects.deepcabac import quantization
from projects.deepcabac.candidates import Candidate, Candidates
from projects.deepcabac.config import CompressConfig
from projects.deepcabac.network import Network
from projects.deepcabac.quantization import Rule


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a compression.

    Attributes:
      original: the network's tensors as they came.
      network: what was compressed of them.
      rule: how it was quantised; None where everything is lossless.
      data: the file.
      decoded: the tree that the file decodes to.
      candidates: of the search behind it, if there was one.
    """

    original: dict
    network: Network
    rule: Rule | None
    data: bytes
    decoded: dict
    candidates: Candidates | None = None


def describe(settings: CompressConfig, outcome: Outcome, judge: zoo.Network | None) -> dict:
    """Returns sizes, quality and accuracy of an outcome for `result.json`."""
    network, rule = outcome.network, outcome.rule
    exact = {name: array for name, array in network.flat.items() if name in network.exact}
    tensors = weight_files.flatten(outcome.original) | exact
    original_bytes = sum(array.nbytes for array in tensors.values())
    decoded = weight_files.flatten(outcome.decoded)
    snr = layer_steps.weight_snr(network.flat, decoded)
    result = {
        "bytes": len(outcome.data),
        "original_bytes": original_bytes,
        "percent_of_original": 100 * len(outcome.data) / original_bytes if original_bytes else None,
        "weight_snr_db": snr if math.isfinite(snr) else str(snr),
        "rule": dataclasses.asdict(rule) if rule else "lossless",
    }
    result |= worst_tensor(network.flat, decoded)  # folded statistics are zero by design
    if judge is None and "zeroed" in result:  # accuracies would tell
        reason = f"nothing but zeros is left of {len(result['zeroed'])} tensors, see zeroed; no accuracy was measured"
        result["status"] = {"level": "doubtful", "reasons": [reason]}
    if rule is not None and (reasons := quantization.unquantized(network, quantization.rule_steps(network, rule))):
        result["stored_exactly"] = reasons
    if network.exact:
        result["training_state"] = {"tensors": len(network.exact), "is": settings.training_state}
    if judge is not None:
        result |= test_accuracy(outcome, judge)
    if outcome.candidates is not None:
        result |= validation_accuracy(settings, outcome.candidates, rule)
    return result


def test_accuracy(outcome: Outcome, judge: zoo.Network) -> dict:
    """Returns what the test images say of the network before and after."""
    after_tree = training_state.without(outcome.decoded, outcome.network.exact)
    before, after = (judge.correct(tree, judge.test) for tree in (outcome.original, after_tree))
    return {
        "dataset": judge.data.name,
        "test_images": len(before),
        "test_accuracy_before": float(before.mean()),
        "test_accuracy": float(after.mean()),
        "test_difference_95_percent": list(statistics.accuracy_difference(before, after)),
    }


def validation_accuracy(settings: CompressConfig, candidates: Candidates, rule: Rule) -> dict:
    """Returns what the images kept apart say of the candidate that a search ended with."""
    best = candidates.by_rule[rule]
    result = {
        "validation_accuracy_before": candidates.reference_accuracy,
        "validation_accuracy": candidates.accuracy(best),
        "tolerance": settings.tolerance,
        "caution": settings.caution,
        "candidates_evaluated": len(candidates.evaluated()),
    }
    if (loss := candidates.loss_that_counts(best, settings.caution)) > settings.tolerance + SLACK:
        result["unmet"] = [f"--tolerance={settings.tolerance}: the most accurate candidate may lose {loss:.4f}"]
    return result


def worst_tensor(before: Mapping, after: Mapping) -> dict:
    """Returns the weights of the lowest signal-to-noise ratio, and the tensors of which nothing is left but zeros.

    The ratio of all weights together is that of the largest: it may be high where a layer of small weights is gone.
    """
    ratios, zeroed = {}, []
    for name, array in before.items():
        if name in after and is_float(array) and array.any():
            if not after[name].any():
                zeroed.append(name)
            if is_weight(array):
                ratios[name] = layer_steps.weight_snr({name: array}, {name: after[name]})
    result: dict = {"zeroed": zeroed} if zeroed else {}
    if ratios and math.isfinite(lowest := min(ratios.values())):
        result["lowest_snr_db"] = {"tensor": min(ratios, key=ratios.__getitem__), "db": lowest}
    return result


def warn(result: Mapping, run: app.Run) -> None:
    """Prints what a result says of tensors that are lost, or stored in another way than the flags ask for."""
    if zeroed := result.get("zeroed"):
        names = ", ".join(zeroed[:4]) + (f" and {len(zeroed) - 4} more" if len(zeroed) > 4 else "")
        run.log(f"warning: nothing but zeros is left of {names}: their values lie far below the step")
    for name, reason in result.get("stored_exactly", {}).items():
        run.log(f"{name} is stored to the bit: {reason}")


def draw(settings: CompressConfig, outcome: Outcome, run: app.Run) -> None:
    """Leaves tables and pictures of an outcome for the report."""
    from projects.deepcabac import inspect, plots  # matplotlib takes a second to import

    network, candidates = outcome.network, outcome.candidates
    summary = entropy_coding.inspect(outcome.data, **network.limits)
    run.table(
        "tensors", inspect.COLUMNS, inspect.tensor_rows(summary), "Tensors of the file", inspect.total_line(summary)
    )
    columns = ["tensor", "values", "bits in the file", "rate_exact", "rate_static"]
    note = "Tensors with a stream of their own; its header, 9 bytes and 3 bits a preset, is not predicted."
    if predictions := rate_predictions(outcome, summary):
        run.table("predictions", columns, predictions, "Predicted and true bits", note)
    plots.draw_bits(run, summary)
    plots.draw_weights(run, network.flat, weight_files.flatten(outcome.decoded))
    if network.quantizer != "trellis":  # its integers only make sense to a coder that knows its states
        coders = other_coders.measure(outcome.data, **network.limits)
        run.table("baselines", *coders.report())
        plots.draw_coders(run, coders)
    if candidates is not None:
        columns = ["bytes", "validation accuracy", "step", "rate weight", "small relative step"]
        rows = [
            [c.bytes, candidates.accuracy(c), c.rule.step, c.rule.rate_weight, c.rule.small_relative_step]
            for c in candidates.pareto()
        ]
        run.table("pareto", columns, rows, "Candidates that no smaller file matches")
        original_bytes = sum(array.nbytes for array in weight_files.flatten(outcome.original).values())
        best = candidates.by_rule[outcome.rule]
        caption = f"{len(candidates.evaluated())} candidates; chosen: {choice(settings, candidates, best)}."
        plots.draw_rate_accuracy(run, candidates, best, original_bytes, caption)


def choice(settings: CompressConfig, candidates: Candidates, best: Candidate) -> str:
    """Returns what the best candidate is, in words: what it was held against, and whether it met that."""
    tolerance, caution = f"the tolerance of {100 * settings.tolerance:g} points", settings.caution
    if candidates.loss_that_counts(best, caution) > settings.tolerance + SLACK:
        return f"the most accurate one; none stays within {tolerance}"
    if caution == 0:
        return f"the smallest file within {tolerance}"
    return (
        f"the smallest file whose loss, with {caution:g} standard errors and without its luck, stays within {tolerance}"
    )


def rate_predictions(outcome: Outcome, summary: entropy_coding.Summary) -> list[list]:
    """Returns name, values, bits in the file, `rate_exact` and `rate_static` of each tensor with a stream of its own.

    The static estimate knows nothing of trellis states and rows that are skipped: None for these.
    """
    tree = entropy_coding.decompress(outcome.data, quantized=True, **outcome.network.limits)
    leaves, rows = quantization.flatten_quantized(tree), []
    for tensor in summary.tensors:
        leaf, coder = leaves[tensor.name], tensor.coder
        if coder is not None and isinstance(leaf, entropy_coding.Quantized):
            levels = leaf.q if tensor.axes is None else leaf.q.transpose(tensor.axes)
            exact = entropy_coding.rate_exact(levels, presets=True, **coder)
            is_plain = not (coder["dq"] or coder["profile"] or coder["scan"])
            static = float(entropy_coding.rate_static(levels)) if is_plain else None
            rows.append([tensor.name, tensor.size, 8 * tensor.stored_bytes, exact, static])
    return rows
