"""Pictures: of a run, and of a study with bands over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common import app
from common.publishing import curves
from common.publishing.curves import BLUE, RED, plt
from common.study import statistics
from projects.stc import measures
from projects.stc.config import SimulateConfig

TITLES = {"up": "sent", "down": "received"}
UNITS = (("megabytes", 1e6), ("kilobytes", 1e3), ("bytes", 1))
SHADES = ("#1f5f8b", "#5a9bc8", "#c9a227")  # payload, side information, framing


def draw_run(run: app.Run, settings: SimulateConfig, result: Mapping, counts: np.ndarray) -> None:
    """Accuracy over rounds and over megabytes, bits by direction, and who holds which classes.

    Args:
      run: of the verb.
      settings: of the verb.
      result: of the verb.
      counts: [clients, classes], samples of each class that each client of the first seed holds.
    """
    seeds = {name: one["curve"] for name, one in result["seeds"].items()}
    with curves.picture(run, "accuracy", f"Test accuracy of {result['method']} over rounds, a line a seed.") as axis:
        for name, curve in seeds.items():
            axis.plot(curve["rounds"], curve["accuracy"], label=f"seed {name}")
        _finish(axis, "rounds", settings.target)
    caption = "Test accuracy over what an average client has sent and received, a line a seed."
    with curves.picture(run, "megabytes", caption, 1, 2, figsize=(9, 3.6), sharey=True) as axes:
        for axis, direction in zip(axes, measures.DIRECTIONS, strict=True):
            for name, curve in seeds.items():
                axis.plot(_megabytes(curve, direction, settings.clients), curve["accuracy"], label=f"seed {name}")
            _finish(axis, f"megabytes {TITLES[direction]} by an average client", settings.target, log=True)
    _draw_bits(run, result)
    _draw_clients(run, result)
    _draw_split(run, counts)


def _draw_clients(run: app.Run, result: Mapping) -> None:
    """Accuracy of each client's own samples, from the lowest to the highest, a line a seed."""
    values = {name: one["per_client"]["accuracy"] for name, one in result["seeds"].items() if "per_client" in one}
    if not values:  # of an older version
        return
    caption = (
        "Accuracy of the last weights on each client's own training samples; the line is that of the test samples."
    )
    with curves.picture(run, "clients", caption, figsize=(6, 2.6)) as axis:
        for name, accuracy in values.items():
            (line,) = axis.plot(np.arange(1, len(accuracy) + 1), np.sort(accuracy), ".-", label=f"seed {name}")
            axis.axhline(result["seeds"][name]["accuracy"], color=line.get_color(), linewidth=0.7, linestyle=":")
        axis.set(xlabel="clients, from the lowest on", ylabel="accuracy")
        axis.grid(alpha=0.2)
        axis.legend(fontsize=8)


def _draw_bits(run: app.Run, result: Mapping) -> None:
    """Bars of both directions, by parts, beside what the published code would count."""
    bits = next(iter(result["seeds"].values()))["bits"]
    largest = max(count["total"] for count in bits.values()) / 8 / result["clients"]
    unit, size = next((name, size) for name, size in UNITS if largest >= size or size == 1)
    scale = 8 * size * result["clients"]
    caption = f"{unit} of an average client by direction and part; the line is what the published code would count."
    with curves.picture(run, "bits", caption, figsize=(7, 2.2)) as axis:
        for row, direction in enumerate(measures.DIRECTIONS):
            left = 0.0
            for part, colour in zip(measures.PARTS, SHADES, strict=True):
                width = bits[direction][part] / scale
                axis.barh(row, width, left=left, color=colour, height=0.6, label=part if not row else None)
                left += width
            label = "published code's count" if not row else None
            axis.plot([bits[direction]["reference"] / scale] * 2, [row - 0.4, row + 0.4], color=RED, label=label)
        axis.set(yticks=[0, 1], ylim=(1.5, -0.5), xlabel=unit)
        axis.set_yticklabels([TITLES[direction] for direction in measures.DIRECTIONS])
        axis.legend(fontsize=8)
        curves.tidy(axis)


