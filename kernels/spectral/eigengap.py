"""How many clusters a spectrum speaks for: the largest gap between neighbouring eigenvalues of a Laplacian.

Source: U. von Luxburg, A Tutorial on Spectral Clustering, arXiv:0711.0189, section 8.3.
"""

import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Array, Bool, Count, Float, Int32, Integer

MOST = 16  # clusters that are considered, where it is not chosen
REPORTED = 3  # largest gaps


class Eigengap(NamedTuple):
    """Gaps of a spectrum.

    Attributes:
      k: int32, the number of clusters: the place of the largest gap, counted from 1. 1 means one cluster.
      gaps: [k_max], lambda_(k+1) - lambda_k for k = 1 to k_max.
      relative: [k_max], the same over max(lambda_k, 1/n), or over lambda_k where n was not passed.
      largest: int32 [3 or fewer], the places of the largest gaps, the largest first.
      components: int32, the number of connected components, or -1.
      is_cut: whether k is the last place of the spectrum, or it ends among the components: larger gaps may lie beyond.
    """

    k: Int32[Array, ""]
    gaps: Float[Array, " k_max"]
    relative: Float[Array, " k_max"]
    largest: Int32[Array, " places"]
    components: Int32[Array, ""]
    is_cut: Bool[Array, ""]


def eigengap(
    eigenvalues: Float[AnyArray, " q"],
    k_max: Count | None = None,
    components: Count | Integer[AnyArray, ""] | None = None,
    n: Count | None = None,
) -> Eigengap:
    """K = argmax over 1 <= k <= k_max of lambda_(k+1) - lambda_k; the first of equal ones.

    Args:
      eigenvalues: ascending, at least two.
      k_max: 1 to q - 1; None: 16 or q - 1, the smaller.
      components: of the graph, to stand beside K. There are as many eigenvalues 0, so that K is never read among them:
        it is at least `components` where the spectrum reaches so far.
      n: samples; for `relative`.

    Raises:
      ValueError: fewer than two eigenvalues, ones that are not finite or not ascending; a bad k_max, components or n.
        Warns, where values are concrete, of a K at the cut of the spectrum.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import spectral
      >>> gap = spectral.eigengap(jnp.array([0.0, 0.0, 0.5, 0.625]))
      >>> int(gap.k), gap.gaps.tolist()
      (2, [0.0, 0.5, 0.125])
    """
    values = jnp.asarray(eigenvalues)
    if values.ndim != 1 or values.shape[0] < 2 or values.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"eigenvalues are {values.dtype} of shape {values.shape}: expected at least two of float32 or float64"
        )
    if not scalars.is_traced(values):
        _check_spectrum(np.asarray(values))
    q = values.shape[0]
    most = (
        min(MOST, q - 1) if k_max is None else scalars.whole("k_max", k_max, 1, q - 1, why=f", as there are {q} values")
    )
    if components is not None and not scalars.is_traced(components):
        components = scalars.whole("components", components, 1)
    if n is not None:
        n = scalars.whole("n", n, 1)
    gaps = values[1 : most + 1] - values[:most]
    least = jnp.asarray(1 / n if n else jnp.finfo(values.dtype).tiny, values.dtype)
    relative = gaps / jnp.maximum(values[:most], least)
    count = jnp.asarray(-1 if components is None else components, jnp.int32)
    is_open = jnp.arange(1, most + 1) >= jnp.minimum(count, most)
    ranked = jnp.where(is_open, gaps, -jnp.inf)
    k = (jnp.argmax(ranked) + 1).astype(jnp.int32)
    largest = (jnp.argsort(-ranked, stable=True)[: min(REPORTED, most)] + 1).astype(jnp.int32)
    is_cut = (k == most) & ((most == q - 1) | (count > most)) | (count >= q)
    if not scalars.is_traced(is_cut) and bool(is_cut):
        beside = "" if components is None else f", and there are {int(count)} components"
        warnings.warn(
            f"K={int(k)} is read at the cut of a spectrum of {q} eigenvalues{beside}: larger gaps may lie beyond; "
            "compute more eigenvalues",
            stacklevel=2,
        )
    return Eigengap(k, gaps, relative, largest, count, is_cut)


def _check_spectrum(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"eigenvalues hold {np.count_nonzero(~np.isfinite(values))} NaN or infinite values")
    steps = np.diff(values)
    if (steps < -1e-4).any():  # what single precision may swap
        at = int(np.argmin(steps))
        raise ValueError(
            f"eigenvalues fall from {values[at]:.6g} to {values[at + 1]:.6g} at number {at + 1}: expected those of a "
            "Laplacian, ascending"
        )
