"""Published results: one JSON file and one picture each in `results/`, and the tables that README.md shows of them.

A figure in the README is never typed: `render` writes the tables between two markers from the files, and a test
compares.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from common import files
from common.publishing import markdown, origin
from projects.deepcabac import baselines

ROOM = pathlib.Path(__file__).parent
RESULTS = ROOM / "results"
ORDER = ("lenet_300_100", "lenet5", "small_vgg16", "efficientnet_lite0")
TITLES = {
    "lenet_300_100": "LeNet-300-100",
    "lenet5": "LeNet5",
    "small_vgg16": "Small-VGG16",
    "efficientnet_lite0": "EfficientNet-Lite0",
}


def load(folder: pathlib.Path = RESULTS) -> dict[str, dict]:
    """Returns name -> result of every file there, in the order of the tables."""
    found = {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}
    found = {name: result for name, result in found.items() if isinstance(result, Mapping) and "points" in result}
    order = [*ORDER, *sorted(set(found) - set(ORDER))]
    return {name: found[name] for name in order if name in found}


def summary_rows(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: a row for each point of each network, means over seeds and every seed's numbers."""
    columns = [
        "network, images",
        "point (tolerance)",
        "bytes",
        "% of float32",
        "accuracy before",
        "accuracy after",
        "each seed",
    ]
    rows = []
    for name, result in results.items():
        for point, found in result["points"].items():
            each = found["seeds"]
            seeds = "; ".join(f"{row['percent']:.3g} %, {100 * row['test_accuracy']:.2f} %" for row in each)
            if len(each) == 1 and "difference_95_percent" in each[0]:
                low, high = each[0]["difference_95_percent"]
                seeds = f"difference 95 %: {100 * low:+.1f} to {100 * high:+.1f} points"
            rows.append(
                [
                    f"{TITLES.get(name, name)}, {result['dataset']}",
                    point + (f" ({100 * found['tolerance']:g})" if "tolerance" in found else ""),
                    f"{found['mean_bytes']:,.0f}",
                    f"{found['mean_percent']:.3g}",
                    f"{100 * found['mean_accuracy_before']:.2f} %",
                    f"{100 * found['mean_accuracy']:.2f} %",
                    seeds,
                ]
            )
    return columns, rows


def coder_rows(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: bytes of every coder on the integers of each network's first point and seed."""
    results = {name: result for name, result in results.items() if result.get("coders")}
    columns = ["coder", *(TITLES.get(name, name) for name in results)]
    names = list(dict.fromkeys(coder for result in results.values() for coder in result["coders"]))
    rows = []
    for coder in names:
        sizes = [result["coders"].get(coder) for result in results.values()]
        rows.append([coder, *(f"{size:,}" if size is not None else baselines.MISSING for size in sizes)])
    return columns, rows


def rendered(folder: pathlib.Path = RESULTS) -> str:
    """Returns what stands between the markers of the README."""
    results = load(folder)
    if not results:
        return "No results are published yet."
    parts = [markdown.table(*summary_rows(results))]
    parts.append(
        "Tolerance in points of accuracy on images kept apart, where settings were chosen; accuracies on test images. "
        "Sizes are whole files, everything in them counted. " + origin.measured_on(results)
    )
    parts.append("The integers of the first point (first seed), by other coders, in bytes:")
    parts.append(markdown.table(*coder_rows(results)))
    parts.append(
        "Tables that a decoder needs are counted for every coder; names and shapes only in our whole file. Each coder "
        "had the better of two orders of axes."
    )
    parts += [
        f"![{TITLES.get(name, name)}](results/{name}.png)" for name in results if (folder / f"{name}.png").is_file()
    ]
    return "\n\n".join(parts)


def write(name: str, result: Mapping[str, Any], picture: pathlib.Path, folder: pathlib.Path = RESULTS) -> None:
    """Publishes a result and its picture."""
    files.write_atomically(folder / f"{name}.png", picture.read_bytes())
    files.write_json(folder / f"{name}.json", result)
