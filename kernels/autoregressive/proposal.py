"""What samples are drawn from: a network, its mixture with wider ones, its average over symmetries of the system.

A mixture has the mean of the probabilities of its parts, whichever of them a sample came from. Wider networks show what
the first has lost; images under symmetries (sign, shifts, reflections) even out what it says of equal states.
Any network with exact probabilities will do: two functions make a `Law`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Count, Float, Float64, Int8, RandomKey, Real
from ..ising.symmetries import Images
from .arguments import Parameters, check_integer
from .networks import Network
from .probability import log_prob
from .sampling import sample


class Law(NamedTuple):
    """A network as two functions.

    Attributes:
      sample: (key, n, first) to (spins int8 [n, rows, columns], ln q [n]): samples number `first` and on of the stream
        of a key, such that calls with first = 0, n, 2 n, ... give independent ones.
      log_prob: spins [n, rows, columns] to ln q [n].
      symmetric: whether turning all spins over leaves ln q.
    """

    sample: Callable[[RandomKey, int, int], tuple[Int8[Array, "n rows columns"], Float[Array, " n"]]]
    log_prob: Callable[[Real[Array, "n rows columns"]], Float[Array, " n"]]
    symmetric: bool = False


def network_law(params: Parameters, cfg: Network) -> Law:
    """Returns the law of a network of this room.

    Example:
      >>> import jax
      >>> from havel.kernels import autoregressive
      >>> cfg = autoregressive.MADE(2)
      >>> law = autoregressive.network_law(autoregressive.init(cfg, jax.random.key(0)), cfg)
      >>> spins, log_q = law.sample(jax.random.key(1), 5, 0)
      >>> spins.shape
      (5, 2, 2)
    """
    return Law(
        lambda key, n, first: sample(params, cfg, key, n, n, first=first),
        lambda spins: log_prob(params, cfg, spins),
        cfg.z2,
    )


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A mixture of laws, averaged over symmetries, with its exact probabilities.

    Attributes:
      laws: of one lattice; the first has half of the samples, the others share the rest.
      images: of symmetries; None for none.

    Raises:
      ValueError: no laws, or something else than a list of them.
    """

    laws: Sequence[Law]
    images: Images | None = None

    def __post_init__(self):
        is_one = hasattr(self.laws, "log_prob")  # a law is a tuple, too
        if is_one or not isinstance(self.laws, Sequence) or not all(hasattr(law, "log_prob") for law in self.laws):
            raise ValueError(
                f"laws is {type(self.laws).__name__}; expected a list of laws: [Law(sample, log_prob)], or "
                "[network_law(params, cfg)] of a network of this room"
            )
        if not self.laws:
            raise ValueError("laws is empty; expected one Law or more")

    @property
    def is_single(self) -> bool:
        """Whether it is one law, not averaged over anything."""
        return len(self.laws) == 1 and self.images is None

    @property
    def symmetric(self) -> bool:
        """Whether turning all spins over leaves ln q, by the laws or because that is averaged over."""
        averaged = self.images is not None and bool((self.images.sign < 0).any())
        return averaged or all(law.symmetric for law in self.laws)

    def sample(
        self, key: RandomKey, n: Count, first: Count = 0
    ) -> tuple[Int8[Array, "n rows columns"], Float[AnyArray, " n"]]:
        """Returns (spins int8 [n, rows, columns], ln q [n]) number `first` and on of the stream of a key.

        Calls with first = 0, n, 2 n, ... give independent samples. A single law of this room has one stream, however it
        is cut. Mixtures and means over symmetries draw n samples together: which ones depends on n and `first`, and so
        do, of a mixture, the shares of its laws, thus q itself (`counts`).

        Raises:
          ValueError: n no integer, or too small for all laws; first below 0.
        """
        check_integer("n", n, 1)
        check_integer("first", first, 0)
        if self.is_single:
            return self.laws[0].sample(key, int(n), int(first))
        key = jax.random.fold_in(key, first)
        parts = [
            law.sample(jax.random.fold_in(key, k), count, 0)[0]
            for k, (law, count) in enumerate(zip(self.laws, self.counts(n), strict=True))
        ]
        spins = jnp.concatenate(parts)
        if len(parts) > 1:
            spins = jax.random.permutation(jax.random.fold_in(key, len(parts)), spins)
        if self.images is not None:
            image = jax.random.randint(jax.random.fold_in(key, len(parts) + 1), (int(n),), 0, len(self.images.sign))
            spins = _image(spins, jnp.asarray(self.images.source)[image], jnp.asarray(self.images.sign)[image])
        return spins, self.log_prob(spins, n)

    def counts(self, n: Count) -> list[int]:
        """Returns how many of n samples come from each law.

        Raises:
          ValueError: n no integer, or too small for all of them.
        """
        check_integer("n", n, 1)
        others = len(self.laws) - 1
        each = n // (2 * others) if others else 0
        if others and not each:
            raise ValueError(f"chunk={n}: a mixture of {others + 1} networks needs at least {2 * others} at a time")
        return [int(n - each * others)] + [int(each)] * others

    def log_prob(self, spins: Real[Array, "m rows columns"], n: Count) -> Float64[np.ndarray, " m"]:
        """Returns ln q float64 [m] of spins [m, rows, columns], as they are drawn n at a time: `counts(n)` makes the
        shares of a mixture, so that another n is another q."""
        shares = np.array(self.counts(n)) / n
        terms = []
        for law, share in zip(self.laws, shares, strict=True):
            for image in self._inverse_images(spins):
                terms.append(np.asarray(law.log_prob(image), np.float64) + np.log(share))
        return np.logaddexp.reduce(terms) - np.log(1 if self.images is None else len(self.images.sign))

    def _inverse_images(self, spins: jax.Array) -> Iterator[jax.Array]:
        if self.images is None:
            yield spins
            return
        for inverse, sign in zip(self.images.inverse, self.images.sign, strict=True):
            yield _image(spins, jnp.asarray(inverse)[None], jnp.asarray(sign)[None])


def _image(spins: jax.Array, source: jax.Array, sign: jax.Array) -> jax.Array:
    """Returns sign s[source] with one row of `source` [n or 1, sites] a sample."""
    flat = spins.reshape(len(spins), -1)
    moved = jnp.take_along_axis(flat, jnp.broadcast_to(source, flat.shape), axis=1) * sign[:, None].astype(flat.dtype)
    return moved.reshape(spins.shape)
