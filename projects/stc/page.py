"""What README.md and the front page show of the published studies.

A cell without an interval is of a single seed. Megabytes are those of an average client: of all clients together,
divided by their number.
"""

import pathlib
from collections.abc import Mapping

from common.publishing import Headline, Page, origin
from common.publishing.markdown import Table
from common.publishing.numbers import UNKNOWN
from common.publishing.origin import Results
from common.publishing.page import select
from projects.stc import findings, measures
from projects.stc.arms import LEAD, STUDIES
from projects.stc.bench_text import bench_text

ORDER = tuple(STUDIES)
VERDICTS = ("that hold", "missed", "that these seeds leave open")
COSTS = {"iterations": "iterations", "megabytes_up": "MB up", "megabytes_down": "MB down"}


def studies_of(results: Results) -> dict[str, Mapping]:
    """Returns the results that are studies."""
    return select(results, *ORDER)


def claims_table(result: Mapping) -> Table:
    """Returns the claims with what was measured and the verdict."""
    names = ("claim", "of", "where", "measured", "verdict")
    return list(names), [[claim[name] for name in names] for claim in result["claims"]]


def accuracy_table(result: Mapping) -> Table:
    """Returns the accuracy at the end: a row an environment, a column a method."""
    arms = _arms(result)
    rows = [
        [
            place["title"],
            *(_percent(place["rows"][arm]["accuracy"]) if arm in place["rows"] else "" for arm in arms),
            _highest(place),
        ]
        for place in result["environments"].values()
    ]
    return ["clients", *arms.values(), "highest mean"], rows


def ahead_table(result: Mapping) -> Table:
    """Returns by how many points STC is ahead of each other method, over the same seeds."""
    arms = {arm: title for arm, title in _arms(result).items() if arm != LEAD}
    rows = [
        [place["title"], *(_points(place["ahead"][arm]) if arm in place["ahead"] else "" for arm in arms)]
        for place in result["environments"].values()
    ]
    return ["clients", *arms.values()], rows


def cost_table(result: Mapping) -> Table:
    """Returns iterations and megabytes to the target accuracy, and megabytes in all."""
    target = f"{100 * result['target']:g} %"
    columns = [
        "clients", "method", f"iterations to {target}", "MB up to it", "MB down to it", "rounds", "MB up in all",
        "MB down in all",
    ]  # fmt: skip
    rows = []
    for place in result["environments"].values():
        for row in place["rows"].values():
            crossing = row["crossing"]
            if "iterations" in crossing:
                cells = [f"{crossing['iterations']['mean']:,.0f}"]
                cells += [_mega(crossing[f"megabytes_{name}"]) for name in measures.DIRECTIONS]
            else:
                cells = [f"reached in {crossing['reached']} of {crossing['of']} seeds", UNKNOWN, UNKNOWN]
            total = [_mega(row["megabytes"][name]) for name in measures.DIRECTIONS]
            rows.append([place["title"], row["title"], *cells, f"{row['rounds']:,}", *total])
    return columns, rows


def winners_text(result: Mapping) -> str:
    """Returns which method needs least to the target in each environment, of those that reach it in every seed."""
    lines = []
    for place in result["environments"].values():
        rows = [row for row in place["rows"].values() if "iterations" in row["crossing"]]
        texts = []
        for name, words in COSTS.items() if rows else ():
            least = min(rows, key=lambda row: row["crossing"][name]["mean"])
            mean = least["crossing"][name]["mean"]
            texts.append(
                f"{words} {least['title']} ({mean:,.0f})"
                if name == "iterations"
                else f"{words} {least['title']} ({mean:.3g})"
            )
        lines.append(f"- {place['title']}: {', '.join(texts) or 'none reaches it in every seed'}")
    return f"Least to {100 * result['target']:g} %, of methods that reach it in every seed:\n\n" + "\n".join(lines)


def bits_table(result: Mapping) -> Table:
    """Returns megabytes by direction and part in the first environment, beside the published code's count."""
    place = next(iter(result["environments"].values()))
    columns = ["method", "direction", *measures.PARTS, "total", "published code's count"]
    rows = []
    for row in place["rows"].values():
        for direction in measures.DIRECTIONS:
            parts = findings.megabytes_of(row, direction)
            rows.append(
                [row["title"], direction, *(f"{parts[name]:.3g}" for name in (*measures.PARTS, "total", "reference"))]
            )
    return columns, rows


