"""Which client holds which samples: by class, by a Dirichlet law, by a natural owner. No sample is used twice.

Sizes and classes per client as in Sattler et al., arXiv:1903.02891; the Dirichlet split after Hsu, Qi, Brown,
arXiv:1909.06335. Host code in NumPy: a split is a function of the labels, its settings and its seed.
"""

from typing import Any, NamedTuple

import numpy as np

from kernels import scalars

EQUAL_SHARE = 0.1  # of the samples is dealt equally, whatever gamma is: no client starves


class Split(NamedTuple):
    """Samples dealt to clients.

    Attributes:
      order: int32 [used], indices of samples: those of client 0, then those of client 1, and so on.
      sizes: int32 [clients], at least 1 each.
      remainder: int32 [rest], indices of the samples that no client holds, in order.
      shortfall: what could not be met, in words with its number; empty where all settings hold.
    """

    order: np.ndarray
    sizes: np.ndarray
    remainder: np.ndarray
    shortfall: str = ""

    @property
    def offsets(self) -> np.ndarray:
        """Where each client begins in `order`: int32 [clients]."""
        return (np.cumsum(self.sizes) - self.sizes).astype(np.int32)

    def indices(self, client: int) -> np.ndarray:
        """The samples of one client: int32 [size]."""
        start = self.offsets[client]
        return self.order[start : start + self.sizes[client]]


