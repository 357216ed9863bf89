"""Pictures of trainings and attacks for the reports."""

import numpy as np

from common import app
from common.publishing import curves
from common.publishing.curves import plt
from common.runs import metrics
from kernels.boundary_attack import Result
from projects.levy_attack import victims

BLUE, RED = "#1f5f8b", "#c8553d"


def draw_training(run: app.Run) -> None:
    """Loss and validation error over the steps of a victim's training."""
    _, rows = metrics.read(run.metrics.path)
    figure, axis = plt.subplots(figsize=(6, 3.4))
    axis.plot(*curves.series(rows, "cross_entropy"), color=BLUE, linewidth=1)
    axis.set_xlabel("step")
    curves.set_log(axis)
    axis.set_ylabel("training cross entropy (nats)", color=BLUE)
    errors = axis.twinx()
    steps, accuracies = curves.series(rows, "validation_accuracy")
    errors.plot(steps, 100 * (1 - accuracies), color=RED, marker=".", linewidth=1)
    errors.set_ylim(0)
    errors.set_ylabel("validation error (%)", color=RED)
    run.plot("training", figure, "Training loss (of augmented images) and error on the images kept apart.")
    plt.close(figure)


def draw_attack(
    run: app.Run, result: Result, victim: victims.Victim, clean: np.ndarray, gallery: dict[int, np.ndarray]
) -> None:
    """Distances and step sizes over queries, and the images themselves at several numbers of queries."""
    draw_distances(run, result)
    draw_steps(run, result)
    if len(clean) and gallery:
        draw_gallery(run, victim, clean, gallery)


def quantiles(values: np.ndarray) -> np.ndarray:
    """Returns quartiles and median [3, T] over images; failures are infinite and not drawn."""
    found = np.quantile(values, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")
    return np.where(np.isfinite(found), found, np.nan)


def draw_distances(run: app.Run, result: Result) -> None:
    """The three norms of the best images over queries."""
    figure, axis = plt.subplots(figsize=(6, 3.6))
    for name, title, colour in (("l1", "L1", "#7a9a3a"), ("l2", "L2", BLUE), ("linf", "Linf", RED)):
        low, middle, high = quantiles(result.traces[name])
        axis.plot(result.grid, middle, color=colour, marker=".", label=title)
        axis.fill_between(result.grid, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.set(xlabel="queries", ylabel="distance to the clean image")
    axis.set_xscale("log")
    curves.set_log(axis)
    axis.legend()
    run.plot("distances", figure, "Median distance of the best image after so many queries, and quartiles over images.")
    plt.close(figure)


def draw_steps(run: app.Run, result: Result) -> None:
    """delta and eps over queries."""
    figure, axis = plt.subplots(figsize=(6, 3.4))
    is_under_way = result.grid[None] <= result.queries[:, None]
    for name, title, colour in (("delta", "along the boundary (delta)", BLUE), ("eps", "towards the image (eps)", RED)):
        values = np.where(is_under_way & np.isfinite(result.traces[name]), result.traces[name], np.nan)
        seen = np.isfinite(values).any(0)
        low, middle, high = np.nanquantile(values[:, seen], [0.25, 0.5, 0.75], axis=0)
        axis.plot(result.grid[seen], middle, color=colour, marker=".", label=title)
        axis.fill_between(result.grid[seen], low, high, color=colour, alpha=0.2, linewidth=0)
    axis.set(xlabel="queries", ylabel="step size / distance")
    axis.set_xscale("log")
    curves.set_log(axis)
    axis.legend()
    run.plot(
        "step_sizes", figure, "Step sizes in units of the distance: median and quartiles over images still walking."
    )
    plt.close(figure)


def draw_gallery(run: app.Run, victim: victims.Victim, clean: np.ndarray, gallery: dict[int, np.ndarray]) -> None:
    """Clean images, and for each number of queries the adversarial one and what differs, magnified."""
    budgets = sorted(gallery)
    shape = np.asarray(victim.predict(np.concatenate([clean, *(gallery[budget] for budget in budgets)])))
    labels = shape.reshape(1 + len(budgets), len(clean))
    columns = 1 + 2 * len(budgets)
    figure, axes = plt.subplots(
        len(clean), columns, figsize=(1.5 * columns, 1.7 * len(clean)), squeeze=False, layout="constrained"
    )
    for row, image in enumerate(clean):
        _show(axes[row, 0], image, f"{_name(victim, labels[0, row])}\nclean")
        for index, budget in enumerate(budgets):
            found = gallery[budget][row]
            difference = found - image
            size = np.abs(difference).max() or 1.0
            title = f"{_name(victim, labels[index + 1, row])}\n{budget:,} queries"
            _show(axes[row, 2 * index + 1], found, title)
            distance = np.linalg.norm(difference)
            _show(
                axes[row, 2 * index + 2],
                0.5 + difference / (2 * size),
                f"L2 {distance:.3g}\ndifference x{0.5 / size:.3g}",
            )
    run.plot(
        "gallery", figure, f"Clean and adversarial images with their labels; differences magnified. {victim.licence}."
    )
    plt.close(figure)


def _show(axis, image, title):
    axis.imshow(np.clip(image.squeeze(), 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=6)
    axis.set_axis_off()


def _name(victim: victims.Victim, label: int) -> str:
    return victim.classes[int(label)][:22]
