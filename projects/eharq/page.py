"""What README.md and the front page show of the published results: curves, sets of blocks, predictors."""

import pathlib
from collections.abc import Mapping

from common.publishing import Page, Section, origin
from common.publishing.markdown import Table
from common.publishing.origin import Results

ROOM = pathlib.Path(__file__).parent


def rate_text(rate: Mapping) -> str:
    """Returns "0.135 (0.134 to 0.136)"."""
    return f"{rate['value']:.3g} ({rate['low']:.3g} to {rate['high']:.3g})"


def set_table(sets: Mapping[str, Mapping]) -> Table:
    """Returns columns and rows: a row a set of blocks."""
    columns = ["set", "Es/N0, dB", "blocks", "strata", "lost at first", "lost with a second", "undetected", "blocks/s"]
    rows = [
        [
            name, f"{one['es_n0_db']:g}", f"{one['blocks']:,}", len(one["strata"]), rate_text(one["bler"]),
            rate_text(one["combined_bler"]), f"{one['undetected']}, {one['combined_undetected']}",
            f"{one['blocks_per_second']:,.0f}" if "blocks_per_second" in one else "",
        ]
        for name, one in sets.items()
    ]  # fmt: skip
    return columns, rows


def curve_table(result: Mapping) -> Table:
    """Returns columns and rows: the points of a curve."""
    columns = [result["axis"], "BLER", "BER", "block errors", "blocks", "undetected", "iterations"]
    rows = [
        [
            f"{point['snr_db']:g}", f"{point['bler']:.3g} ({point['low']:.3g} to {point['high']:.3g})",
            f"{point['ber']:.3g}", point["errors"], f"{point['blocks']:,}", point["undetected"],
            f"{point['mean_iterations']:.2f}",
        ]
        for point in result["points"]
    ]  # fmt: skip
    return columns, rows


def blocks_section(results: Results) -> Table:
    """Returns the sets of blocks."""
    (result,) = results.values()
    return set_table(result["sets"])


def curves_section(results: Results) -> list[str | Table]:
    """Returns the curves, a table each, and their picture."""
    (result,) = results.values()
    parts: list[str | Table] = []
    for name, curve in result["curves"].items():
        parts += [f"{name.replace('_', ' ')}: {curve['code']}.", curve_table(curve)]
    parts += [f"![Block error rates](results/{picture})" for picture in result["pictures"]]
    return [*parts, origin.measured_on(results)]


def evaluation_section(results: Results) -> list[str | Table]:
    """Returns what predictors of each link and subcode came to."""
    from projects.eharq import tables

    parts: list[str | Table] = []
    for result in results.values():
        for bits, one in result["subcodes"].items():
            title = f"**{result['title']}, after {bits} of {result['sent']} bits**"
            parts += [f"{title}: predictors beside each other.", tables.comparison_table(one)]
            parts += ["Operating points:", tables.operating_table(one)]
            parts += ["False positive rates:", tables.rate_table(one)]
        parts += [f"![{result['title']}](results/{picture})" for picture in result["pictures"]]
    return [*parts, origin.measured_on(results)]


page = Page(
    ROOM,
    "arXiv:1807.10495",
    {
        "curves": Section(curves_section, sources="curves"),
        "blocks": Section(blocks_section, sources="blocks"),
        "evaluation": Section(evaluation_section, sources="evaluation_*"),
    },
)
