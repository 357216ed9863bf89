"""What README.md and the front page show of the published results: sizes and accuracies, and other coders."""

import pathlib
from typing import Any

from common.publishing import Headline, Page, origin
from common.publishing.markdown import Table
from common.publishing.origin import Results
from projects.deepcabac.other_coders import MISSING

TITLES = {
    "lenet_300_100": "LeNet-300-100",
    "lenet5": "LeNet5",
    "small_vgg16": "Small-VGG16",
    "efficientnet_lite0": "EfficientNet-Lite0",
}


def headline(results: Results) -> Headline:
    """Returns the front page's row: size and accuracy of every network, at half a point of accuracy."""
    parts = []
    for name, result in results.items():
        point = result["points"]["half a point"]
        before, after = 100 * point["mean_accuracy_before"], 100 * point["mean_accuracy"]
        seeds = f" ({len(point['seeds'])} seeds)" if len(point["seeds"]) > 1 else ""
        size = f"{TITLES[name]}, {result['dataset']}: {point['mean_percent']:.3g} %"
        parts.append(f"{size}, {before:.2f} → {after:.2f} %{seeds}")
    return Headline("whole file in % of float32; accuracy before → after", "; ".join(parts), tuple(results))


def summary_table(results: Results) -> Table:
    """Returns a row for each point of each network: means over seeds and every seed's numbers."""
    columns = ["network, images", "point (tolerance)", "bytes", "% of float32", "accuracy before", "accuracy after"]
    rows = [
        [
            f"{TITLES[name]}, {result['dataset']}",
            label + (f" ({100 * point['tolerance']:g})" if "tolerance" in point else ""),
            f"{point['mean_bytes']:,.0f}",
            f"{point['mean_percent']:.3g}",
            f"{100 * point['mean_accuracy_before']:.2f} %",
            f"{100 * point['mean_accuracy']:.2f} %",
            each_seed(point["seeds"]),
        ]
        for name, result in results.items()
        for label, point in result["points"].items()
    ]
    return [*columns, "each seed"], rows


def each_seed(rows: list[dict]) -> str:
    """Returns size and accuracy of every seed; of a single one the interval of its loss."""
    if len(rows) == 1:
        low, high = rows[0]["difference_95_percent"]
        return f"difference 95 %: {100 * low:+.1f} to {100 * high:+.1f} points"
    return "; ".join(f"{row['percent']:.3g} %, {100 * row['test_accuracy']:.2f} %" for row in rows)


def coder_table(results: Results) -> Table:
    """Returns bytes of every coder on the integers of each network's first point and seed."""
    coders = dict.fromkeys(coder for result in results.values() for coder in result["coders"])
    rows = []
    for coder in coders:
        sizes = [result["coders"].get(coder) for result in results.values()]
        rows.append([coder, *(MISSING if size is None else f"{size:,}" for size in sizes)])
    return ["coder", *(TITLES[name] for name in results)], rows


def results_section(results: Results) -> list[Any]:
    """Returns the tables and pictures of README.md."""
    return [
        summary_table(results),
        "Tolerance in points of accuracy on images kept apart, where settings were chosen; accuracies on test images. "
        "Sizes are whole files, everything in them counted. " + origin.measured_on(results),
        "The integers of the first point (first seed), by other coders, in bytes:",
        coder_table(results),
        "Tables that a decoder needs are counted for every coder; names and shapes only in our whole file. Each coder "
        "had the better of two orders of axes.",
        *(page.picture(name, TITLES[name]) for name in results),
    ]


page = Page(
    pathlib.Path(__file__).parent,
    "arXiv:1905.08318, arXiv:1907.11900",
    {"results": results_section},
    headline,
    order=tuple(TITLES),
)
