"""Heatmaps as files, and the pictures of the report."""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from common import config
from kernels import attribution
from projects.attribution import batches, inputs, text

SHOWN = 16  # samples in the picture of the report
BESIDE = 6  # methods beside each other in a grid: more stand below, so that each map can be read on a page
LEAST_SIDE = 224  # small heatmaps are enlarged to about this, by whole factors


def check_colormap(text: str) -> None:
    """Raises FlagError where a colour map cannot be read."""
    try:
        attribution.colormap(text)
    except ValueError as error:
        raise config.FlagError(f"--cmap: {error}") from None


def heatmap(relevance: np.ndarray, cmap: str = "coldnhot", level: float = 1.0) -> np.ndarray:
    """Returns relevance `[height, width, channels]`, summed over channels, as uint8 RGB; zero is the centre."""
    return attribution.imgify(relevance.sum(-1), cmap=cmap, level=level, symmetric=True)


def save_heatmaps(output: pathlib.Path, paths, settings) -> list[pathlib.Path]:
    """Writes one PNG for each of the first samples; returns the files."""
    outputs = []
    for path in paths:
        if len(outputs) >= settings.pictures:
            break
        piece = batches.load(path)
        for number, target, relevance in zip(piece["index"], piece["target"], piece["relevance"], strict=True):
            if len(outputs) >= settings.pictures:
                break
            pixels = heatmap(relevance, settings.cmap, settings.level)
            factor = max(1, LEAST_SIDE // max(pixels.shape[:2]))
            outputs.append(output / f"{number:06d}_class_{target}.png")
            Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1)).save(outputs[-1])
    return outputs


