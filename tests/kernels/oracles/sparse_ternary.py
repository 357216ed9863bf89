"""Sparse ternary compression of one vector in float64 NumPy, by sorting; slow.

Source: F. Sattler et al., arXiv:1903.02891, Algorithm 1; ties by index, zeros never.
"""

import numpy as np


def threshold(x, k: int) -> float:
    """The k-th largest magnitude."""
    return float(np.sort(np.abs(np.asarray(x, np.float64)))[-k])


def mask(x, k: int) -> np.ndarray:
    """The first k by falling magnitude, those of equal magnitude by index, without zeros."""
    magnitudes = np.abs(np.asarray(x, np.float64))
    ranking = sorted(range(len(magnitudes)), key=lambda i: (-magnitudes[i], i))
    selected = np.zeros(len(magnitudes), bool)
    selected[[i for i in ranking[:k] if magnitudes[i] != 0]] = True
    return selected


def ternarize(x, k: int) -> tuple[np.ndarray, float, np.ndarray]:
    """(mask, mu, signs)."""
    x, selected = np.asarray(x, np.float64), mask(x, k)
    mu = float(np.abs(x[selected]).mean()) if selected.any() else 0.0
    return selected, mu, np.where(selected, np.sign(x), 0).astype(int)


def majority_vote(signs) -> np.ndarray:
    """The more frequent sign of each column, 0 where both are as frequent."""
    signs = np.asarray(signs)
    positive, negative = (signs > 0).sum(0), (signs < 0).sum(0)
    return (positive > negative).astype(int) - (negative > positive).astype(int)
