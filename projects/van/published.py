"""Published results: a JSON file and pictures a figure in `results/`, and the tables that README.md shows of them."""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from common import files, provenance, readme

ROOM = pathlib.Path(__file__).parent
RESULTS = ROOM / "results"
BEGIN, END = "<!-- results: made by `tables --render_readme` -->", "<!-- end of results -->"


def load(folder: pathlib.Path = RESULTS) -> dict[str, dict]:
    """Returns name -> result of every file there."""
    return {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}


def write(name: str, result: Mapping[str, Any], pictures: Mapping[str, pathlib.Path], folder=RESULTS) -> None:
    """Publishes a result and its pictures, a file for each suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, path in pictures.items():
        shutil.copyfile(path, folder / f"figure_{name}{suffix}.png")
    written = dict(result) | {"pictures": [f"figure_{name}{suffix}.png" for suffix in pictures]}
    files.write_json(folder / f"figure_{name}.json", written | front_page(written))


def write_network(name: str, result: Mapping[str, Any], run, trained, images: int, peak: float) -> None:
    """Publishes the estimates of one network, with its panel of corrections and histogram of weights.

    Args:
      result: of `sample`.
      run: its run, with the pictures.
      trained: flags of the training.
      images: symmetries that the network is averaged over.
      peak: memory of the process, MiB.
    """
    pictures = {f"_{picture}": run.plots / f"{picture}.png" for picture in ("correction", "weights", "chain")}
    for suffix, path in pictures.items():
        shutil.copyfile(path, RESULTS / f"{name}{suffix}.png")
    network = f"{trained.network} D{trained.depth} C{trained.channels} h{trained.half_width}"
    network += ", folded order" if trained.fold else ""
    network += f", mean over {images} symmetries" if images > 1 else ""
    title = f"{result['system']}, beta {result['beta']:g}, {result['samples']:,} samples"
    written = dict(result) | {
        "title": title, "network": network, "peak_mebibytes": round(peak),
        "pictures": [f"{name}{suffix}.png" for suffix in pictures], "provenance": provenance.stamp(),
    }  # fmt: skip
    files.write_json(RESULTS / f"{name}.json", written | front_page(written))


def front_page(result: Mapping[str, Any]) -> dict:
    """Returns what the repository's front page shows of a result: a line for a network or a ladder of temperatures."""
    lines = []
    estimates = result.get("estimates")
    if "network" in result and isinstance(estimates, Mapping) and "exact" in estimates["ln_z"]:
        z = estimates["ln_z"]
        off = abs(z["raw"] - z["exact"]) / z["raw_error"]
        text = f"ln Z {z['nis']:.4f} ± {z['nis_error']:.1g}, exact {z['exact']:.4f} (uncorrected {off:.0f} sigma off)"
        lines.append({"what": result["title"], "result": f"{text}; ESS {result['ess']:.2f}"})
    elif "panel" in result:
        for name, (row,) in result["rows"].items():
            z = row["estimates"]["ln_z"]
            raw, nis = (abs(z[method] - z["exact"]) / z[f"{method}_error"] for method in ("raw", "nis"))
            text = f"ln Z {raw:.0f} sigma off uncorrected, {nis:.1f} corrected; ESS {row['ess']:.2g}"
            lines.append({"what": f"the Comment's panel, {name}, beta {row['beta']:g}", "result": text})
    elif isinstance(result.get("rows"), list):
        row = min(result["rows"], key=lambda row: abs(row["beta"] - 1))
        best = min(error for name, error in row.items() if name not in ("beta", "network"))
        text = f"couplings at beta {row['beta']:g} to {row['network']:.2g} (root mean square), best baseline {best:.2g}"
        lines.append({"what": f"figure {result['figure']}, inverse Ising", "result": text})
    elif isinstance(result.get("rows"), Mapping):
        for row in summary_rows({"": result})[1]:
            text = f"ln Z within 1, 2, 3 sigma of exact: {row[5]} temperatures"
            lines.append({"what": f"figure {row[0]}, {row[1]}, {row[3]}", "result": text})
    return {"front_page": lines}


def summary_rows(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows: a row a ladder of temperatures."""
    columns = [
        "figure", "system", "network and training", "temperatures", "ESS", "ln Z within 1, 2, 3 sigma", "largest error",
    ]  # fmt: skip
    rows = []
    for result in results.values():
        if not isinstance(result.get("rows"), Mapping):
            continue
        for name, each in result["rows"].items():
            found = [row["estimates"]["ln_z"] for row in each]
            far = [abs(z["nis"] - z["exact"]) / z["nis_error"] for z in found if "exact" in z]
            within = ", ".join(str(sum(d <= k for d in far)) for k in (1, 2, 3)) + f" of {len(far)}"
            betas, ess = [row["beta"] for row in each], [row["ess"] for row in each]
            rows.append([
                result["figure"], name, result.get("networks", {}).get(name, ""),
                f"beta {min(betas):g} to {max(betas):g}" if len(betas) > 1 else f"beta {betas[0]:g}",
                f"{min(ess):.2f} to {max(ess):.2f}" if len(ess) > 1 else f"{ess[0]:.2f}", within,
                f"{max(z['nis_error'] for z in found):.2g}",
            ])  # fmt: skip
    return columns, rows


def network_rows(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows of single networks: every quantity before and after correction."""
    columns = ["network", "ESS", "quantity", "exact", "network alone", "corrected (NIS)", "jackknife", "NMCMC"]
    rows = []
    for result in results.values():
        if "network" not in result or not isinstance(result.get("estimates"), Mapping):
            continue
        for name, values in result["estimates"].items():
            known, spread = values.get("exact", values.get("reference")), values.get("reference_error")
            rows.append([
                f"{result['title']}: {result['network']}", f"{result['ess']:.3f}", name,
                _number(known, None if "exact" in values else spread),
                _number(values.get("raw"), values.get("raw_error")), _number(values["nis"], values["nis_error"]),
                _number(values["nis_jackknife_error"], None), _number(values.get("nmcmc"), values.get("nmcmc_error")),
            ])  # fmt: skip
    return columns, rows


def _number(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if not error else f"{value:.6g} ± {error:.1g}"


def inverse_rows(result: Mapping) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows of figure 4b."""
    columns = list(result["rows"][0])
    return columns, [[f"{row[name]:.3g}" for name in columns] for row in result["rows"]]


def rendered(folder: pathlib.Path = RESULTS) -> str:
    """Returns what stands between the markers of the README."""
    results = load(folder)
    if not results:
        return "No results are published yet."
    parts = []
    columns, rows = network_rows(results)
    if rows:
        parts += [readme.markdown(columns, rows), "Each ± is one standard error; per site but ln Z."]
    columns, rows = summary_rows(results)
    if rows:
        parts.append(readme.markdown(columns, rows))
    if "figure_4b" in results:
        parts += [
            "Inverse Ising problem, error of the couplings:",
            readme.markdown(*inverse_rows(results["figure_4b"])),
        ]
    parts.append(readme.measured_on(results.values()))
    for result in results.values():
        parts += [f"![{result['title']}](results/{picture})" for picture in result.get("pictures", [])]
    return "\n\n".join(parts)


def render(page: pathlib.Path = ROOM / "README.md", folder: pathlib.Path = RESULTS) -> bool:
    """Writes the tables into the README; returns whether it changed.

    Raises:
      ValueError: the markers are not there.
    """
    return readme.fill(page, BEGIN, END, f"\n{rendered(folder)}\n")
