"""From soft labels to hard ones: a network of labels and the values that they stand for."""

import bisect
import dataclasses
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from common import weight_files
from kernels import soft_entropy
from projects.entropy_training import relaxation
from projects.entropy_training.config import TrainConfig

FACTORS = 2.0 ** np.arange(0.0, 8.1, 0.125)  # on the price of a bit, where a file must have a size


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A network of hard labels.

    Attributes:
      labels: layer name -> int32 of the kernel's shape.
      centroids: layer name -> float32 [K], the middle one 0.
      rest: path -> array of everything that is no kernel: biases, norms, running statistics.
    """

    labels: Mapping[str, np.ndarray]
    centroids: Mapping[str, np.ndarray]
    rest: Mapping[str, np.ndarray]

    @property
    def paths(self) -> set[str]:
        """Of the kernels: "fc1/kernel"."""
        return {f"{name}/kernel" for name in self.labels}

    @property
    def nonzero_share(self) -> float:
        """The share of weights whose label is not the zero."""
        nonzero = sum(np.count_nonzero(q != len(self.centroids[name]) // 2) for name, q in self.labels.items())
        return float(nonzero / sum(labels.size for labels in self.labels.values()))

    def tree(self) -> dict:
        """The weights as nested dicts, for the plain network."""
        kernels = {f"{name}/kernel": self.centroids[name][labels] for name, labels in self.labels.items()}
        return weight_files.nest({**self.rest, **kernels})

    def with_rest_of(self, tree: Mapping) -> "Labelled":
        """Returns these labels and centroids with all else from a tree of weights."""
        flat = weight_files.flatten(tree)
        return dataclasses.replace(self, rest={path: flat[path] for path in flat if path not in self.paths})


def harden(
    network: nnx.Module, settings: TrainConfig, sharpness: float, iterations: int = 0, factor: float = 1.0
) -> Labelled:
    """Returns the network with a label for every weight: its most probable one, or what `entropy.ecsq` makes of it.

    Args:
      network: with latent weights.
      settings: `harden_weight` scales the price of a bit, 2 ln 2 / beta for the most probable label; without soft
        labels (ste) the nearest centroid is what the network was trained with.
      sharpness: beta d^2 / 2 of the labels so far.
      iterations: of `ecsq` on the means of the soft labels, which also moves the centroids; 0 keeps them.
      factor: scales the price too.
    """
    tree, grids = relaxation.stored_trees(network)
    flat, labels, centroids = weight_files.flatten(tree), {}, {}
    for name, layer in relaxation.coded_layers(network).items():
        kernel, grid = flat.pop(f"{name}/kernel"), grids[name].astype(np.float32)
        if hasattr(layer, "logits"):
            nearest = np.asarray(jnp.argmax(layer.logits[...], axis=-1), np.int32)
        else:
            weight = 0.0 if settings.parametrisation == "ste" else factor * settings.harden_weight
            price = weight * 2 * soft_entropy.LN2 / float(relaxation.beta_of(jnp.asarray(grid), sharpness))
            nearest, grid = _cheapest(kernel, grid, price, iterations, name)
        labels[name], centroids[name] = nearest, grid
    return Labelled(labels, centroids, flat)


def _cheapest(kernel: np.ndarray, grid: np.ndarray, price: float, iterations: int, name: str):
    """Returns labels of a kernel at a price of a bit in squared weights, and the grid, moved where `ecsq` iterates."""
    levels = len(grid)
    shares = np.bincount(soft_entropy.assign(kernel, grid, np.ones(levels), 0.0).reshape(-1), minlength=levels)
    labels = soft_entropy.assign(kernel, grid, shares / kernel.size, price)
    if not iterations or price == 0:
        return labels, grid
    used, grid = np.union1d(np.unique(labels), levels // 2), grid.copy()
    ranks, grid[used], _ = soft_entropy.ecsq(
        grid[labels], rate_weight=price, iterations=iterations, centroids=grid[used], name=name
    )
    return used[ranks].astype(np.int32), grid


def harden_to(target: int, size: Callable[[Labelled], int], at: Callable[[float], Labelled]) -> tuple[Labelled, float]:
    """Returns the network at the lowest price of a bit at which it fits, and the factor on that price.

    Args:
      target: the largest size in bytes; where no price reaches it with weights other than 0, the factor is 1.
      size: of a file with these labels.
      at: makes the network for a factor.
    """
    index = bisect.bisect_left(FACTORS, True, key=lambda factor: size(at(factor)) <= target)
    if index < len(FACTORS) and (labelled := at(float(FACTORS[index]))).nonzero_share > 0:
        return labelled, float(FACTORS[index])
    return at(1.0), 1.0
