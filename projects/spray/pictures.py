"""The pictures of an analysis: eigenvalues and their gap, maps as points, mean maps, medoids, tau beside its null."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from common import app
from kernels import attribution
from projects.spray.strategies import Strategies

COLORS = plt.get_cmap("tab10").colors
GREY, BLUE, RED = "#9a9a9a", "#1f77b4", "#c0392b"
MEDOIDS = 6  # shown of each cluster
MOST_ROWS = 8  # clusters that are shown


def draw_class(
    run: app.Run, number: int, result: Strategies, k: int | None = None, marked: np.ndarray | None = None
) -> None:
    """Leaves the eigenvalues of a class and its maps as points, coloured by k clusters (None: as the eigengap has it).

    Maps that are `marked`, bool `[n]`, get a ring.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.4))
    values, by_gap = result.eigenvalues, result.k
    places = np.arange(1, len(values) + 1)
    left.plot(places, values, "o", markersize=4, color=GREY)
    left.plot(places[:by_gap], values[:by_gap], "o", markersize=5, color=BLUE)
    if by_gap < len(values):
        left.axvspan(by_gap, by_gap + 1, color=BLUE, alpha=0.12, linewidth=0)
        left.annotate(
            f"largest gap: {by_gap} {'strategy' if by_gap == 1 else 'strategies'}", (by_gap + 1.2, values[by_gap]),
            xytext=(6, -12), textcoords="offset points", fontsize=8,
        )  # fmt: skip
    left.set(
        xlabel="number", ylabel="eigenvalue of the Laplacian", title=f"Class {number}, {len(result.features)} maps"
    )
    k = result.k if k is None else k
    scatter(right, result, k if k in result.labels else min(result.labels, default=0), marked)
    figure.tight_layout()
    caption = "Eigenvalues with the gap marked; each map a point (t-SNE of eigenvectors), coloured by its cluster."
    run.plot(f"class_{number:03d}", figure, caption)
    plt.close(figure)


def scatter(axis, result: Strategies, k: int, marked: np.ndarray | None = None) -> None:
    """Draws the maps of a class as points; `marked`, bool `[n]`, get a ring."""
    labels = result.labels.get(k, np.zeros(len(result.view), int))
    for cluster in range(labels.max() + 1):
        members = labels == cluster
        axis.scatter(
            *result.view[members].T, s=7, color=COLORS[cluster % len(COLORS)], linewidths=0, alpha=0.8,
            label=f"{cluster}: {members.sum()}",
        )  # fmt: skip
    if marked is not None and marked.any():
        axis.scatter(
            *result.view[marked].T, s=22, facecolors="none", edgecolors="black", linewidths=0.6, label="planted"
        )
    axis.set(xticks=[], yticks=[], title=f"{labels.max() + 1} clusters" if k else "one strategy")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, markerscale=1.6)


def draw_ranking(run: app.Run, rows: dict) -> None:
    """Leaves tau of every class beside the draws of its null."""
    figure, axis = plt.subplots(figsize=(7.2, 0.36 * len(rows) + 1.2))
    for place, row in enumerate(reversed(rows.values())):
        axis.plot(row["draws"], np.full(len(row["draws"]), place), "|", color=GREY, markersize=9)
        is_suspicious = row["p_beside_others"] <= 0.05
        axis.plot(row["tau"], place, "D" if is_suspicious else "o", color=RED if is_suspicious else BLUE, markersize=6)
    axis.set_yticks(range(len(rows)), [f"class {number}" for number in reversed(rows)])
    axis.set(xlabel="Fisher separability of the most separable cluster (grey: of maps without clusters)")
    figure.tight_layout()
    run.plot("ranking", figure, "The most separable class first; a red diamond stands out from the other classes.")
    plt.close(figure)


def draw_clusters(
    run: app.Run, number: int, result: Strategies, k: int, relevance: np.ndarray, images: np.ndarray | None
) -> None:
    """Leaves the mean map of each cluster, and its medoids with their images.

    Args:
      run, number: where, and of which class.
      result: of the class.
      k: number of clusters that are shown.
      relevance: the maps of the class, `[n, height, width, channels]`.
      images: uint8 `[n, height, width, channels]`, None where there are none.
    """
    labels = result.labels.get(k, np.zeros(len(result.features), int))
    clusters = range(min(labels.max() + 1, MOST_ROWS))
    pairs = 2 if images is not None else 1
    figure, axes = plt.subplots(
        len(clusters), 1 + pairs * MEDOIDS, figsize=(1.05 * (1 + pairs * MEDOIDS), 1.15 * len(clusters) + 0.3),
        squeeze=False,
    )  # fmt: skip
    for axis in axes.ravel():
        axis.axis("off")
    for cluster in clusters:
        members = np.flatnonzero(labels == cluster)
        row = axes[cluster]
        row[0].imshow(heatmap(relevance[members].mean(0)))
        row[0].set_title(f"{cluster}: {len(members)}", fontsize=8)
        for place, medoid in enumerate(medoids(result, members)):
            row[1 + pairs * place].imshow(heatmap(relevance[medoid]))
            if images is not None:
                shown = images[medoid]
                row[2 + pairs * place].imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray")
    figure.tight_layout(pad=0.3)
    caption = "A row a cluster: its size over its mean map, then its medoids, the maps nearest to its centre" + (
        ", each beside its image." if images is not None else "."
    )
    if labels.max() >= MOST_ROWS:
        caption += f" The {MOST_ROWS} largest of {labels.max() + 1} clusters."
    run.plot(f"clusters_{number:03d}", figure, caption)
    plt.close(figure)


def medoids(result: Strategies, members: np.ndarray) -> np.ndarray:
    """Returns the members nearest to their mean among the eigenvectors, the nearest first."""
    rows = result.vectors[members, :8]
    return members[np.argsort(((rows - rows.mean(0)) ** 2).sum(1), kind="stable")[:MEDOIDS]]


def heatmap(relevance: np.ndarray) -> np.ndarray:
    """Returns relevance `[height, width, channels]`, summed over channels, as uint8 RGB; zero is the centre."""
    return attribution.imgify(relevance.sum(-1), cmap="coldnhot", symmetric=True)
