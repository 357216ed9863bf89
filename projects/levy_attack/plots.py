"""Pictures of attacks for the reports, and of studies."""

import pathlib
from typing import Any

import numpy as np

from common import app, weight_files
from common.publishing import curves
from common.publishing.curves import plt
from kernels.boundary_attack import Result
from projects.levy_attack import victims

BLUE, RED, GREEN, GREY = "#1f5f8b", "#c8553d", "#7a9a3a", "#444444"
START = 100  # first queries: the search for a start and the bisection, nearly the same for every arm
PANELS = (
    ("paired", "l2", "L2, paired"),
    ("of_medians", "squared_l2_per_pixel", "squared L2 per pixel, of medians"),
    ("paired", "l1", "L1, paired"),
    ("paired", "linf", "Linf, paired"),
)
DASHES = {"length": "-", "coordinatewise": "--", "radius": ":", "isotropic": "-."}


def draw_attack(run: app.Run, result: Result, victim: victims.Victim, clean: np.ndarray, gallery: pathlib.Path) -> None:
    """Distances and step sizes over queries, and the images themselves at several numbers of queries."""
    norms = {
        "L1": (GREEN, result.traces["l1"]),
        "L2": (BLUE, result.traces["l2"]),
        "Linf": (RED, result.traces["linf"]),
    }
    caption = "Median distance of the best image after so many queries, and quartiles over images."
    _draw_quartiles(run, "distances", result.grid, norms, "distance to the clean image", caption)
    is_walking = (result.grid[None] <= result.queries[:, None]) & np.isfinite(result.traces["delta"])
    steps = {
        "along the boundary (delta)": (BLUE, np.where(is_walking, result.traces["delta"], np.nan)),
        "towards the image (eps)": (RED, np.where(is_walking, result.traces["eps"], np.nan)),
    }
    caption = "Step sizes in units of the distance: median and quartiles over images still walking."
    _draw_quartiles(run, "step_sizes", result.grid, steps, "step size / distance", caption)
    if gallery.exists():
        arrays = weight_files.load_npz(gallery)
        images = {int(queries): array.reshape(-1, *clean.shape[1:]) for queries, array in arrays.items()}
        count = min(len(clean), *map(len, images.values()))  # --gallery may be another one since
        if count:
            _draw_gallery(run, victim, clean[:count], {queries: array[:count] for queries, array in images.items()})


def _draw_quartiles(run: app.Run, name: str, grid: np.ndarray, lines: dict, label: str, caption: str) -> None:
    """Medians and quartiles over images of values [images, T]; NaN is left out, what is infinite is not drawn."""
    figure, axis = plt.subplots(figsize=(6, 3.6))
    for title, (colour, values) in lines.items():
        has_values = ~np.isnan(values).all(0)
        quartiles = np.nanquantile(values[:, has_values], [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")
        low, middle, high = np.where(np.isfinite(quartiles), quartiles, np.nan)
        axis.plot(grid[has_values], middle, color=colour, marker=".", label=title)
        axis.fill_between(grid[has_values], low, high, color=colour, alpha=0.2, linewidth=0)
    axis.set(xlabel="queries", ylabel=label, xscale="log")
    curves.set_log(axis)
    axis.legend()
    run.plot(name, figure, caption)
    plt.close(figure)


def _draw_gallery(run: app.Run, victim: victims.Victim, clean: np.ndarray, gallery: dict[int, np.ndarray]) -> None:
    """Clean images, and for each number of queries the adversarial one and what differs, magnified."""
    budgets = sorted(gallery)
    labels = np.asarray(victim.predict(np.concatenate([clean, *(gallery[budget] for budget in budgets)])))
    names = np.array([victim.classes[label][:22] for label in labels]).reshape(1 + len(budgets), len(clean))
    columns = 1 + 2 * len(budgets)
    figure, axes = plt.subplots(
        len(clean), columns, figsize=(1.5 * columns, 1.7 * len(clean)), squeeze=False, layout="constrained"
    )
    for row, image in enumerate(clean):
        _show(axes[row, 0], image, f"{names[0, row]}\nclean")
        for column, budget in enumerate(budgets, 1):
            difference = gallery[budget][row] - image
            size = np.abs(difference).max() or 1.0
            _show(axes[row, 2 * column - 1], gallery[budget][row], f"{names[column, row]}\n{budget:,} queries")
            title = f"L2 {np.linalg.norm(difference):.3g}\ndifference x{0.5 / size:.3g}"
            _show(axes[row, 2 * column], 0.5 + difference / (2 * size), title)
    run.plot(
        "gallery", figure, f"Clean and adversarial images with their labels; differences magnified. {victim.licence}."
    )
    plt.close(figure)


def _show(axis, image, title):
    axis.imshow(np.clip(image.squeeze(), 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=6)
    axis.set_axis_off()


def draw_study(result: dict) -> Any:
    """Returns the figure of a study, median distances and ratios to alpha = 2 over queries; the caller closes it."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 8), layout="constrained", sharex=True)
    grid, arms = np.asarray(result["grid"], float), result["arms"]
    is_walk = grid >= min(START, result["budget"] / 10)
    alphas = sorted({row["alpha"] for row in arms})
    colours = dict(zip(alphas, plt.colormaps["viridis"](np.linspace(0, 0.9, len(alphas))), strict=True))
    distances, legend, *panels = axes[0, 0], axes[1, 0], *axes[:, 1:].flat
    for row in arms:
        colour = RED if row["has_short_steps"] else colours[row["alpha"]]
        style = {"color": colour, "linestyle": DASHES[row["noise"]], "linewidth": 1.5}
        distances.plot(grid[is_walk], np.asarray(row["median"]["l2"], float)[is_walk], label=row["title"], **style)
        for axis, (kind, norm, _) in zip(panels, PANELS, strict=True):
            if kind in row:
                values = {name: np.asarray(line, float)[is_walk] for name, line in row[kind][norm].items()}
                axis.plot(grid[is_walk], values["ratio"], **style)
                axis.fill_between(grid[is_walk], values["low"], values["high"], color=colour, alpha=0.1, linewidth=0)
    for axis, (_, _, title) in zip(panels, PANELS, strict=True):
        axis.axhline(1, color=GREY, linewidth=0.8)
        axis.set(title=title, ylabel="ratio to alpha = 2; below 1 is nearer")
    distances.set(title="median L2 distance", xscale="log")
    curves.set_log(distances)
    for axis in (distances, *panels):
        axis.grid(alpha=0.2)
        axis.set_xlabel("queries")
    legend.legend(*distances.get_legend_handles_labels(), loc="center", fontsize=8)
    legend.set_axis_off()
    seeds = len(arms[0]["seeds"])
    figure.suptitle(f"{result['title']}: {result['images']} images, {seeds} seeds, 95 % intervals over images")
    return figure
