"""What README.md and the front page show of the published results."""

from common.publishing import Headline, Page
from common.publishing.origin import Results
from projects.van import published

FRONT = ("square24", "figure_comment", "coverage")


def headline(results: Results) -> Headline:
    """Returns the front page's row: the largest lattice, the Comment's panel, and how honest error bars are."""
    lines = [line for name in FRONT if name in results for line in results[name]["front_page"]]
    return Headline(
        "ln Z of the largest lattice and of the Comment's panel; how honest error bars are",
        "; ".join(f"{line['what']}: {line['result']}" for line in lines),
        FRONT,
    )


def tables(_: Results) -> str:
    """Returns everything between the markers."""
    return published.rendered()


page = Page(published.ROOM, "arXiv:1809.10606, arXiv:1903.11048", {"results": tables}, headline)
