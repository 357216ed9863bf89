"""The results that the repository keeps: `results/NETWORK.json` and their tables in README.md."""

import pathlib
import shutil

from common import files
from common.publishing import readme

FOLDER = pathlib.Path(__file__).parent
BENCH = FOLDER.parents[1] / "kernels" / "attribution"
TITLES = {
    "lenet5": "LeNet5", "resnet20": "ResNet-20", "small_vgg16": "Small-VGG16", "mnist_cnn": "MNIST CNN",
    "efficientnet_lite0": "EfficientNet-Lite0",
}  # fmt: skip


def write(name: str, result: dict, picture: pathlib.Path | None, stamp: dict) -> None:
    """Writes one network's result with its provenance; the picture too, where its images may be shown."""
    (FOLDER / "results").mkdir(exist_ok=True)
    files.write_json(FOLDER / "results" / f"{name}.json", result | front_page(result) | {"provenance": stamp})
    if picture is not None:
        shutil.copyfile(picture, FOLDER / "results" / f"{name}.png")


def read() -> dict[str, dict]:
    """Returns the published results by network."""
    paths = sorted((FOLDER / "results").glob("*.json"))
    return {path.stem: files.read_json(path) for path in paths}


def title(result: dict) -> str:
    """Returns "LeNet5, MNIST"."""
    return f"{TITLES.get(result['network'], result['network'])}, {result['dataset']}"


def front_page(result: dict) -> dict:
    """Returns the line of the front page: what EpsilonPlusFlat costs, what biases keep, what nobody accounts for."""
    seconds, conservation = result["seconds"], result["conservation"]["epsilon_plus_flat"]
    cost = f"{1000 * seconds['epsilon_plus_flat'] / result['batch']:.2g} ms an image, " + (
        f"{seconds['epsilon_plus_flat'] / seconds['gradient']:.2g} gradients"
    )
    kept = (
        f"biases keep {100 * conservation['bias']:.2g} % of it, {conservation['unexplained']:.0e} is not accounted for"
    )
    return {"front_page": [{"what": f"relevance (EpsilonPlusFlat), {title(result)}", "result": f"{cost}; {kept}"}]}


def runtime_rows(found: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: milliseconds an image by method, and how many gradients that is."""
    columns = ["method", *(title(result) for result in found.values())]
    rows = []
    for name in next(iter(found.values()))["seconds"] if found else ():
        row = [name]
        for result in found.values():
            seconds, gradient = result["seconds"][name], result["seconds"]["gradient"]
            row.append(f"{1000 * seconds / result['batch']:.3g} ms ({seconds / gradient:.2f})")
        rows.append(row)
    return columns, rows


def conservation_rows(found: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: what of the output is kept by biases, by epsilon, and what nobody accounts for."""
    columns = ["network", "composite", "lost", "kept by biases", "kept by epsilon", "not accounted for, share"]
    rows = [
        [
            title(result),
            name,
            *(f"{100 * kept[key]:.3g} %" for key in ("lost", "bias", "epsilon")),
            f"{kept['unexplained']:.1g}",
        ]
        for result in found.values()
        for name, kept in result["conservation"].items()
    ]
    return columns, rows


def render() -> bool:
    """Writes the published tables between README.md's markers; returns whether it changed."""
    path = FOLDER / "README.md"
    old = path.read_text(encoding="utf-8")
    new = rendered(old)
    if new != old:
        files.write_atomically(path, new)
    return new != old


def rendered(text: str) -> str:
    """Returns the text of README.md with fresh tables."""
    found = read()
    measured = {f"{r['provenance']['device']}, {r['provenance']['date'][:10]}" for r in found.values()}
    note = f"\n\nMeasured on {'; '.join(sorted(measured))}." if measured else ""
    tables = {name: readme.markdown(*rows(found)) + note for name, rows in ROWS.items()} | {"bench": bench_tables()}
    for name, table in tables.items():
        text = readme.replaced("README.md", text, f"<!-- {name}:begin -->", f"<!-- {name}:end -->", table)
    return text


ROWS = {"runtime": runtime_rows, "conservation": conservation_rows}


def bench_tables() -> str:
    """Returns the kernel's committed benchmarks beside Zennit, a table a device."""
    benches = [files.read_json(path) for path in sorted(BENCH.glob("bench.*.json"))]
    return "\n\n".join(
        f"{readme.markdown(*bench_rows(bench['rows']))}\n\nMedians of alternating runs on {bench['device']}, "
        f"{bench['date'][:10]}, commit {bench['commit'][:10]}."
        for bench in benches
    )


def bench_rows(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: images a second of ours and of Zennit, cost and memory in gradients, rounding."""
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
