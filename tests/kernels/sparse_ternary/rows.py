"""Rows of numbers that a selection may go wrong with: ties, zeros, subnormals, heavy tails, far scales."""

import functools

import jax
import numpy as np

from kernels import sparse_ternary

N = 703  # no multiple of anything that rows are cut into
# 7 is selected by blocks of 10 entries, the others by halves of the bits of all.
SIZES = (7, 43, 350, N)


def rows(n: int, seed: int = 0, repeats: int = 5) -> np.ndarray:
    """float32 [rows, n], finite."""
    rng = np.random.default_rng(seed)
    kinds = []
    for _ in range(repeats):
        normal = rng.standard_normal(n)
        kinds += [
            normal,
            np.clip(rng.standard_cauchy(n) ** 3, -1e30, 1e30),
            np.round(normal),  # ties, many zeros
            np.where(rng.random(n) < 0.02, normal, 0),
            normal * 1e-20,
            normal * 1e20,
            normal * 1e-42,  # subnormal, with ties
            np.where(normal > 0, normal * 1e-42, normal),
            np.sign(normal) * 0.1,
            normal * np.exp2(rng.integers(-100, 100, n)),
            np.where(rng.random(n) < 0.9, 3.0, -4.0),
            neighbours(n, rng, np.float32(1)),
        ]
    kinds += [np.zeros(n), np.full(n, -0.0), np.eye(n)[n - 1], -np.eye(n)[0], np.full(n, 3e38), np.full(n, -7.0)]
    return np.array(kinds).astype(np.float32)


def neighbours(n: int, rng, around) -> np.ndarray:
    """n numbers of the dtype of `around`, a number, in random order, no other number between them."""
    pattern = np.asarray(around).view(f"uint{8 * np.asarray(around).itemsize}")
    return (rng.permutation(n).astype(pattern.dtype) + pattern).view(np.asarray(around).dtype)


ROWS = rows(N)


@functools.cache
def compressed(k: int) -> tuple[np.ndarray, ...]:
    """(mask, threshold, mu, signs) of ROWS, in one program."""

    def all_of(x):
        mask, mu, signs = sparse_ternary.ternarize(x, k)
        return sparse_ternary.topk_mask(x, k), sparse_ternary.topk_threshold(x, k), mu, signs, mask

    *results, mask = (np.asarray(one) for one in jax.jit(all_of)(ROWS))
    np.testing.assert_array_equal(results[0], mask)
    return tuple(results)
