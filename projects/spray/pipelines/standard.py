"""The pipeline of SpRAy: maps of one class to its strategies, with the settings of the paper's tools."""

from collections.abc import Mapping

from projects.spray.pipelines import checks
from projects.spray.pipelines.pipeline import Chain, Pipeline, Slot, Step, step

PREPROCESSING: dict[str, tuple[Step, ...]] = {
    "absspectral": (step("reduce_channels", how="sum_abs"),),
    "spectral": (step("reduce_channels"),),
    "fullspectral": (),
    "histogram": (),
    "ssim": (step("reduce_channels"),),
    "pcc": (step("reduce_channels"),),
}
METRICS = {"ssim": "ssim", "pcc": "correlation"}


def preprocessing(variant: str = "absspectral", grid: int | tuple[int, int] | None = 16) -> Chain:
    """Returns the preprocessing of a variant: channels, a pooled grid, and each map divided by its sum of magnitudes.

    Args:
      variant: "absspectral" (magnitudes, summed over channels), "spectral" (summed over channels), "fullspectral"
          (channels stay), "histogram" (of values, 32 bins of one range), "ssim", "pcc" (compared by similarity).
      grid: of the pooled maps; None: not pooled. Histograms are of maps that are not pooled.
    """
    checks.one_of("variant", variant, tuple(PREPROCESSING))
    pooled = () if grid is None or variant == "histogram" else (step("pool", grid=grid),)
    last = {"histogram": (step("histogram"),), "ssim": ()}.get(variant, (step("flatten"),))
    return (*PREPROCESSING[variant], *pooled, step("normalize"), *last)


def spectral_clustering(
    variant: str = "absspectral",
    *,
    grid: int | tuple[int, int] | None = 16,
    k: int | None = None,
    q: int = 32,
    k_max: int | None = None,
    clusters: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8),
    views: Mapping[str, Step] | None = None,
    seed: int = 0,
    **slots: Slot,
) -> Pipeline:
    """Returns the pipeline from relevance maps of one class to clusters and views.

    Args:
      variant, grid: of the preprocessing; the metric of distances follows from the variant.
      k: neighbours; None: max(10, log n).
      q: eigenpairs; k_max: the largest number of strategies that the eigengap may choose.
      clusters: numbers of clusters of k-means, each of as many columns; beside them "eigengap" has the number that the
          spectrum speaks for.
      views: steps by name; by default t-SNE of the embedding.
      seed: of everything that draws.
      **slots: steps in the place of the standard ones, by slot.
    """
    if max(clusters, default=0) > q:
        raise ValueError(f"clusters={clusters}: more than q={q} columns of the embedding; take a larger q")
    standard: dict[str, Slot] = {
        "preprocessing": preprocessing(variant, grid),
        "distance": step("knn", k=k, metric=METRICS.get(variant, "euclidean")),
        "affinity": step("graph"), "laplacian": step("normalized"), "embedding": step("spectral", q=q, seed=seed),
        "select": step("eigengap", k_max=k_max),
        "clustering": {
            "eigengap": step("kmeans", seed=seed), "kmeans": step("spectral_kmeans", k=tuple(clusters), seed=seed),
        },
        "views": {"tsne": step("tsne", seed=seed)} if views is None else dict(views),
    }  # fmt: skip
    return Pipeline({name: slot for name, slot in (standard | slots).items() if slot})
