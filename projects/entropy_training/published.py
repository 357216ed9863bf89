"""Published results: a JSON file and pictures a network in `results/`, and the tables that README.md shows of them."""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from common import files
from common.publishing import markdown, origin

ROOM = pathlib.Path(__file__).parent
RESULTS = ROOM / "results"
TITLES = {
    "lenet_300_100": "LeNet-300-100",
    "lenet5": "LeNet5",
    "lenet_300_100_fashion": "LeNet-300-100, Fashion-MNIST",
    "lenet5_fashion": "LeNet5, Fashion-MNIST",
    "small_vgg16": "Small-VGG16",
}
METHODS = {
    "ect": "ECT (reconstructed)",
    "ste": "straight-through",
    "magnitude": "magnitude pruning, retrained, DC-v2",
    "lloyd": "weighted Lloyd (ECSQ), not retrained",
    "uniform": "uniform (DC-v2), not retrained",
    "dense": "dense network, floating point",
}
PICTURES = {
    "": "Size and accuracy over alpha, and the baselines",
    "_training": "Error and size during the training of the first seed",
    "_centroids": "Weights at each centroid",
    "_bits": "Predicted over true bits of each layer",
}
STEP_COST = "step_cost"  # written by the verb of that name
COUNTS = {
    "entropy": "entropy of the labels (a)",
    "huffman": "Huffman (b)",
    "cabac": "CABAC streams (c)",
    "csr": "nonzeros with gaps (d)",
    "file": "whole file, biases coded too",
}


def load(folder: pathlib.Path = RESULTS) -> dict[str, dict]:
    """Returns name -> result of every file there, in the order of the tables."""
    found = {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}
    found = {name: result for name, result in found.items() if isinstance(result, Mapping) and "points" in result}
    order = [*TITLES, *sorted(set(found) - set(TITLES))]
    return {name: found[name] for name in order if name in found}


def write(name: str, result: Mapping[str, Any], pictures: Mapping[str, pathlib.Path], folder=RESULTS) -> None:
    """Publishes a result and its pictures, a file for each suffix of PICTURES."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, path in pictures.items():
        shutil.copyfile(path, folder / f"{name}{suffix}.png")
    files.write_json(folder / f"{name}.json", result)


def method_rows(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: every method of every network at its smallest file within the tolerance."""
    columns = ["network, images", "method", "bytes", "times smaller", "float", "decoded", "each seed"]
    rows = []
    for name, result in results.items():
        for method, found in result["methods"].items():
            each = "; ".join(_seed_text(row) for row in found["seeds"])
            rows.append([
                network_of(result, name),
                METHODS[method],
                f"{found['mean_bytes']:,.0f}",
                _with_spread(found, "ratio", "{:.0f}", 1),
                f"{100 * found['mean_accuracy_before']:.2f} %",
                _with_spread(found, "accuracy", "{:.2f}", 100) + " %",
                each,
            ])  # fmt: skip
    return columns, rows


def network_of(result: Mapping, stem: str) -> str:
    """Returns "LeNet5, MNIST" of a published result, the images named once."""
    title, dataset = result.get("title", TITLES.get(stem, stem)), result["dataset"]
    return title if dataset in title else f"{title}, {dataset}"


def _with_spread(found: Mapping, name: str, form: str, factor: float) -> str:
    mean = form.format(factor * found[f"mean_{name}"])
    return f"{mean} ± {form.format(factor * found[f'deviation_{name}'])}" if len(found["seeds"]) > 1 else mean


def _seed_text(row: Mapping) -> str:
    missed = "" if row["within_tolerance"] else " (over the tolerance)"
    alpha = f"alpha {row['alpha']:g}: " if row.get("alpha") is not None else ""
    return f"{alpha}x{row['ratio']:.0f}, {100 * row['test_accuracy']:.2f} %{missed}"


def size_rows(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: the same network by every count of its bits."""
    results = {name: result for name, result in results.items() if result.get("bits")}
    columns = ["count", *(TITLES.get(name, name) for name in results)]
    rows = [["float32", *(f"{4 * result['bits']['values']:,}" for result in results.values())]]
    for count, title in COUNTS.items():
        cells = []
        for result in results.values():
            bits = result["bits"]
            cells.append(f"{bits[count] / 8:,.0f} (x{32 * bits['values'] / bits[count]:.0f})")
        rows.append([title, *cells])
    return columns, rows


def curve_rows(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: mean size and loss of accuracy of ECT for every alpha."""
    columns = ["network", "alpha", "seeds", "bytes", "times smaller", "validation", "test", "float (test)"]
    rows = []
    for name, result in results.items():
        ect = [row for row in result["curve"] if row["method"] == "ect"]
        for alpha in sorted({row["alpha"] for row in ect}):
            same = [row for row in ect if row["alpha"] == alpha]

            def mean(key, same=same):
                return sum(row[key] for row in same) / len(same)

            rows.append([
                TITLES.get(name, name), f"{alpha:g}", str(len(same)), f"{mean('bytes'):,.0f}",
                f"{mean('ratio'):.0f}", f"{100 * mean('validation_accuracy'):.2f} %",
                f"{100 * mean('test_accuracy'):.2f} %", f"{100 * mean('float_test_accuracy'):.2f} %",
            ])  # fmt: skip
    return columns, rows


def step_cost_text(cost: Mapping[str, Any]) -> str:
    """Returns what the README says of a published `step_cost`."""
    shown = {name: f"{1e3 * cost['median_s'][name]:.1f} ms" for name in ("plain", "coded", "noisy")}
    times = {name: f"{cost['times_plain'][name]:.1f}" for name in ("coded", "noisy")}
    where = f"{cost['provenance']['device']}, {cost['provenance']['date'][:10]}"
    return (
        f"A step of LeNet-300-100 with {cost['levels']} centroids takes {shown['coded']} without noise and "
        f"{shown['noisy']} with it, {times['coded']} and {times['noisy']} times a plain step of {shown['plain']} "
        f"(medians of {cost['repeats']} steps in turn, {where})."
    )


def rendered(folder: pathlib.Path = RESULTS) -> str:
    """Returns what stands between the markers of the README."""
    results = load(folder)
    if not results:
        return "No results are published yet."
    tolerance = 100 * next(iter(results.values()))["tolerance"]
    parts = [
        markdown.table(*method_rows(results)),
        f"Chosen, for each method and seed: the smallest file that loses at most {tolerance:g} points on the images "
        "kept apart; accuracies are on test images, of the decoded weights. Sizes are whole files against 32 bits for "
        "every value; ± is the deviation over seeds. " + origin.measured_on(results),
        "ECT over alpha:",
        markdown.table(*curve_rows(results)),
        "The first seed's file by every way to count, in bytes (32 bits for each bias in all but the last):",
        markdown.table(*size_rows(results)),
    ]
    if (cost := files.read_json(folder / f"{STEP_COST}.json")) is not None:
        parts.append(step_cost_text(cost))
    for name in results:
        for suffix, caption in PICTURES.items():
            if (folder / f"{name}{suffix}.png").is_file():
                parts.append(f"![{TITLES.get(name, name)}: {caption}](results/{name}{suffix}.png)")
    return "\n\n".join(parts)
