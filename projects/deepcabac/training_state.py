"""Which tensors of a checkpoint are the network, and which belong to its training.

A training state holds moments of an optimiser beside the weights. Quantised like weights they would be worth nothing
(a second moment of 1e-9 becomes 0), and counted they would flatter the ratio. They are told by the names under which
Flax, Optax, Orbax and PyTorch keep them, or by coming as two trees, of first and of second moments, that both have the
names and shapes of weights beside them.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from common import weight_files

OPTIMISER = re.compile(
    r"opt|optim|opt_states?|opt_vars|optimi[sz]ers?(_states?)?(_dict)?|(lr_)?schedulers?(_states?)?(_dict)?|grad_scaler|"
    r"ema_opt_state|inner_state|inner_opt_state|trace_state|adamw?(_state)?|sgd(_state)?|grads?|gradients?",
    re.IGNORECASE,
)
PAIRS = (("mu", "nu"), ("m", "v"), ("first_moment", "second_moment"))
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")  # by PyTorch, below the number of a weight


def names(tree: Mapping) -> list[str]:
    """Returns the names of the tensors that are the state of an optimiser (counters are integers, and stay).

    Empty where nothing else would be left.

    Args:
      tree: nested dict of arrays, or a flat one with names such as "opt_state/0/mu/fc1/kernel".
    """
    flat = weight_files.flatten(tree)
    paths = {name: re.split(r"[/.]", name) for name in flat}
    states = {
        name
        for name, path in paths.items()
        if any(OPTIMISER.fullmatch(element) for element in path[:-1]) or path[-1] in MOMENTS
    }
    states |= _moments(flat, paths)
    has_weights = any(flat[name].ndim > 1 and flat[name].dtype.kind not in "iub" for name in flat.keys() - states)
    return [name for name in flat if name in states] if has_weights else []


def _moments(flat: Mapping[str, np.ndarray], paths: Mapping[str, list[str]]) -> set[str]:
    """Names below siblings that are called like first and second moments and mirror weights of the tree.

    A norm with an `m` and a `v` of its own is none: nothing else has their names.
    """
    weights: set[tuple] = set()  # every end of a path with the shape of its tensor
    for name, path in paths.items():
        if not any(element in pair for pair in PAIRS for element in path):
            weights |= {(*path[at:], flat[name].shape) for at in range(len(path))}
    moments: set[str] = set()
    for pair in PAIRS:
        parents: dict[tuple, dict[str, dict]] = {}  # path of the parent -> first or second -> end of a path -> name
        for name, path in paths.items():
            for at, element in enumerate(path[:-1]):
                if element in pair:
                    siblings = parents.setdefault(tuple(path[:at]), {}).setdefault(element, {})
                    siblings[(*path[at + 1 :], flat[name].shape)] = name
        for siblings in parents.values():
            if len(siblings) == 2:
                first, second = (siblings[element] for element in pair)
                if first.keys() == second.keys() and first.keys() <= weights:
                    moments |= {*first.values(), *second.values()}
    return moments


def without(tree: Mapping, names: Iterable[str]) -> dict:
    """Returns the tree without the tensors of some names."""
    names = set(names)
    return weight_files.nest({name: array for name, array in weight_files.flatten(tree).items() if name not in names})