def split_by_class(
    labels: Any,
    clients: int,
    classes_per_client: int,
    *,
    gamma: float = 1.0,
    seed: int = 0,
    classes: int | None = None,
) -> Split:
    """Returns clients that hold samples of few classes.

    A client begins at a random class and takes an equal part of its size from each of `classes_per_client` consecutive
    classes. Where a class has run out the next one stands in, so that later clients may hold more classes than asked:
    `shortfall` says how many do.

    Args:
      labels: integers [n] from 0 on.
      clients: how many, at most n.
      classes_per_client: 1 to the number of classes; all of them: nearly independent and identically distributed.
      gamma: in (0, 1]: client i has a share 0.1 / clients + 0.9 gamma^i / sum_j gamma^j of all samples; 1: equal
        shares.
      seed: of the order within classes and of the first classes.
      classes: how many there are; None: the largest label and one.

    Raises:
      ValueError: a setting makes no sense, or there are more clients than samples.
    """
    labels, classes = _checked_labels(labels, classes)
    clients = _client_count(clients, len(labels))
    scalars.whole("classes_per_client", classes_per_client, 1, classes, ", the number of classes")
    sizes = client_sizes(len(labels), clients, gamma)
    generator = np.random.default_rng(_checked_seed(seed))
    pools, first = _shuffled_classes(labels, classes, generator), generator.integers(classes, size=clients)
    rest = np.array([len(pool) for pool in pools])
    parts, above = [], 0
    for client, size in enumerate(sizes):
        part, need, label, own = -(-int(size) // classes_per_client), int(size), int(first[client]), set[int]()
        while need:
            amount = min(part, need, int(rest[label]))
            if amount:
                parts.append(pools[label][rest[label] - amount : rest[label]])
                rest[label] -= amount
                need -= amount
                own.add(label)
            label = (label + 1) % classes
        above += len(own) > classes_per_client
    shortfall = f"{above} of {clients} clients hold more than {classes_per_client} classes: their classes ran out"
    return _make(parts, sizes, len(labels), shortfall if above else "")


def split_dirichlet(
    labels: Any, clients: int, alpha: float, *, gamma: float = 1.0, seed: int = 0, classes: int | None = None
) -> Split:
    """Returns clients whose classes follow a law drawn from a Dirichlet distribution.

    Its concentration for a class is `alpha` times the number of classes times the share of the class among all labels:
    `alpha` itself where classes are equally frequent. Small: about one class a client; large: all clients alike. Where
    a class has run out, its samples are drawn anew among the others: `shortfall` says how many were.

    Args:
      labels, clients, gamma, seed, classes: as in `split_by_class`.
      alpha: above 0.

    Raises:
      ValueError: a setting makes no sense, or there are more clients than samples.
    """
    labels, classes = _checked_labels(labels, classes)
    clients = _client_count(clients, len(labels))
    alpha = scalars.real("alpha", alpha, "a finite number above 0", scalars.positive)
    sizes = client_sizes(len(labels), clients, gamma)
    generator = np.random.default_rng(_checked_seed(seed))
    pools = _shuffled_classes(labels, classes, generator)
    rest = np.array([len(pool) for pool in pools])
    present = np.flatnonzero(rest)
    concentration = alpha * len(present) * rest[present] / len(labels)
    parts, redrawn = [], 0
    for size in sizes:
        law = np.zeros(classes)
        law[present] = _dirichlet(concentration, generator)
        need, attempt = int(size), 0
        while need:
            law = np.where(rest > 0, law, 0.0)
            if law.sum() <= 0:  # none of the client's classes is left: it takes what is there
                law = rest.astype(float)
            counts = np.minimum(generator.multinomial(need, law / law.sum()), rest)
            for label in np.flatnonzero(counts):
                parts.append(pools[label][rest[label] - counts[label] : rest[label]])
            rest -= counts
            need, attempt = need - int(counts.sum()), attempt + 1
            redrawn += need
    shortfall = f"{redrawn} of {int(sizes.sum())} draws fell on a class that had run out, and were repeated"
    return _make(parts, sizes, len(labels), shortfall if redrawn else "")


def split_by_owner(owners: Any, *, least: int = 1) -> tuple[Split, np.ndarray]:
    """Returns one client an owner (a speaker, a writer, a device), and the owners in the clients' order.

    Args:
      owners: integers or texts [n], one a sample.
      least: owners of fewer samples are no clients; their samples are in the remainder.

    Raises:
      ValueError: no owner has `least` samples.
    """
    owners = np.asarray(owners)
    if owners.ndim != 1 or not owners.size or owners.dtype.kind not in "iuSU":
        raise ValueError(f"owners are {owners.dtype} {owners.shape}: expected integers or texts [n], one a sample")
    least = scalars.whole("least", least, 1)
    names, place, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    large = sizes >= least
    if not large.any():
        raise ValueError(f"least={least}: expected at most {sizes.max()}, the samples of the largest owner")
    order = np.argsort(place, kind="stable")
    parts = [order[large[place[order]]]]
    return _make(parts, sizes[large].astype(np.int32), len(owners)), names[large]


def client_sizes(samples: int, clients: int, gamma: float = 1.0) -> np.ndarray:
    """Returns how many samples each client holds: int32 [clients], at least 1, `samples` together at most.

    Source: the balancedness of arXiv:1903.02891, appendix; rounded down.
    """
    clients = _client_count(clients, samples)
    gamma = scalars.real("gamma", gamma, "above 0, at most 1 (1: equal sizes)", lambda value: 0 < value <= 1)
    powers = np.power(gamma, np.arange(clients, dtype=np.float64))
    share = EQUAL_SHARE / clients + (1 - EQUAL_SHARE) * powers / powers.sum()
    sizes = np.maximum(1, np.floor(samples * share + 1e-9)).astype(np.int64)  # the guard: 300 * 0.01 is below 3
    for _ in range(int(sizes.sum()) - samples):  # the clients of one sample are paid for by the largest
        sizes[np.argmax(sizes)] -= 1
    return sizes.astype(np.int32)


def class_counts(split: Split, labels: Any, classes: int | None = None) -> np.ndarray:
    """Returns how many samples of each class each client holds, as a heatmap shows it: int64 [clients, classes]."""
    labels, classes = _checked_labels(labels, classes)
    if len(labels) != len(split.order) + len(split.remainder):
        total = len(split.order) + len(split.remainder)
        raise ValueError(f"{len(labels)} labels of a split of {total} samples: expected those that were split")
    client = np.repeat(np.arange(len(split.sizes)), split.sizes)
    cells = client * classes + labels[split.order]
    return np.bincount(cells, minlength=len(split.sizes) * classes).reshape(len(split.sizes), classes)


def _dirichlet(concentration: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Returns one draw; where all its parts underflow, as they do for small concentrations, it is a single class."""
    draw = generator.dirichlet(concentration)
    if not np.isfinite(draw).all() or draw.sum() <= 0:
        draw = np.zeros(len(concentration))
        draw[generator.choice(len(concentration), p=concentration / concentration.sum())] = 1.0
    return draw


def _shuffled_classes(labels: np.ndarray, classes: int, generator: np.random.Generator) -> list[np.ndarray]:
    return [generator.permutation(np.flatnonzero(labels == label)) for label in range(classes)]


def _make(parts: list[np.ndarray], sizes: np.ndarray, samples: int, shortfall: str = "") -> Split:
    order = np.concatenate(parts).astype(np.int32)
    is_used = np.zeros(samples, bool)
    is_used[order] = True
    return Split(order, sizes, np.flatnonzero(~is_used).astype(np.int32), shortfall)


def _checked_labels(labels: Any, classes: int | None) -> tuple[np.ndarray, int]:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype} {labels.shape}: expected integers [n], one a sample")
    if labels.min() < 0:
        raise ValueError(f"labels have the value {labels.min()}: expected 0 to the number of classes")
    largest = int(labels.max())
    classes = (
        largest + 1 if classes is None else scalars.whole("classes", classes, largest + 1, None, ", by the labels")
    )
    return labels, classes


def _client_count(clients: int, samples: int) -> int:
    return scalars.whole("clients", clients, 1, samples, ", the number of samples: no client is empty")


def _checked_seed(seed: int) -> int:
    return scalars.whole("seed", seed, 0)
