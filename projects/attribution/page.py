"""What README.md shows of the results: cost, conservation, and the kernel beside Zennit."""

import pathlib
from collections.abc import Mapping, Sequence

from common import files
from common.publishing import Headline, Page, Section, origin
from common.publishing.markdown import Table
from common.publishing.origin import Results
from projects.attribution import known_truth, quality

FOLDER = pathlib.Path(__file__).parent
BENCH = FOLDER.parents[1] / "kernels" / "attribution"
TITLES = {
    "lenet5": "LeNet5", "resnet20": "ResNet-20", "small_vgg16": "Small-VGG16", "mnist_cnn": "MNIST CNN",
    "efficientnet_lite0": "EfficientNet-Lite0",
}  # fmt: skip


def title(result: Mapping) -> str:
    """Returns "LeNet5, MNIST"."""
    return f"{TITLES.get(result['network'], result['network'])}, {result['dataset']}"


def headline(results: Results) -> Headline:
    """Returns the front page's row: what EpsilonPlusFlat costs, what biases keep and what nobody accounts for."""
    results = {name: result for name, result in results.items() if "seconds" in result}
    seconds = [result["seconds"]["epsilon_plus_flat"] for result in results.values()]
    images = [f"{1000 * s / result['batch']:.2g}" for s, result in zip(seconds, results.values(), strict=True)]
    gradients = [
        f"{s / result['seconds']['gradient']:.2g}" for s, result in zip(seconds, results.values(), strict=True)
    ]
    shares = [result["conservation"]["epsilon_plus_flat"] for result in results.values()]
    biases = [f"{100 * share['bias']:.2g}" for share in shares]
    return Headline(
        f"relevance (EpsilonPlusFlat) of {'; '.join(map(title, results.values()))}",
        f"{', '.join(images)} ms an image: {', '.join(gradients)} gradients; biases keep {', '.join(biases)} % of the "
        f"output, at most {max(share['unexplained'] for share in shares):.0e} is not accounted for",
        sources=("cost_*",),
    )


def runtime_table(results: Results) -> Table:
    """Returns milliseconds an image by method, and how many gradients that is."""
    rows = []
    for name in next(iter(results.values()))["seconds"]:
        row = [name]
        for result in results.values():
            seconds, gradient = result["seconds"][name], result["seconds"]["gradient"]
            row.append(f"{1000 * seconds / result['batch']:.3g} ms ({seconds / gradient:.2f})")
        rows.append(row)
    return ["method", *map(title, results.values())], rows


def conservation_table(results: Results) -> Table:
    """Returns what of the output is kept by biases, by epsilon, and what nobody accounts for."""
    columns = ["network", "composite", "lost", "kept by biases", "kept by epsilon", "not accounted for, share"]
    rows = [
        [
            title(result),
            name,
            *(f"{100 * shares[key]:.3g} %" for key in ("lost", "bias", "epsilon")),
            f"{shares['unexplained']:.1g}",
        ]
        for result in results.values()
        for name, shares in result["conservation"].items()
    ]
    return columns, rows


def bench_tables(_: Results) -> list[Table | str]:
    """Returns the kernel's committed benchmarks beside Zennit, a table a device."""
    parts = []
    for path in sorted(BENCH.glob("bench.*.json")):
        bench = files.read_json(path)
        parts += [
            bench_table(bench["rows"]),
            f"Medians of alternating runs on {bench['device']}, {bench['date'][:10]}, commit {bench['commit'][:10]}.",
            origin.changed_note({path.name: bench}),
        ]
    return parts


def bench_table(rows: Sequence[Mapping]) -> Table:
    """Returns images a second of ours and of Zennit, cost and memory in gradients, rounding."""
    compiling = {row["name"].removesuffix(", compiling"): row for row in rows if row["name"].endswith(", compiling")}
    rounding = {row["name"].split(", ")[0]: row for row in rows if row["name"].endswith(", difference to zennit")}
    columns = [
        "VGG11, 64 x 64", "ours, images/s", "Zennit, images/s", "times as fast", "gradients", "of a gradient's memory",
        "compiling", "off float64, ours", "off float64, Zennit",
    ]  # fmt: skip
    table = []
    for row in rows:
        if "zennit" not in row.get("median_s", {}):
            continue
        median, work, own = row["median_s"], row["work"], compiling[row["name"]]
        gradient = compiling[f"gradient, {row['name'].split(', ')[1]}"]
        off = rounding.get(row["name"].split(", ")[0], {})
        memory = own["temporary_bytes"] / gradient["temporary_bytes"]
        table.append([
            row["name"], f"{work / median['ours']:.1f}", f"{work / median['zennit']:.1f}",
            f"{median['zennit'] / median['ours']:.2f}", f"{median['ours'] / median['own gradient']:.2f}",
            f"{memory:.2f}", f"{own['trace_s'] + own['compile_s']:.1f} s",
            *(f"{off[side]:.1e}" if side in off else "" for side in ("ours_to_float64", "zennit_to_float64")),
        ])  # fmt: skip
    return columns, table


page = Page(
    FOLDER,
    "arXiv:2106.13200",
    {
        "runtime": Section(runtime_table, "cost_*"),
        "conservation": Section(conservation_table, "cost_*"),
        "quality": Section(quality.sections, "quality_*"),
        "text": Section(known_truth.sections, "text"),
        "sound": Section(known_truth.sections, "sound"),
        "bench": Section(bench_tables, sources=None),
    },  # fmt: skip
    headline,
)
