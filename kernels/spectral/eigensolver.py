"""The largest eigenvalues of a symmetric matrix that is a product: block Lanczos with thick restarts.

A basis of `basis` orthonormal vectors grows by a block at a time: the matrix times the block before, without its
components along the basis and along `known` eigenvectors. Full, it gives Ritz pairs; the best of them and the block
that would have come next begin the next basis. Every product is orthogonalised against all of the basis, so that no
eigenvalue comes twice. A block meets an eigenvalue as many times as it has columns, at most; so, once all have
converged, a basis with a random block looks for copies that are missing, and only when it meets none is this the end.
Source: Y. Zhou and Y. Saad, Block Krylov-Schur method for large symmetric eigenvalue problems, Numer. Algor. 47, 2008.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..array_types import Array, Bool, Float, Int32

BLOCK = 8  # columns of a block
GROWTH = 8  # blocks between restarts
LOST = 0.02  # of a column, which those before it do not have: less of it is left to rounding
EXACT = jax.lax.Precision.HIGHEST


class Pairs(NamedTuple):
    """Eigenpairs, the largest eigenvalue first.

    Attributes:
      values, residuals: [q]; the norm of M u - mu u.
      vectors: [n, q].
      restarts: bases that were needed.
    """

    values: Float[Array, " q"]
    vectors: Float[Array, "n q"]
    residuals: Float[Array, " q"]
    restarts: Int32[Array, ""]


class State(NamedTuple):
    """Between restarts: Ritz vectors, their products, the next block, and how far it is."""

    vectors: Array
    products: Array
    values: Array
    residuals: Array
    block: Array
    key: Array
    restarts: Array
    is_checking: Array
    is_done: Array


def largest_pairs(
    multiply: Callable[[Array], Array],
    known: Float[Array, "n c"],
    support: Bool[Array, " n"],
    q: int,
    needed: Int32[Array, ""],
    key: Array,
    tolerance: Float[Array, ""],
    most: int,
) -> Pairs:
    """The q largest eigenvalues without those of `known`.

    Args:
      multiply: of vectors [n, b].
      known: orthonormal eigenvectors, or columns of zeros.
      support: where eigenvectors may differ from 0; the matrix is 0 elsewhere.
      q: at least 1. needed: those of them that have to converge.
      tolerance: of residuals. most: restarts.
    """
    n, dtype = known.shape[0], known.dtype
    width = min(BLOCK, n)
    ritz = -(-(q + 2) // width) * width
    basis = ritz + GROWTH * width

    def random_block(key):
        return jnp.where(support[:, None], jax.random.normal(key, (n, width), dtype), 0)

    def grow(basis_vectors, products, block, key, start):
        """Fills the basis from a column on; returns also the block that comes next."""

        raw = jax.random.normal(key, (n, width), dtype)

        def step(i, state):
            basis_vectors, products, block = state
            image = multiply(block)
            column = i * width
            basis_vectors = jax.lax.dynamic_update_slice(basis_vectors, block, (0, column))
            products = jax.lax.dynamic_update_slice(products, image, (0, column))
            noise = jnp.where(support[:, None], jnp.roll(raw, i, axis=0), 0)
            return basis_vectors, products, _next_block(image, known, basis_vectors, noise)

        return jax.lax.fori_loop(start, basis // width, step, (basis_vectors, products, block))

    def ritz_pairs(basis_vectors, products):
        projected = _times(basis_vectors.T, products)
        values, coefficients = jnp.linalg.eigh((projected + projected.T) / 2)
        best = coefficients[:, ::-1][:, :ritz]
        values = values[::-1][:ritz]
        vectors, images = _times(basis_vectors, best), _times(products, best)
        return values, vectors, images, jnp.linalg.norm(images - vectors * values, axis=0)

    def cycle(state):
        key, grow_key, check_key = jax.random.split(state.key, 3)
        zeros = jnp.zeros((n, basis - ritz), dtype)
        grown = grow(
            jnp.concatenate([state.vectors, zeros], axis=1), jnp.concatenate([state.products, zeros], axis=1),
            state.block, grow_key, ritz // width,
        )  # fmt: skip
        return after(state, grown, key, check_key)

    def after(state, grown, key, check_key):
        basis_vectors, products, block = grown
        values, vectors, images, residuals = ritz_pairs(basis_vectors, products)
        is_needed = jnp.arange(ritz) < needed
        has_converged = jnp.all(jnp.where(is_needed, residuals, 0) <= tolerance)
        has_changed = jnp.any(jnp.where(is_needed, jnp.abs(values - state.values), 0) > 2 * tolerance)
        is_done = has_converged & state.is_checking & ~has_changed
        fresh = _next_block(random_block(check_key), known, vectors, random_block(jax.random.fold_in(check_key, 1)))
        block = jnp.where(has_converged, fresh, block)
        return State(vectors, images, values, residuals, block, key, state.restarts + 1, has_converged, is_done)

    first_key, key, grow_key, check_key = jax.random.split(key, 4)
    nothing = jnp.zeros((n, basis), dtype)
    noise = random_block(jax.random.fold_in(first_key, 1))
    block = _next_block(random_block(first_key), known, nothing, noise)
    empty = jnp.zeros(ritz, dtype)
    false = jnp.asarray(False)
    state = State(
        nothing[:, :ritz], nothing[:, :ritz], empty, empty + 1, block, key, jnp.int32(0), false, needed <= 0
    )  # fmt: skip
    state = jax.lax.cond(
        needed > 0, lambda: after(state, grow(nothing, nothing, block, grow_key, 0), key, check_key), lambda: state
    )
    state = jax.lax.while_loop(lambda state: ~state.is_done & (state.restarts < most), cycle, state)
    return Pairs(state.values[:q], state.vectors[:, :q], state.residuals[:q], state.restarts)


def _next_block(image, known, basis_vectors, noise):
    """Orthonormal columns that are orthogonal to the basis; noise stands in for what lies in it."""

    def without(block):
        block = block - _times(known, _times(known.T, block))
        return block - _times(basis_vectors, _times(basis_vectors.T, block))

    norms = jnp.linalg.norm(image, axis=0)
    image = without(image / jnp.where(norms > 0, norms, 1))
    remains = jnp.linalg.norm(image, axis=0)
    is_lost = (norms == 0) | (remains <= 100 * jnp.finfo(image.dtype).eps)
    # Columns that depend on each other have no factor; a little is added to the diagonal, which then is their size.
    width = image.shape[1]
    block, independent = _orthonormal(image / jnp.where(is_lost, 1, remains), 10 * width * jnp.finfo(image.dtype).eps)
    is_lost |= independent < LOST
    # Twice is enough: what rounding leaves along the basis is as small again then, however short a column was.
    block = without(jnp.where(is_lost, noise / jnp.linalg.norm(noise, axis=0), block))
    return _orthonormal(_orthonormal(block)[0])[0]


def _orthonormal(block, shift=0.0):
    """(nearly orthonormal columns, the share of each that those before do not have), of columns near norm 1.

    By Cholesky's factor of their products, which may lose half of the digits: to be repeated. For a few columns
    LAPACK's QR takes a hundred times as long, and Gram and Schmidt's loop ten times.
    """
    unit = jnp.eye(block.shape[1], dtype=block.dtype)
    triangle = jnp.linalg.cholesky(_times(block.T, block) + shift * unit)
    inverse = jax.scipy.linalg.solve_triangular(triangle, unit, lower=True)
    return _times(block, inverse.T), jnp.diag(triangle)


def _times(a, b):
    return jnp.matmul(a, b, precision=EXACT)
