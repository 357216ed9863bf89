"""Cluster Monte Carlo for Ising systems without fields, in JAX: Swendsen-Wang and Wolff, any number of chains at once.

A bond with J s s' > 0 is frozen with probability 1 - exp(-2 beta |J|); Swendsen-Wang gives every cluster a random sign,
Wolff turns over the one around a random site. Both are exact for either sign of J, but slow to mix where it frustrates.
Clusters are found by repeated minima over frozen neighbours with pointer jumping.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Int, RandomKey, Real, Scalar, Whole
from .energies import Bonds, check_bonds, check_couplings, check_spins, lattice_bonds
from .exact import check_beta, check_coupling, whole

Spins = Real[AnyArray, "*shape"] | Sequence
Couplings = Scalar | Real[AnyArray, "n n"] | Sequence | Bonds


@overload
def swendsen_wang(
    key: RandomKey, spins: Spins, beta: Scalar, J: Couplings = ..., n_sweeps: Whole = ..., *,
    lattice: str = ..., boundary: str = ..., observable: None = ...,
) -> Real[Array, "*shape"]: ...  # fmt: skip
@overload
def swendsen_wang(
    key: RandomKey, spins: Spins, beta: Scalar, J: Couplings = ..., n_sweeps: Whole = ..., *,
    lattice: str = ..., boundary: str = ..., observable: Callable[[Real[Array, "*shape"]], Any],
) -> tuple[Real[Array, "*shape"], Any]: ...  # fmt: skip
def swendsen_wang(
    key: RandomKey,
    spins: Spins,
    beta: Scalar,
    J: Couplings = 1.0,
    n_sweeps: Whole = 1,
    *,
    lattice: str = "square",
    boundary: str = "torus",
    observable: Callable[[Real[Array, "*shape"]], Any] | None = None,
) -> Real[Array, "*shape"] | tuple[Real[Array, "*shape"], Any]:
    """Returns spins after `n_sweeps` of Swendsen-Wang, of the shape and dtype given.

    Args:
      key: from jax.random.key.
      spins: +1 and -1; [..., rows, columns] for a lattice, [..., n] for couplings; leading axes are chains.
      beta: inverse temperature, at least 0.
      J: one coupling of a lattice, couplings [n, n] (symmetric, diagonal 0), or energies.Bonds.
      n_sweeps: at least 0.
      lattice, boundary: where J is one number: "square" or "triangular", "torus" or "open".
      observable: of spins as given to anything [...]; its values after every sweep are returned, too.

    Returns:
      spins, or with `observable` (spins, values [n_sweeps, ...]).

    Raises:
      ValueError: spins other than +-1, couplings that do not fit or are not finite, a bad beta or n_sweeps.
      TypeError: couplings [n, n] that are traced; strengths of energies.Bonds may be.

    Source: R. H. Swendsen, J.-S. Wang, Phys. Rev. Lett. 58, 86 (1987).

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import ising
      >>> spins = ising.swendsen_wang(jax.random.key(0), np.ones((4, 4), np.int8), beta=0.4, n_sweeps=5)
      >>> spins.shape, bool((abs(spins) == 1).all())
      ((4, 4), True)
    """
    n_sweeps = whole("n_sweeps", n_sweeps, 0)
    flat, graph = _prepare(spins, beta, J, lattice, boundary)
    shape = np.shape(spins)
    flat, values = _sweeps(key, flat, *graph, _frozen_probability(beta, graph[1]), n_sweeps, shape, observable)
    turned = flat.reshape(shape)
    return turned if observable is None else (turned, values)


def wolff(
    key: RandomKey,
    spins: Spins,
    beta: Scalar,
    J: Couplings = 1.0,
    n_steps: Whole = 1,
    *,
    lattice: str = "square",
    boundary: str = "torus",
) -> tuple[Real[Array, "*shape"], Int[Array, "steps ..."]]:
    """Returns (spins after `n_steps` clusters, their sizes [n_steps, ...]); one cluster a step in every chain.

    The mean of size / N is an estimate of <m^2> with little noise, where J >= 0.

    Args:
      n_steps: at least 0; the others, and what is raised, as of `swendsen_wang`.

    Source: U. Wolff, Phys. Rev. Lett. 62, 361 (1989).

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import ising
      >>> spins, sizes = ising.wolff(jax.random.key(0), np.ones((4, 4), np.int8), beta=0.4, n_steps=5)
      >>> spins.shape, sizes.shape
      ((4, 4), (5,))
    """
    n_steps = whole("n_steps", n_steps, 0)
    flat, graph = _prepare(spins, beta, J, lattice, boundary)
    shape = np.shape(spins)
    flat, sizes = _clusters(key, flat, *graph, _frozen_probability(beta, graph[1]), n_steps)
    return flat.reshape(shape), sizes.reshape(n_steps, *shape[: len(shape) - _axes(J)])


def _axes(J) -> int:
    return 2 if not isinstance(J, Bonds) and np.ndim(J) == 0 else 1


def _prepare(spins, beta, J, lattice, boundary) -> tuple[jax.Array, tuple]:
    """Returns spins [chains, n] and the graph: bond and neighbour tables, what they hold in `_tables`."""
    if not isinstance(beta, jax.core.Tracer):
        check_beta(beta)
    shape = np.shape(spins)
    if len(shape) < _axes(J):
        raise ValueError(f"spins of shape {list(shape)}: expected [..., rows, columns] or, for couplings, [..., n]")
    check_spins(spins)
    if isinstance(J, Bonds):
        bonds, n = J, shape[-1]
        check_bonds(bonds, n)
    elif np.ndim(J) == 0:
        n = shape[-2] * shape[-1]
        check_coupling(J)
        bonds = _lattice_bonds(shape[-2], shape[-1], lattice, boundary)
        bonds = bonds._replace(strength=jnp.full(len(bonds.first), J))
    else:
        if isinstance(J, jax.core.Tracer):
            raise TypeError("J [n, n] is traced, but its graph must be known: give energies.Bonds")
        check_couplings(J, None, shape[-1])
        n = shape[-1]
        first, second = np.nonzero(np.triu(np.asarray(J)))
        bonds = Bonds(first, second, np.asarray(J)[first, second])
    neighbours, bond_of = _tables(*(np.asarray(side, np.int32).tobytes() for side in bonds[:2]), n)
    pairs = jnp.stack([jnp.asarray(bonds.first, jnp.int32), jnp.asarray(bonds.second, jnp.int32)])
    return jnp.asarray(spins).reshape(-1, n), (pairs, jnp.asarray(bonds.strength, float), neighbours, bond_of)


_lattice_bonds = functools.lru_cache(maxsize=8)(
    lambda rows, columns, lattice, boundary: lattice_bonds(rows, columns, lattice=lattice, boundary=boundary)
)


@functools.lru_cache(maxsize=8)
def _tables(first: bytes, second: bytes, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns neighbours [n, degree] and the bond to each; where a site has fewer: itself, and a bond never frozen."""
    sites, partners = (np.frombuffer(side, np.int32) for side in (first, second))
    ends, others = np.concatenate([sites, partners]), np.concatenate([partners, sites])
    numbers = np.tile(np.arange(len(sites)), 2)
    order = np.argsort(ends, kind="stable")
    degree = np.bincount(ends, minlength=n)
    widest = max(int(degree.max(initial=0)), 1)
    column = np.arange(len(ends)) - np.repeat(np.cumsum(degree) - degree, degree)
    neighbours = np.tile(np.arange(n)[:, None], (1, widest))
    bond_of = np.full((n, widest), len(sites))
    neighbours[ends[order], column], bond_of[ends[order], column] = others[order], numbers[order]
    return neighbours.astype(np.int32), bond_of.astype(np.int32)


