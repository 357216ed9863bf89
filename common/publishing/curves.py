"""What the plots of every project share: a figure that becomes a picture of the run, columns of metrics.csv, axes."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from common.runs.run_directory import Run

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend first: no display is needed)
from matplotlib import ticker  # noqa: E402

BLUE, RED, GREY, PURPLE, GREEN = "#1f5f8b", "#c8553d", "#9aa5ad", "#7a4fa3", "#3f7d4e"


@contextlib.contextmanager
def picture(run: Run, name: str, caption: str, *grid: int, **options: Any) -> Iterator[Any]:
    """Yields the axes of a figure, which becomes `plots/NAME.png` of the run with its caption, and is then closed.

    Args:
      run: whose report shows it.
      name: of the file.
      caption: below it.
      grid: rows and columns of axes; one of each when there are none.
      options: of `pyplot.subplots`, such as figsize.
    """
    figure, axes = plt.subplots(*grid, **{"layout": "constrained"} | options)
    try:
        yield axes
        run.plot(name, figure, caption)
    finally:
        plt.close(figure)


def tidy(axes: plt.Axes) -> None:
    """Takes the frame above and right away, and puts a faint grid behind the bars of horizontal ones."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#000000", alpha=0.08, linewidth=0.6)
    axes.set_axisbelow(True)


def bars(
    axes: plt.Axes, names: Sequence[str], values: Sequence[float], colours: Any, texts: Sequence[str] = ()
) -> None:
    """Draws horizontal bars from top to bottom, a text behind each."""
    rows = range(len(names))
    axes.barh(rows, values, color=colours, height=0.7)
    axes.set(yticks=list(rows), ylim=(len(names) - 0.4, -0.6))
    axes.set_yticklabels(names, fontsize=8)
    for row, (value, text) in enumerate(zip(values, texts, strict=False)):
        axes.annotate(text, (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    tidy(axes)


@contextlib.contextmanager
def panels(run: Run, name: str, caption: str, titles: Sequence[str]) -> Iterator[list[plt.Axes]]:
    """Yields small axes, one a title, in rows of four; see `picture`."""
    columns = min(4, len(titles))
    rows = -(-len(titles) // columns)
    with picture(run, name, caption, rows, columns, figsize=(2.7 * columns, 2.2 * rows), squeeze=False) as axes:
        for axis, title in zip(axes.flat, titles, strict=False):
            axis.set_title(title, fontsize=8)
            axis.tick_params(labelsize=7)
        for axis in axes.flat[len(titles) :]:
            axis.set_axis_off()
        yield list(axes.flat[: len(titles)])


def series(rows: list[dict[str, str]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (steps, values) of one column of metrics.csv, where it has values."""
    points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    steps, values = np.array(points).reshape(-1, 2).T
    return steps, values


def column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Returns one entry of each row of a result; nan where it is None or missing, which is then not drawn."""
    return np.array([row.get(name) for row in rows], float)


def set_log(axes: plt.Axes, which: str = "y") -> None:
    """Makes the "x" or "y" axis logarithmic, with labels such as 0.5 instead of powers of ten."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())
