"""Which tensors of a checkpoint are the network, and which belong to its training.

A training state holds moments of an optimiser beside the weights. Quantised like weights they would be worth nothing
(a second moment of 1e-9 becomes 0), and counted they would flatter the ratio. They are told by the names under which
Flax, Optax, Orbax and PyTorch keep them, or by coming as two trees, of first and of second moments, that both have the
names and shapes of weights beside them.
"""

import re
from collections.abc import Mapping

import numpy as np

from common import weight_files

OPTIMISER = re.compile(
    r"opt|optim|opt_states?|opt_vars|optimi[sz]ers?(_states?)?(_dict)?|(lr_)?schedulers?(_states?)?(_dict)?|grad_scaler|"
    r"ema_opt_state|inner_state|inner_opt_state|trace_state|adamw?(_state)?|sgd(_state)?|grads?|gradients?",
    re.IGNORECASE,
)
PAIRS = (("mu", "nu"), ("m", "v"), ("first_moment", "second_moment"))
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")  # by PyTorch, below the number of a weight


def of_training(tree: Mapping) -> list[str]:
    """Returns the names of the tensors that are the state of an optimiser (counters are integers, and stay).

    Empty where nothing else would be left.

    Args:
      tree: nested dict of arrays, or a flat one with names such as "opt_state/0/mu/fc1/kernel".
    """
    flat = weight_files.flatten(tree)
    split = {name: re.split(r"[/.]", name) for name in flat}
    found = {
        name
        for name, elements in split.items()
        if any(OPTIMISER.fullmatch(element) for element in elements[:-1]) or elements[-1] in MOMENTS
    }
    found |= _moments(flat, split)
    has_weights = any(_is_matrix(flat[name]) for name in flat.keys() - found)
    return [name for name in flat if name in found] if has_weights else []


def _moments(flat: Mapping[str, np.ndarray], split: Mapping[str, list[str]]) -> set[str]:
    """Names below siblings that are called like first and second moments and mirror weights of the tree.

    A norm with an `m` and a `v` of its own is none: nothing else has their names.
    """
    names, weights, found = {name for pair in PAIRS for name in pair}, set(), set()
    for name, elements in split.items():
        if not names.intersection(elements):
            weights |= {(*elements[at:], flat[name].shape) for at in range(len(elements))}
    for first, second in PAIRS:
        below: dict[tuple, dict[str, dict]] = {}
        for name, elements in split.items():
            for at, element in enumerate(elements[:-1]):
                if element in (first, second):
                    inner = below.setdefault(tuple(elements[:at]), {}).setdefault(element, {})
                    inner[tuple(elements[at + 1 :])] = (flat[name].shape, name)
        for pair in below.values():
            if len(pair) == 2:
                one, other = pair[first], pair[second]
                shapes = [{(*key, shape) for key, (shape, _) in moments.items()} for moments in (one, other)]
                if shapes[0] == shapes[1] and shapes[0] <= weights:
                    found |= {name for moments in (one, other) for _, name in moments.values()}
    return found


def _is_matrix(array: np.ndarray) -> bool:
    return array.ndim > 1 and array.dtype.kind not in "iub"


def without(tree: Mapping, names) -> dict:
    """Returns the tree without the tensors of some names."""
    names = set(names)
    return weight_files.nest({name: array for name, array in weight_files.flatten(tree).items() if name not in names})
