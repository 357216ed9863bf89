"""Pictures of a training for the report: curves, sparsity of each layer, the weights that stay, the input layer."""

import matplotlib
import numpy as np

from common import app, weight_files
from common.publishing import curves
from common.runs import metrics

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend first: no display is needed)

CURVE_COLOURS = ("#1f5f8b", "#c8553d")
MOST_FILTERS = 64  # first-layer filters in the picture


def draw(run: app.Run, weights: dict) -> None:
    """Writes the pictures of a finished training to `run.plots`.

    Args:
      run: with its metrics.csv.
      weights: nested dict of the stored weights.
    """
    flat = weight_files.flatten(weights)
    kernels = {path.removesuffix("/kernel"): value for path, value in flat.items() if path.endswith("/kernel")}
    if run.is_main:
        _, rows = metrics.read(run.metrics.path)
        draw_curves(run, rows)
        draw_layers(run, rows, list(kernels))
        draw_histograms(run, kernels)
        draw_input_layer(run, next(iter(kernels)), next(iter(kernels.values())))


def draw_curves(run: app.Run, rows: list[dict[str, str]]) -> None:
    """Loss on the left axis, validation error in per cent on the right, over steps."""
    figure, axis = plt.subplots(figsize=(6, 3.4))
    axis.plot(*curves.series(rows, "cross_entropy"), color=CURVE_COLOURS[0], linewidth=1)
    axis.set_xlabel("step")
    curves.set_log(axis)
    axis.set_ylabel("training cross entropy (nats)", color=CURVE_COLOURS[0])
    errors = axis.twinx()
    steps, accuracies = curves.series(rows, "validation_accuracy")
    errors.plot(steps, 100 * (1 - accuracies), color=CURVE_COLOURS[1], marker=".", linewidth=1)
    errors.set_ylim(0)
    errors.set_ylabel("validation error (%)", color=CURVE_COLOURS[1])
    run.plot("training", figure, "Training loss (with noise, if any) and validation error of the pruned network.")
    plt.close(figure)


def draw_layers(run: app.Run, rows: list[dict[str, str]], names: list[str]) -> None:
    """Share of nonzero weights of each layer over steps."""
    figure, axis = plt.subplots(figsize=(6, 3.4))
    colours = plt.colormaps["viridis"](np.linspace(0, 0.9, len(names)))
    for name, colour in zip(names, colours, strict=True):
        steps, shares = curves.series(rows, f"nonzero/{name}")
        axis.plot(steps, 100 * np.maximum(shares, 1e-5), color=colour, label=name)
    axis.set(xlabel="step", ylabel="nonzero weights (%)")
    curves.set_log(axis)
    axis.legend(fontsize=7, ncols=1 + len(names) // 7)
    run.plot("sparsity", figure, "Nonzero weights of each layer during the training.")
    plt.close(figure)


def draw_histograms(run: app.Run, kernels: dict[str, np.ndarray]) -> None:
    """Histogram of the nonzero weights of each layer."""
    columns = min(4, len(kernels))
    rows = -(-len(kernels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.1 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(kernels) :]:
        axis.set_axis_off()
    for axis, (name, kernel) in zip(axes.flat, kernels.items(), strict=False):
        kept = kernel[kernel != 0]
        axis.hist(kept, bins=61, color=CURVE_COLOURS[0])
        axis.set_title(f"{name}: {kept.size:,} of {kernel.size:,}", fontsize=8)
        axis.tick_params(labelsize=7)
    run.plot("weights", figure, "The weights that are not zero.")
    plt.close(figure)


def draw_input_layer(run: app.Run, name: str, kernel: np.ndarray) -> None:
    """The filters of a first convolution, or how many weights of a first dense layer read each pixel."""
    if kernel.ndim == 4:
        filters = np.moveaxis(kernel, 3, 0)[:MOST_FILTERS].mean(axis=3)
        columns = min(10, len(filters))
        figure, axes = plt.subplots(
            -(-len(filters) // columns), columns, figsize=(6, 0.64 * -(-len(filters) // columns))
        )
        limit = np.abs(filters).max() or 1.0
        for axis in np.ravel(axes):
            axis.set_axis_off()
        for axis, picture in zip(np.ravel(axes), filters, strict=False):
            axis.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
        caption = f"Filters of {name} (mean over input channels): red positive, blue negative, white zero."
    else:
        side = int(round(kernel.shape[0] ** 0.5))
        if side * side != kernel.shape[0]:
            return
        figure, axis = plt.subplots(figsize=(3.6, 3))
        picture = axis.imshow(np.count_nonzero(kernel, axis=1).reshape(side, side), cmap="magma")
        figure.colorbar(picture, ax=axis, label="nonzero weights")
        axis.set_axis_off()
        caption = f"How many weights of {name} read each pixel: the border, where no digit ever is, is left out."
    run.plot("input_layer", figure, caption)
    plt.close(figure)