def draw(run, settings, paths, samples: inputs.Samples, network) -> None:
    """Leaves the plots of the report: samples beside their heatmaps, and the sums of relevance against the outputs."""
    piece = batches.first(paths, SHOWN)
    count = len(piece["index"])
    columns = min(4, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, 2 * columns, figsize=(3.2 * columns, 1.85 * rows), squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for place in range(count):
        left, right = axes[place // columns, 2 * (place % columns) :][:2]
        left.imshow(_shown(samples, piece["x"][place], place), cmap="gray", **_range(samples))
        right.imshow(heatmap(piece["relevance"][place], settings.cmap, settings.level))
        predicted, target = int(piece["prediction"][place].argmax()), int(piece["target"][place])
        left.set_title(label_of(samples, place, network.classes[predicted]), fontsize=8)
        right.set_title("" if predicted == target else f"for {_short(network.classes[target])}", fontsize=8)
    figure.tight_layout(pad=0.4)
    run.plot("heatmaps", figure, f"Inputs under the predicted class, and what {settings.method} finds in them.")
    plt.close(figure)
    _draw_sums(run, settings, paths)


def _draw_sums(run, settings, paths) -> None:
    points = []
    for path in paths:  # a batch in memory at a time
        piece = batches.load(path)
        points.append(np.stack([batches.explained_outputs(piece), batches.sums(piece)]))
    outputs, totals = np.concatenate(points, axis=1)
    figure, axis = plt.subplots(figsize=(4.6, 3.6))
    axis.scatter(outputs, totals, s=9, color="#1f83c6", alpha=0.6, linewidths=0)
    axis.axline((0, 0), slope=1, color="#888888", linewidth=1)
    axis.set_xlabel("explained output")
    axis.set_ylabel("sum of the map")
    figure.tight_layout()
    run.plot("sums", figure, "What the maps hold of the explained outputs; on the line nothing is lost or gained.")
    plt.close(figure)


def _shown(samples: inputs.Samples, x: np.ndarray, place: int) -> np.ndarray:
    """The image itself, or an input spread over [0, 1]."""
    if samples.images is not None:
        return samples.images[place].squeeze()
    return ((x - x.min()) / max(float(np.ptp(x)), 1e-12)).squeeze()


def _range(samples: inputs.Samples) -> dict:
    """Black and white of pictures: those of their format, not their own darkest and brightest."""
    return {"vmin": 0, "vmax": 1 if samples.images is None else 255}


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def draw_grid(run, name: str, samples: inputs.Samples, network, x, target, maps: dict, settings) -> pathlib.Path:
    """Leaves one picture with a row for each image, named by its file and the explained class, and a column a method.

    More than BESIDE methods stand in bands below each other, each with all images.
    """
    count, names = min(SHOWN, samples.count), list(maps)
    bands = [names[start : start + BESIDE] for start in range(0, len(names), BESIDE)]
    columns = 1 + len(bands[0])
    figure, axes = plt.subplots(
        count * len(bands), columns, figsize=(1.55 * columns + 0.6, (1.6 * count + 0.6) * len(bands)), squeeze=False
    )
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    for number, band in enumerate(bands):
        rows = axes[number * count : (number + 1) * count]
        for axis, method in zip(rows[0], ("input", *band), strict=False):
            axis.set_title(_in_lines(method), fontsize=9)
        for row, axis in enumerate(rows):
            axis[0].imshow(_shown(samples, x[row], row), cmap="gray", **_range(samples))
            axis[0].set_ylabel(label_of(samples, row, network.classes[int(target[row])]), fontsize=8)
            for place, method in enumerate(band, 1):
                axis[place].imshow(heatmap(maps[method][row], settings.cmap, settings.level))
    figure.tight_layout(pad=0.4)
    path = run.plot(name, figure, "The class at the left explained by every method; each map has its own scale.")
    plt.close(figure)
    return path


def label_of(samples: inputs.Samples, place: int, text: str) -> str:
    """Returns what stands at a sample: a class, below the name of its file where it has one."""
    return f"{_short(samples.names[place])}\n{_short(text)}" if samples.has_files else _short(text)


def colors_of(names) -> dict[str, tuple]:
    """Returns a colour for each method, the same in every picture of the same methods."""
    palette = plt.get_cmap("tab20")
    return {name: palette(number % 20) for number, name in enumerate(sorted(set(names)))}


def _in_lines(name: str, width: int = 15) -> str:
    """A name of a method, broken between its words."""
    lines = [""]
    for word in name.split("_"):
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def draw_methods(run, name: str, images: np.ndarray, maps: dict[str, np.ndarray]) -> pathlib.Path:
    """Leaves one picture with a row for each image and a column for each method; returns its path."""
    figure, axes = plt.subplots(
        len(images), len(maps) + 1, figsize=(1.25 * (len(maps) + 1), 1.3 * len(images) + 0.9), squeeze=False
    )
    for row, image in enumerate(images):
        axes[row, 0].imshow(image.squeeze(), cmap="gray")
        for column, relevance in enumerate(maps.values(), 1):
            axes[row, column].imshow(heatmap(relevance[row]))
    for axis, method in zip(axes[0], ("input", *maps), strict=True):
        axis.set_title(method.replace("_", "\n", 1).replace("_", " "), fontsize=7)
    for axis in axes.ravel():
        axis.axis("off")
    figure.tight_layout(pad=0.3)
    path = run.plot(name, figure, "The predicted class explained by every composite; each map has its own scale.")
    plt.close(figure)
    return path


def draw_curves(run, curves: dict, perturbed: np.ndarray, score: str) -> pathlib.Path:
    """Leaves the perturbation curves of all methods, means over samples: the most relevant first, and the least."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    colors = colors_of(name for name in curves if name != "random")
    for panel, order, title in zip(
        panels, ("morf", "lerf"), ("most relevant first", "least relevant first"), strict=True
    ):
        for name, both in curves.items():
            style = {"color": "black", "linestyle": "--"} if name == "random" else {"color": colors[name]}
            panel.plot(perturbed, both.get(order, both["morf"]), label=name.replace("_", " "), linewidth=1.4, **style)
        panel.set_xlabel(f"share of regions perturbed, {title}")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"{score} of the explained class")
    panels[1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    path = run.plot("curves", figure, "At the left lower is better, at the right higher; dashed: random orders.")
    plt.close(figure)
    return path


def draw_randomization(run, by_method: dict) -> pathlib.Path:
    """Leaves how alike the maps stay while layers are randomised from the top down."""
    figure, axis = plt.subplots(figsize=(7.5, 4))
    colors = colors_of(by_method)
    for name, layers in by_method.items():
        means = [1.0, *(one["mean"] for one in layers.values())]
        axis.plot(range(len(means)), means, label=name.replace("_", " "), color=colors[name], linewidth=1.4)
    names = ["none", *next(iter(by_method.values()))]
    axis.set_xticks(range(len(names)), [_short(name) for name in names], rotation=60, ha="right", fontsize=6)
    axis.set_ylabel("rank correlation with the maps before")
    axis.set_xlabel("layers randomised down to")
    axis.axhline(0, color="#888888", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    path = run.plot("randomization", figure, "A map that stays as it was does not explain what was randomised.")
    plt.close(figure)
    return path


def draw_texts(run, sentences, maps: dict[str, np.ndarray], cmap: str, level: float) -> pathlib.Path:
    """Leaves the first sentences as coloured characters, a row for each method; returns the path."""
    width = max(sentence.stem_end + 1 for sentence in sentences)
    figure, axes = plt.subplots(
        len(sentences) * len(maps), 1, figsize=(0.155 * width + 2.2, 0.36 * len(sentences) * len(maps)), squeeze=False
    )
    rows = iter(axes[:, 0])
    for place, sentence in enumerate(sentences):
        for name, relevance in maps.items():
            axis, end = next(rows), sentence.stem_end + 1
            grounds = text.colours(relevance[place, :end], cmap, level)
            axis.imshow(grounds[None], extent=(0, end, 0, 1), aspect="auto")
            for number, (character, ground) in enumerate(zip(sentence.text[:end], grounds, strict=True)):
                style = {"color": text.ink(ground), "family": "monospace", "fontsize": 9}
                axis.text(number + 0.5, 0.5, character, ha="center", va="center", **style)
            axis.text(-0.6, 0.5, name.replace("_", " "), ha="right", va="center", fontsize=8)
            axis.set(xlim=(0, width), xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    figure.tight_layout(pad=0.2)
    path = run.plot("texts", figure, "What the verb hangs on, character by character; each row has its own scale.")
    plt.close(figure)
    return path


def draw_frames(run, curves: dict[str, np.ndarray], sounding: np.ndarray) -> pathlib.Path:
    """Leaves the mean share of relevance by frame, for each method, above how often the frame has sound.

    Args:
        curves: by method, `[frames]`, summing to 1. sounding: `[frames]`, the share of recordings.
    """
    figure, axis = plt.subplots(figsize=(8, 3.8))
    frames, colors = np.arange(len(sounding)), colors_of(curves)
    axis.fill_between(frames, 0, sounding * max(curve.max() for curve in curves.values()), color="#dddddd", step="mid",
                      label="has sound (share of recordings)")  # fmt: skip
    for name, curve in curves.items():
        axis.plot(frames, curve, label=name.replace("_", " "), color=colors[name], linewidth=1.4)
    axis.set(xlabel="frame", ylabel="share of the relevance", xlim=(0, len(sounding) - 1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    path = run.plot("frames", figure, "Where relevance lies in time; frames outside of the grey hold noise alone.")
    plt.close(figure)
    return path
