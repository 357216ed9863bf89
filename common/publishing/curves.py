"""Columns of metrics.csv as curves of a plot."""

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend first: no display is needed)
from matplotlib import ticker  # noqa: E402


def series(rows: list[dict[str, str]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (steps, values) of one column of metrics.csv, where it has values."""
    points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    steps, values = np.array(points).reshape(-1, 2).T
    return steps, values


def set_log(axes: plt.Axes, which: str = "y") -> None:
    """Makes the "x" or "y" axis logarithmic, with labels such as 0.5 instead of powers of ten."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())
