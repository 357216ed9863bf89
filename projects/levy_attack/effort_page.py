"""What the README and the front page show of the comparison at equal effort, from results alone."""

import pathlib
import shutil

import numpy as np

from common import files
from common.publishing import markdown, origin

RESULTS = pathlib.Path(__file__).parent / "results"
MARKS = (200, 500, 1000, 2000, 5000, 10_000)
EARLY, LAST = 1000, 10_000
KINDS = {
    "paired": "paired over images",
    "of_medians": "of the medians",
    "same_steps": "paired, to alpha = 2 with the same first steps",
}
NORM_TITLES = {"l2": "L2", "l1": "L1", "linf": "Linf", "squared_l2_per_pixel": "L2²/pixel"}


def write(name: str, result: dict, picture: pathlib.Path) -> None:
    """Puts a study and its picture into the project's results."""
    files.write_json(RESULTS / f"effort_{name}.json", result | {"front_page": front_page(result)})
    with files.beside(RESULTS / f"effort_{name}.png") as temporary:
        shutil.copyfile(picture, temporary)


def load(folder: pathlib.Path = RESULTS) -> dict[str, dict]:
    """Returns the published studies by the name of the victim."""
    return {path.stem.removeprefix("effort_"): files.read_json(path) for path in sorted(folder.glob("effort_*.json"))}


def _at(result: dict, queries: int) -> int:
    return [int(mark) for mark in result["grid"]].index(queries)


def entry(row: dict, kind: str, norm: str, index: int) -> tuple[float, float, float]:
    """Returns ratio, low and high of an arm at a point of the grid."""
    return tuple(float(row[kind][norm][name][index]) for name in ("ratio", "low", "high"))


def cell(values: tuple[float, float, float]) -> str:
    """A ratio with its interval."""
    ratio, low, high = (f"{value:.2f}" if np.isfinite(value) else "none" for value in values)
    return f"{ratio} ({low} to {high})"


def ratio_rows(result: dict, shown: tuple[tuple[str, str], ...] | None = None) -> tuple[list[str], list[list[str]]]:
    """Ratios over queries: a row for each kind, norm and arm.

    Args:
      shown: pairs of kind and norm; all of them by default.
    """
    shown = tuple((kind, norm) for kind in KINDS for norm in NORM_TITLES) if shown is None else shown
    columns = ["ratio", "arm", "seeds", *(f"{mark:,}" for mark in MARKS)]
    rows = []
    for kind, norm in shown:
        for row in result["arms"]:
            if kind in row:
                cells = [cell(entry(row, kind, norm, _at(result, mark))) for mark in MARKS]
                rows.append(
                    [f"{NORM_TITLES[norm]}, {KINDS[kind]}", row["title"], str(len(row["compared_seeds"])), *cells]
                )
    return columns, rows


def median_rows(result: dict) -> tuple[list[str], list[list[str]]]:
    """Median L2 distances over queries, and how much of their steps the box left."""
    columns = ["arm", *(f"{mark:,}" for mark in MARKS), "realised steps"]
    rows = []
    for row in result["arms"]:
        cells = [f"{float(row['median']['l2'][_at(result, mark)]):.3g}" for mark in MARKS]
        rows.append([row["title"], *cells, f"{float(row['realised']):.3f}"])
    return columns, rows


def _arm(result: dict, noise: str, alpha: float, has_short_steps: bool = False) -> dict | None:
    for row in result["arms"]:
        if (row["noise"], float(row["alpha"]), row["has_short_steps"]) == (noise, alpha, has_short_steps):
            return row if "paired" in row else None
    return None


def _said(values: tuple[float, float, float]) -> str:
    """A ratio as nearer, farther or no difference shown: whether its interval leaves 1 out."""
    ratio, low, high = values
    word = "nearer" if high < 1 else "farther" if low > 1 else "no difference shown"
    return f"{word}, {cell(values)}"


def findings(result: dict) -> list[str]:
    """What a study found, in sentences that follow from its numbers alone."""
    arms = (
        ("lengths as drawn, alpha 1", _arm(result, "length", 1.0), "paired"),
        ("lengths as drawn, alpha 1.5", _arm(result, "length", 1.5), "paired"),
        ("every step rescaled, alpha 1", _arm(result, "coordinatewise", 1.0), "paired"),
        ("Gaussian directions with heavy-tailed lengths", _arm(result, "radius", 1.0), "paired"),
        ("alpha = 2 itself with first steps 0.05 and 0.002", _arm(result, "coordinatewise", 2.0, True), "paired"),
        (
            "lengths as drawn, alpha 1, beside alpha = 2 when both have these first steps",
            _arm(result, "length", 1.0, True),
            "same_steps",
        ),
    )
    sentences = []
    for name, row, kind in arms:
        if row is not None and kind in row:
            values = [_said(entry(row, kind, "l2", _at(result, mark))) for mark in (EARLY, LAST)]
            sentences.append(f"{name}: {values[0]} at {EARLY:,} queries; {values[1]} at {LAST:,}.")
    return sentences


def title(result: dict) -> str:
    """Whose findings these are."""
    return f"{result['title']}, {result['images']} images, paired L2 ratios to alpha = 2 in first steps of 0.01"


def finding(result: dict) -> str:
    """The findings in a row."""
    return f"{title(result)}: {' '.join(findings(result))}"


def front_page(result: dict) -> list[dict]:
    """Lines of the repository's front page: early and late, and the control of the step sizes."""
    row, control = _arm(result, "length", 1.0), _arm(result, "coordinatewise", 2.0, True)
    if row is None or control is None:
        return []
    early, last = (cell(entry(row, "paired", "l2", _at(result, mark))) for mark in (EARLY, LAST))
    longer = entry(control, "paired", "l2", _at(result, EARLY))[0]
    return [
        {
            "what": f"{result['title']}, {result['images']} images, {len(row['compared_seeds'])} seeds, "
            "lengths as drawn",
            "result": f"alpha 1 comes to {early} of the distance of alpha = 2 at {EARLY:,} queries, {last} at "
            f"{LAST:,}; alpha = 2 with longer first steps to {longer:.2f} at {EARLY:,}",
        }
    ]


def text(results: dict[str, dict]) -> list[str]:
    """Findings, tables and pictures."""
    parts = [
        "\n".join([f"{title(result)}:\n", *(f"- {sentence}" for sentence in findings(result))])
        for result in results.values()
    ]
    shown = (("paired", "l2"), ("same_steps", "l2"), ("of_medians", "squared_l2_per_pixel"))
    for name, result in results.items():
        attacked = ", ".join(result["attacked_at"])
        parts.append(
            f"{result['title']} ({100 * result['accuracy']:.2f} % of {result['test_images']:,} test images), ratios to "
            f"alpha = 2 after so many queries, 95 % intervals over {result['images']} images (attacks at {attacked}):"
        )
        parts.append(markdown.table(*ratio_rows(result, shown)))
        rest = tuple((kind, norm) for kind in KINDS for norm in NORM_TITLES if (kind, norm) not in shown)
        table = markdown.table(*ratio_rows(result, rest))
        parts.append(f"<details><summary>The other norms, paired and of the medians</summary>\n\n{table}\n\n</details>")
        parts.append("Median L2 distances, and the share of the steps along the boundary that the box left:")
        parts.append(markdown.table(*median_rows(result)))
        if result["missing"]:
            parts.append(f"Not run: {'; '.join(result['missing'])}.")
        parts.append(f"![{result['title']}: ratios to alpha = 2 over queries](results/effort_{name}.png)")
    parts.append(origin.measured_on(results))
    return parts