def _draw_split(run: app.Run, counts: np.ndarray) -> None:
    """The heatmap of clients by classes."""
    caption = f"Samples of each class that each of the {len(counts)} clients holds, first seed."
    with curves.picture(run, "split", caption, figsize=(min(12, 3 + len(counts) / 12), 3)) as axis:
        image = axis.imshow(counts.T, aspect="auto", cmap="viridis", interpolation="nearest")
        axis.set(xlabel="client", ylabel="class", yticks=range(counts.shape[1]))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.figure.colorbar(image, ax=axis, label="samples")


def draw_study(panels: Sequence[tuple[str, Mapping[str, Sequence[Mapping]]]], clients: Mapping[str, int]) -> Any:
    """Returns a figure: a row an environment, accuracy over iterations and over megabytes; the caller closes it.

    Args:
      panels: (title of an environment, title of a method -> its curves, one a seed).
      clients: of each environment, by title.
    """
    figure, axes = plt.subplots(
        len(panels), 3, figsize=(14, 3.6 * len(panels)), layout="constrained", sharey="row", squeeze=False
    )
    names = list(dict.fromkeys(name for _, methods in panels for name in methods))
    colours = dict(zip(names, plt.colormaps["tab10"](np.arange(len(names)) % 10), strict=True))
    for row, (title, methods) in zip(axes, panels, strict=True):
        for name, seeds in methods.items():
            accuracy = np.array([curve["accuracy"] for curve in seeds], float)
            middle, low, high = band(accuracy)
            across = [np.asarray(seeds[0]["iterations"], float)] + [
                np.mean([_megabytes(curve, direction, clients[title]) for curve in seeds], axis=0)
                for direction in measures.DIRECTIONS
            ]
            for axis, x in zip(row, across, strict=True):
                axis.plot(x, middle, color=colours[name], label=name, linewidth=1.4)
                axis.fill_between(x, low, high, color=colours[name], alpha=0.15, linewidth=0)
        labels = ["iterations", *(f"MB {TITLES[direction]} by an average client" for direction in measures.DIRECTIONS)]
        for axis, label in zip(row, labels, strict=True):
            axis.set_xlabel(label)
            axis.grid(alpha=0.2)
        for axis in row[1:]:
            curves.set_log(axis, "x")
            axis.tick_params(axis="x", labelsize=7)
        # By the curves: the band of few seeds may reach far beyond what an accuracy can be.
        accuracies = np.concatenate([np.ravel(curve["accuracy"]) for seeds in methods.values() for curve in seeds])
        margin = 0.05 * (np.ptp(accuracies) + 0.01)
        row[0].set(
            title=title, ylabel="test accuracy", ylim=(accuracies.min() - margin, accuracies.max() + margin)
        )  # fmt: skip
    axes[0, 0].legend(fontsize=7)
    return figure


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean, low and high of values [seeds, points]: Student's 95 % interval; of one seed the line itself."""
    rows = [statistics.over_seeds(column) for column in values.T]
    mean = np.array([row.mean for row in rows])
    low, high = (
        np.array([row.mean if end is None else end for row, end in zip(rows, ends, strict=True)])
        for ends in ([row.low for row in rows], [row.high for row in rows])
    )
    return mean, low, high


def _megabytes(curve: Mapping, direction: str, clients: int) -> np.ndarray:
    return np.array([measures.megabytes(bits, clients) for bits in curve[f"bits_{direction}"]])


def _finish(axis: plt.Axes, label: str, target: float, *, log: bool = False) -> None:
    """Labels, a line at the target, a legend."""
    axis.axhline(target, color=BLUE, linewidth=0.7, linestyle=":")
    axis.set(xlabel=label, ylabel="test accuracy")
    axis.grid(alpha=0.2)
    axis.legend(fontsize=8)
    if log:
        curves.set_log(axis, "x")
