"""What README.md and the front page show of the published results."""

import pathlib
from collections.abc import Mapping, Sequence

from common.publishing import Headline, Page, origin
from common.publishing.markdown import Table
from common.publishing.origin import Results
from common.study import statistics

FOLDER = pathlib.Path(__file__).parent
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
COUNTS = {
    "entropy": "entropy of the labels (a)",
    "huffman": "Huffman (b)",
    "cabac": "CABAC streams (c)",
    "csr": "nonzeros with gaps (d)",
    "file": "whole file, biases coded too",
}
STEP_COST = "step_cost"  # the result of the verb of that name; all others are networks


def headline(results: Results) -> Headline:
    """Returns the front page's row: size and accuracy of every network, at half a point of accuracy."""
    networks = {name: result for name, result in results.items() if name != STEP_COST}
    parts = []
    for name, result in networks.items():
        rows = result["methods"]["ect"]["seeds"]
        percent = statistics.over_seeds([100 / row["ratio"] for row in rows]).mean
        before, after = (100 * mean(rows, key) for key in ("float_test_accuracy", "test_accuracy"))
        seeds = f" ({len(rows)} seeds)" if len(rows) > 1 else ""
        parts.append(f"{network_of(result, name)}: {percent:.3g} %, {before:.2f} → {after:.2f} %{seeds}")
    return Headline("whole file in % of float32; accuracy before → after", "; ".join(parts), tuple(networks))


def content(results: Results) -> list[str | Table]:
    """Returns everything between the markers."""
    networks = {name: result for name, result in results.items() if name != STEP_COST}
    tolerance = 100 * next(iter(networks.values()))["tolerance"]
    return [
        methods_table(networks),
        f"Chosen, for each method and seed: the smallest file that loses at most {tolerance:g} points on the images "
        "kept apart; accuracies are on test images, of the decoded weights. Sizes are whole files against 32 bits for "
        "every value; ± is the sample deviation over seeds (n - 1). " + origin.measured_on(networks),
        "ECT over alpha:",
        curve_table(networks),
        "The first seed's file by every way to count, in bytes (32 bits for each bias in all but the last):",
        sizes_table(networks),
        step_cost_text(results[STEP_COST]) if STEP_COST in results else "",
        *(
            page.picture(f"{name}{suffix}", f"{TITLES.get(name, name)}: {caption}")
            for name in networks
            for suffix, caption in PICTURES.items()
        ),
    ]


def methods_table(networks: Results) -> Table:
    """Returns every method of every network at its smallest file within the tolerance."""
    columns = ["network, images", "method", "bytes", "times smaller", "float", "decoded", "each seed"]
    rows = []
    for name, result in networks.items():
        for method, entry in result["methods"].items():
            seeds = entry["seeds"]
            rows.append([
                network_of(result, name),
                METHODS[method],
                f"{mean(seeds, 'bytes'):,.0f}",
                with_deviation(seeds, "ratio", "{:.0f}"),
                f"{100 * mean(seeds, 'float_test_accuracy'):.2f} %",
                with_deviation(seeds, "test_accuracy", "{:.2f}", 100) + " %",
                "; ".join(map(seed_text, seeds)),
            ])  # fmt: skip
    return columns, rows


def network_of(result: Mapping, stem: str) -> str:
    """Returns "LeNet5, MNIST" of a published result, the images named once."""
    title, dataset = result.get("title", TITLES.get(stem, stem)), result["dataset"]
    return title if dataset in title else f"{title}, {dataset}"


def mean(rows: Sequence[Mapping], name: str) -> float:
    """Returns the mean of one entry over rows."""
    return statistics.over_seeds([row[name] for row in rows]).mean


def with_deviation(rows: Sequence[Mapping], name: str, form: str, factor: float = 1) -> str:
    """Returns the mean of one entry over the rows of several seeds, and its deviation, as text."""
    over_seeds = statistics.over_seeds([row[name] for row in rows])
    text = form.format(factor * over_seeds.mean)
    return text if over_seeds.deviation is None else f"{text} ± {form.format(factor * over_seeds.deviation)}"


def seed_text(row: Mapping) -> str:
    """Returns alpha, size and accuracy of one seed's file."""
    missed = "" if row["within_tolerance"] else " (over the tolerance)"
    alpha = f"alpha {row['alpha']:g}: " if row.get("alpha") is not None else ""
    return f"{alpha}x{row['ratio']:.0f}, {100 * row['test_accuracy']:.2f} %{missed}"


def curve_table(networks: Results) -> Table:
    """Returns mean size and loss of accuracy of ECT for every alpha."""
    columns = ["network", "alpha", "seeds", "bytes", "times smaller", "validation", "test", "float (test)"]
    accuracies = ("validation_accuracy", "test_accuracy", "float_test_accuracy")
    table = []
    for name, result in networks.items():
        by_alpha: dict[float, list[Mapping]] = {}
        for row in result["curve"]:
            if row["method"] == "ect":
                by_alpha.setdefault(row["alpha"], []).append(row)
        for alpha, rows in sorted(by_alpha.items()):
            sizes = [f"{mean(rows, 'bytes'):,.0f}", f"{mean(rows, 'ratio'):.0f}"]
            shares = [f"{100 * mean(rows, key):.2f} %" for key in accuracies]
            table.append([TITLES.get(name, name), f"{alpha:g}", str(len(rows)), *sizes, *shares])
    return columns, table


def sizes_table(networks: Results) -> Table:
    """Returns the same network by every count of its bits."""
    bits = {name: result["bits"] for name, result in networks.items() if result.get("bits")}
    rows = [["float32", *(f"{4 * counts['values']:,}" for counts in bits.values())]]
    for count, title in COUNTS.items():
        cells = [f"{b[count] / 8:,.0f} (x{32 * b['values'] / b[count]:.0f})" for b in bits.values()]
        rows.append([title, *cells])
    return ["count", *(TITLES.get(name, name) for name in bits)], rows


def step_cost_text(cost: Mapping) -> str:
    """Returns what a published `step_cost` says."""
    plain, coded, noisy = (f"{1e3 * cost['median_s'][name]:.1f} ms" for name in ("plain", "coded", "noisy"))
    times = [f"{cost['times_plain'][name]:.1f}" for name in ("coded", "noisy")]
    where = f"{cost['provenance']['device']}, {cost['provenance']['date'][:10]}"
    return (
        f"A step of LeNet-300-100 with {cost['levels']} centroids takes {coded} without noise and {noisy} with it, "
        f"{times[0]} and {times[1]} times a plain step of {plain} "
        f"(medians of {cost['repeats']} steps in turn, {where})."
    )


page = Page(FOLDER, "arXiv:1812.07520", {"results": content}, headline, order=tuple(TITLES))
