"""What samples are drawn from: a network, its mixture with wider ones, its average over symmetries of the system.

A mixture has the mean of the probabilities of its parts, whichever of them a sample came from. Wider networks show what
the first has lost; images under symmetries (sign, shifts, reflections) even out what it says of equal states.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kernels import autoregressive
from projects.van.systems import System, folded


class Images(NamedTuple):
    """Maps of states that leave the energy: image k of s is sign[k] s[place[k]]. Attributes: place [K, n]; back: the
    inverse permutations [K, n]; sign [K]."""

    place: np.ndarray
    back: np.ndarray
    sign: np.ndarray


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A law that can be sampled, with its exact probabilities.

    Attributes:
      network: the kernel's setting.
      components: parameters; the first has half of the samples, the others share the rest.
      images: of symmetries; None for none.
    """

    network: autoregressive.Network
    components: Sequence[dict]
    images: Images | None = None

    def draw(self, key: jax.Array, first: int, chunk: int) -> tuple[jax.Array, jax.Array]:
        """Returns (spins int8 [chunk, rows, columns], ln q [chunk]) number `first` and on of the stream of a key."""
        if len(self.components) == 1 and self.images is None:
            return autoregressive.sample(self.components[0], self.network, key, chunk, chunk, first=first)
        key = jax.random.fold_in(key, first)
        parts = [
            autoregressive.sample(component, self.network, jax.random.fold_in(key, k), count, count)[0]
            for k, (component, count) in enumerate(zip(self.components, self.counts(chunk), strict=True))
        ]
        spins = jnp.concatenate(parts)
        if len(parts) > 1:
            spins = jax.random.permutation(jax.random.fold_in(key, len(parts)), spins)
        if self.images is not None:
            chosen = jax.random.randint(jax.random.fold_in(key, len(parts) + 1), (chunk,), 0, len(self.images.sign))
            spins = _mapped(spins, jnp.asarray(self.images.place)[chosen], jnp.asarray(self.images.sign)[chosen])
        return spins, self.log_q(spins, chunk)

    def counts(self, chunk: int) -> list[int]:
        """Returns how many of `chunk` samples come from each component.

        Raises:
          ValueError: a chunk too small for all of them.
        """
        others = len(self.components) - 1
        each = chunk // (2 * others) if others else 0
        if others and not each:
            raise ValueError(f"chunk={chunk}: a mixture of {others + 1} networks needs at least {2 * others} at a time")
        return [chunk - each * others] + [each] * others

    def log_q(self, spins: jax.Array, chunk: int) -> np.ndarray:
        """Returns ln q [n] of spins [n, rows, columns], float64; `chunk` as in `draw`."""
        shares = np.array(self.counts(chunk)) / chunk
        terms = []
        for component, share in zip(self.components, shares, strict=True):
            for image in self._inverse_images(spins):
                log_q = autoregressive.log_prob(component, self.network, image)
                terms.append(np.asarray(log_q, np.float64) + np.log(share))
        return np.logaddexp.reduce(terms) - np.log(1 if self.images is None else len(self.images.sign))

    def _inverse_images(self, spins):
        if self.images is None:
            yield spins
            return
        for back, sign in zip(self.images.back, self.images.sign, strict=True):
            yield _mapped(spins, jnp.asarray(back)[None], jnp.asarray(sign)[None])


def _mapped(spins, place, sign):
    """Returns sign s[place] with one row of `place` [n or 1, sites] a sample."""
    flat = spins.reshape(len(spins), -1)
    moved = jnp.take_along_axis(flat, jnp.broadcast_to(place, flat.shape), axis=1) * sign[:, None].astype(flat.dtype)
    return moved.reshape(spins.shape)


def images_of(settings, system: System, count: int) -> Images | None:
    """Returns the identity and `count` - 1 other symmetries of a system, always the same ones.

    Signs where there are no fields; of a torus shifts, reflections and, where it is square, the transposition: those of
    them that the lattice has.

    Args:
      settings: flags of the training.
      system: of these flags.
      count: at least 1; 1 gives None.

    Raises:
      ValueError: more images than the system has.
    """
    if count == 1:
        return None
    rows, columns = settings.rows, settings.columns or settings.rows
    numbers = np.arange(rows * columns).reshape(rows, columns)
    torus = settings.system in ("square", "triangular") and settings.boundary == "torus"
    found = {}
    rng = np.random.default_rng(0)
    for k in range(200 * count):
        place, sign = numbers, -1 if system.symmetric and k % 2 else 1
        if torus and k > 1:
            place = np.roll(place, (rng.integers(rows), rng.integers(columns)), (0, 1))
            place = place.T if rows == columns and rng.integers(2) else place
            turn = rng.integers(4)
            alone = settings.system == "square"  # a triangular lattice needs both reflections or none
            place = place[::-1] if turn & 1 else place
            place = place[:, ::-1] if turn & (2 if alone else 1) else place
        found.setdefault((place.tobytes(), sign), (place.reshape(-1), sign))
        if len(found) == count:
            break
    if len(found) < count:
        raise ValueError(f"--images={count}: this system has no more than {len(found)} that are looked for")
    place = np.array([place for place, _ in found.values()])
    if settings.fold:  # the same maps, in the network's own numbers of the sites
        inner = (folded(rows)[:, None] * columns + folded(columns)[None]).reshape(-1)
        outer = np.argsort(inner)
        place = inner[place[:, outer]]
    sign = np.array([sign for _, sign in found.values()], np.int8)
    return Images(place.astype(np.int32), np.argsort(place, axis=1).astype(np.int32), sign)
