"""What README.md and the front page show of the published results."""

from common.publishing import Headline, Page
from common.publishing.origin import Results
from projects.levy_attack import published

EFFORT = ("effort_mnist_cnn", "effort_cifar_cnn")  # at equal effort, over queries


def headline(results: Results) -> Headline:
    """Returns the front page's row: distances at equal effort beside alpha = 2."""
    lines = [line for name in EFFORT if name in results for line in results[name]["front_page"]]
    return Headline(
        "paired L2 distances at equal queries, heavy-tailed lengths beside alpha = 2",
        "; ".join(f"{line['what']}: {line['result']}" for line in lines),
        EFFORT,
    )


def tables(_: Results) -> str:
    """Returns everything between the markers."""
    return published.rendered()


page = Page(published.ROOM, "EUSIPCO 2019, arXiv:1712.04248", {"results": tables}, headline)