def _frozen_probability(beta, strength):
    return -jnp.expm1(-2 * beta * jnp.abs(strength))


def _freeze(key, spins, pairs, strength, bond_of, probability):
    """Returns which of a site's bonds are frozen, bool [chains, n, degree]."""
    satisfied = strength * spins[:, pairs[0]] * spins[:, pairs[1]] > 0
    uniform = jax.random.uniform(key, satisfied.shape, probability.dtype)
    frozen = jnp.pad(satisfied & (uniform < probability), ((0, 0), (0, 1)))
    return frozen[:, bond_of]


def _label(frozen, neighbours):
    """Returns the smallest site of each site's cluster, int32 [chains, n]."""
    chains, n = frozen.shape[:2]

    def change(state):
        labels, _ = state
        lowest = jnp.where(frozen, labels[:, neighbours], n).min(axis=-1)
        new = jnp.minimum(labels, lowest)
        new = jnp.minimum(new, jnp.take_along_axis(new, new, axis=1))  # jump to where the label points
        return new, (new != labels).any()

    start = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), (chains, n))
    return jax.lax.while_loop(lambda state: state[1], change, (start, jnp.bool_(True)))[0]


@functools.partial(jax.jit, static_argnames=("n_sweeps", "shape", "observable"))
def _sweeps(key, spins, pairs, strength, neighbours, bond_of, probability, n_sweeps, shape, observable):
    def sweep(spins, key):
        freezing, turning = jax.random.split(key)
        labels = _label(_freeze(freezing, spins, pairs, strength, bond_of, probability), neighbours)
        turn = jax.random.bits(turning, spins.shape, jnp.uint8) & 1
        turn = jnp.take_along_axis(turn, labels, axis=1)
        spins = jnp.where(turn == 1, -spins, spins)
        return spins, None if observable is None else observable(spins.reshape(shape))

    return jax.lax.scan(sweep, spins, jax.random.split(key, n_sweeps))


@functools.partial(jax.jit, static_argnames="n_steps")
def _clusters(key, spins, pairs, strength, neighbours, bond_of, probability, n_steps):
    chains, n = spins.shape

    def grow(frozen, seeds):
        def change(state):
            inside, _ = state
            new = inside | (frozen & inside[:, neighbours]).any(axis=-1)
            return new, (new != inside).any()

        start = jnp.arange(n) == seeds[:, None]
        return jax.lax.while_loop(lambda state: state[1], change, (start, jnp.bool_(True)))[0]

    def step(spins, key):
        freezing, choosing = jax.random.split(key)
        frozen = _freeze(freezing, spins, pairs, strength, bond_of, probability)
        inside = grow(frozen, jax.random.randint(choosing, (chains,), 0, n))
        return jnp.where(inside, -spins, spins), inside.sum(axis=1)

    return jax.lax.scan(step, spins, jax.random.split(key, n_steps))
