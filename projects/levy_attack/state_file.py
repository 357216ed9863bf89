"""The state of an attack on disk, and beside it a ledger of what was asked, so that no failure overruns a budget.

The state is written whole or not at all, after chunks and when an attack ends in any way that Python sees: an error of
the victim, Ctrl-C, SystemExit. The ledger `<checkpoint>.asked` has a number for each image, raised before a callable of
the host is asked: after a kill that nobody sees, the queries since the last state are counted all the same.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from common import weight_files
from projects.levy_attack import walk
from projects.levy_attack.walk import State

HEADER = 8  # uint32 words of a ledger before its counters: the identity


def save(plan, store: State, path: pathlib.Path) -> None:
    """Writes the state, with the identity of the attack and its budget."""
    leaves = {f"leaf{index:02}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(store))}
    identity = np.frombuffer(bytes.fromhex(plan.identity), np.uint8)
    weight_files.save_npz(path, {"identity": identity, "budget": np.int64(plan.settings.budget), **leaves})


def restore(plan, path: pathlib.Path) -> State:
    """Returns the state of a file, or the first one where there is none; what the ledger has beyond it is charged.

    Images that only their budget had ended go on where it is larger now.

    Raises:
      ValueError: a damaged file, one of another attack, or one with a larger budget.
    """
    store = _stored(plan, path) if path.exists() else plan.state
    counts = np.zeros(len(plan.problem.label), np.int64)
    if ledger_of(path).exists():
        counts = np.maximum(np.array(open_ledger(plan, path), np.int64) - np.asarray(store.queries), 0)
    return _charged(plan, store, counts) if counts.any() else store


@jax.jit
def _charge(settings, problem, state, count):
    return walk.charged(settings, problem, state, count)


def _charged(plan, store, counts):
    return _charge(plan.settings, plan.problem, store, jnp.asarray(counts, jnp.int32))


def _stored(plan, path) -> State:
    try:
        stored = weight_files.load_npz(path)
    except ValueError as error:
        raise ValueError(f"checkpoint: {error}; remove it") from None
    leaves, structure = jax.tree.flatten(plan.state)
    identity = bytes(np.asarray(stored.pop("identity", np.zeros(0, np.uint8)), np.uint8)).hex()
    budget = int(stored.pop("budget", 0))
    if identity != plan.identity or len(stored) != len(leaves):
        raise ValueError(f"checkpoint {path} belongs to another attack (images, settings, key or starts); remove it")
    if budget > plan.settings.budget:
        raise ValueError(
            f"checkpoint {path} has a budget of {budget:,} queries and cfg one of {int(plan.settings.budget):,}; "
            "give as many or more, or remove it"
        )
    entries = [stored.get(f"leaf{index:02}") for index in range(len(leaves))]
    for expected, leaf in zip(leaves, entries, strict=True):
        if leaf is None or leaf.shape != expected.shape or leaf.dtype != expected.dtype:
            raise ValueError(f"checkpoint {path} does not hold the state of this attack; remove it")
    return walk.reopened(plan.settings, structure.unflatten([jnp.asarray(leaf) for leaf in entries]))


def ledger_of(path: pathlib.Path) -> pathlib.Path:
    """The name of a checkpoint's ledger."""
    return path.with_name(path.name + ".asked")


def open_ledger(plan, path: pathlib.Path) -> np.ndarray:
    """Returns the counters uint32 [images], mapped to the file: a change is there even if the process is killed.

    (Not if the machine loses its power, before the system has written the page.)

    Raises:
      ValueError: it belongs to another attack.
    """
    name, count = ledger_of(path), len(plan.problem.label)
    identity = np.frombuffer(bytes.fromhex(plan.identity), np.uint32)
    if not name.exists():
        name.parent.mkdir(parents=True, exist_ok=True)
        with name.open("wb") as file:
            file.write(identity.tobytes() + bytes(4 * count))
    size = 4 * (HEADER + count)
    if name.stat().st_size != size or not np.array_equal(np.fromfile(name, np.uint32, HEADER), identity):
        raise ValueError(f"{name} counts the queries of another attack than this one; remove it, and {path.name}")
    return np.memmap(name, np.uint32, "r+", 4 * HEADER, (count,))
