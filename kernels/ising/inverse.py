"""The inverse Ising problem: couplings from correlations, by three expansions; the correlations of given couplings.

Naive mean field, independent pairs, and Sessak and Monasson (J. Phys. A 42, 055001), all at zero magnetisation.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Float, Float64, Real, Scalar
from . import energies
from .exact import check_beta, states

__all__ = [
    "EXPANSIONS",
    "exact_correlations",
    "expansions",
    "pair_means",
]

EXPANSIONS = ("mean field", "independent pairs", "Sessak-Monasson")


def exact_correlations(J: Real[AnyArray, "n n"] | Sequence, beta: Scalar) -> Float[np.ndarray, "n n"]:
    """Returns <s_i s_j> [n, n] of up to 24 spins without fields, by enumeration: a second for 20.

    Raises:
      ValueError: couplings that do not fit, more spins, a bad beta.
    """
    check_beta(beta)
    blocks = [(spins, energies.pairwise(spins, J)) for spins in states(len(J))]
    lowest = min(energy.min() for _, energy in blocks)
    total, norm = np.zeros((len(J), len(J))), 0.0
    for spins, energy in blocks:
        weights, s = np.exp(-beta * (energy - lowest)), spins.astype(np.float64)
        total, norm = total + (s * weights[:, None]).T @ s, norm + weights.sum()
    return total / norm


def expansions(C: Real[AnyArray, "n n"] | Sequence, beta: Scalar) -> dict[str, Float[np.ndarray, "n n"]]:
    """Returns name (of EXPANSIONS) to couplings [n, n], from correlations [n, n] at zero magnetisation.

    Raises:
      ValueError: no correlations, or singular ones, or a beta of 0.
    """
    C = checked_correlations(C, beta)
    try:
        inverse = np.linalg.inv(C)
    except np.linalg.LinAlgError:
        raise ValueError("C is singular: some spins always agree or differ; take a smaller beta or more data") from None
    off_diagonal = ~np.eye(len(C), dtype=bool)
    pairs = np.where(off_diagonal, np.clip(C, -1 + 1e-12, 1 - 1e-12), 0)
    couplings = (
        -inverse / beta,
        np.arctanh(pairs) / beta,
        (-inverse + np.arctanh(pairs) - pairs / (1 - pairs**2)) / beta,
    )
    return {name: np.where(off_diagonal, J, 0) for name, J in zip(EXPANSIONS, couplings, strict=True)}


def checked_correlations(C: Real[AnyArray, "n n"] | Sequence, beta: Scalar) -> Float64[np.ndarray, "n n"]:
    """Returns C in double; raises a ValueError unless it holds correlations, and beta is more than 0."""
    C = np.asarray(C, np.float64)
    if C.ndim != 2 or C.shape[0] != C.shape[1] or len(C) < 2:
        raise ValueError(f"C of shape {list(C.shape)}: expected correlations [n, n] of at least 2 spins")
    if not np.allclose(C, C.T) or np.abs(C).max() > 1 + 1e-6 or not np.allclose(np.diagonal(C), 1):
        raise ValueError("C holds no correlations <s_i s_j>: they are symmetric, from -1 to 1, and 1 on the diagonal")
    check_beta(beta)
    if beta == 0:
        raise ValueError(f"beta={beta}: there correlations say nothing of couplings; expected a number above 0")
    return C


def pair_means(s: Real[AnyArray, "samples n"], J: Real[AnyArray, "n n"], beta: Scalar) -> Float[Array, "samples n n"]:
    """Returns <s_i s_j given all other spins> [n, i, j] of spins [n, i]: the same mean under p, with far less noise.

    With fields a, b of the other spins and c = beta J_ij it is tanh(c + atanh(tanh a tanh b)).
    """
    fields = s @ J
    t = jnp.tanh(beta * (fields[:, :, None] - J * s[:, None, :]))  # [n, i, j]: on i, without j
    product, coupling = t * t.swapaxes(1, 2), jnp.tanh(beta * J)
    return (coupling + product) / (1 + coupling * product)
