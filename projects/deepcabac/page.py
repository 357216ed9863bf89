"""What README.md and the front page show of the published results."""

from common.publishing import Headline, Page
from common.publishing.origin import Results
from projects.deepcabac import published


def headline(results: Results) -> Headline:
    """Returns the front page's row: size and accuracy of every network, at half a point of accuracy."""
    networks = {name: result for name, result in results.items() if "points" in result}
    parts = []
    for name, result in networks.items():
        point = result["points"]["half a point"]
        before, after = 100 * point["mean_accuracy_before"], 100 * point["mean_accuracy"]
        seeds = f" ({len(point['seeds'])} seeds)" if len(point["seeds"]) > 1 else ""
        size = f"{published.TITLES[name]}, {result['dataset']}: {point['mean_percent']:.3g} %"
        parts.append(f"{size}, {before:.2f} → {after:.2f} %{seeds}")
    return Headline("whole file in % of float32; accuracy before → after", "; ".join(parts), tuple(networks))


def tables(_: Results) -> str:
    """Returns everything between the markers."""
    return published.rendered()


page = Page(
    published.ROOM, "arXiv:1905.08318, arXiv:1907.11900", {"results": tables}, headline, order=tuple(published.ORDER)
)