def study_text(name: str, result: Mapping) -> list[str | Table]:
    """Returns the tables of one study, its picture and its notes."""
    first = next(iter(result["environments"].values()))
    return [
        f"### {result['title']}",
        f"{result['iterations']:,} iterations (rounds times local steps); accuracy is measured every "
        f"{result['every']} of them.",
        verdict_text(result),
        claims_table(result),
        "Test accuracy at the end in %, with 95 % intervals over seeds:",
        accuracy_table(result),
        f"{_arms(result).get(LEAD, 'STC')} minus the others in points, over the same seeds:",
        ahead_table(result),
        winners_text(result),
        "<details><summary>To the target, and in all, for an average client</summary>",
        cost_table(result),
        "</details>",
        f"Where the bits go, {first['title']}, megabytes of an average client:",
        bits_table(result),
        *notes_text(result),
        page.picture(name, f"{result['title']}: accuracy over iterations and over megabytes"),
        origin.measured_on({name: result}),
    ]


def verdict_text(result: Mapping) -> str:
    """Returns how many claims hold, and the missed ones in words."""
    claims = result["claims"]
    by_verdict = {
        verdict: [claim for claim in claims if claim["verdict"] == verdict]
        for verdict in (findings.HOLDS, findings.MISSED, findings.OPEN)
    }
    counts = ", ".join(f"{len(some)} {words}" for words, some in zip(VERDICTS, by_verdict.values(), strict=True))
    counts = f"Claims of the paper and bars of our own: {counts}."
    missed = [
        f"{claim['claim']} ({'claim of the paper' if claim['of'] == 'the paper' else claim['of']}; {claim['where']}: "
        f"{claim['measured']})"
        for claim in by_verdict[findings.MISSED]
    ]
    return counts + (f" Missed: {'; '.join(missed)}." if missed else "")


def notes_text(result: Mapping) -> list[str]:
    """Returns what was not as the settings say, and what has not run."""
    notes = [
        f"{place['title']}: {'; '.join(place['notes'])}" for place in result["environments"].values() if place["notes"]
    ]
    texts = []
    if notes:
        lines = "\n".join(f"- {note}" for note in notes)
        texts.append(f"<details><summary>Where splits are not as the settings say</summary>\n\n{lines}\n\n</details>")
    if result["missing"]:
        texts.append(f"Not run yet: {', '.join(result['missing'])}.")
    return texts


def tables(results: Results) -> list[str | Table]:
    """Returns everything between the markers."""
    studies = [part for name, result in studies_of(results).items() for part in study_text(name, result)]
    return [*studies, *(bench_text(results["bench"]) if "bench" in results else ())]


def headline(results: Results) -> Headline:
    """Returns the front page's row: STC beside FedSGD and FedAvg where clients hold two classes, and what it costs."""
    lines, names = [], []
    for name, result in studies_of(results).items():
        place = result["environments"].get("classes2")
        if place is None or LEAD not in place["rows"]:
            continue
        rows = place["rows"]
        texts = [
            f"{rows[arm]['title']} {100 * rows[arm]['accuracy']['mean']:.1f} % at {_both(rows[arm])}"
            for arm in (LEAD, findings.SGD, findings.AVG)
            if arm in rows
        ]
        lines.append(f"{result['title']}: {', '.join(texts)}")
        names.append(name)
    what = "test accuracy at equal iterations, two classes a client, and megabytes up / down of an average client"
    return Headline(what, "; ".join(lines) or UNKNOWN, tuple(names) or ("*",))


def _arms(result: Mapping) -> dict[str, str]:
    """Returns the titles of all methods, by arm, in the order in which they come."""
    return {arm: row["title"] for place in result["environments"].values() for arm, row in place["rows"].items()}


def _highest(place: Mapping) -> str:
    """Returns the method of the highest mean accuracy, and how far it is above the next one."""
    rows = sorted(place["rows"].values(), key=lambda row: -row["accuracy"]["mean"])
    means = [row["accuracy"]["mean"] for row in rows]
    return f"{rows[0]['title']}" + (f", by {100 * (means[0] - means[1]):.1f}" if len(rows) > 1 else "")


def _both(row: Mapping) -> str:
    return " / ".join(_mega(row["megabytes"][name]) for name in measures.DIRECTIONS) + " MB"


def _mega(value: Mapping) -> str:
    return f"{value['mean']:.3g}"


def _percent(value: Mapping) -> str:
    mean = f"{100 * value['mean']:.1f}"
    return mean if value["low"] is None else f"{mean} ± {100 * (value['high'] - value['mean']):.1f}"


def _points(value: Mapping) -> str:
    mean = f"{100 * value['mean']:+.1f}"
    return mean if value["low"] is None else f"{mean} ({100 * value['low']:+.1f} to {100 * value['high']:+.1f})"


page = Page(pathlib.Path(__file__).parent, "arXiv:1903.02891", {"results": tables}, headline, order=ORDER)
