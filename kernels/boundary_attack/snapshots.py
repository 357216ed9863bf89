"""The state of an attack as plain NumPy arrays with names, to be stored anywhere, and back."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from . import queries
from .arguments import Attack
from .state import State

Arrays = dict[str, np.ndarray | np.generic]


def snapshot(attack: Attack, state: State) -> Arrays:
    """Returns the state as arrays, with the identity of the attack and its budget.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> predict = lambda x: (x.sum(1) > 2).astype(int)
      >>> attack = boundary_attack.prepare(predict, np.full((1, 3), 0.9), np.array([1]))
      >>> arrays = boundary_attack.snapshot(attack, attack.initial)  # of NumPy, for any file
      >>> boundary_attack.restore(attack, arrays).queries.tolist()
      [0]
    """
    leaves: Arrays = {f"leaf{index:02}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))}
    identity = np.frombuffer(bytes.fromhex(attack.identity), np.uint8)
    return {"identity": identity, "budget": np.int64(attack.settings.budget), **leaves}


def restore(attack: Attack, arrays: Mapping[str, np.ndarray | np.generic]) -> State:
    """Returns the state of a snapshot; images that only their budget had ended go on where it is larger now.

    Raises:
      ValueError: it is of another attack, has a larger budget, or is no snapshot.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import boundary_attack
      >>> predict = lambda x: (x.sum(1) > 2).astype(int)
      >>> attack = boundary_attack.prepare(predict, np.full((1, 3), 0.9), np.array([1]))
      >>> state = boundary_attack.restore(attack, boundary_attack.snapshot(attack, attack.initial))
      >>> state.queries.tolist()
      [0]
    """
    identity = bytes(np.asarray(arrays.get("identity", np.zeros(0)), np.uint8)).hex()
    leaves, structure = jax.tree.flatten(attack.initial)
    if identity != attack.identity or len(arrays) != len(leaves) + 2:
        raise ValueError("state belongs to another attack (images, settings, key or starts)")
    if (budget := int(arrays["budget"])) > attack.settings.budget:
        raise ValueError(
            f"state has a budget of {budget:,} queries and settings one of {attack.settings.budget:,}; "
            "give as many or more"
        )
    entries = [arrays.get(f"leaf{index:02}") for index in range(len(leaves))]
    for expected, leaf in zip(leaves, entries, strict=True):
        if leaf is None or leaf.shape != expected.shape or leaf.dtype != expected.dtype:
            raise ValueError("state does not hold what this attack keeps")
    return queries.reopen(attack.rules, jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in entries]))
