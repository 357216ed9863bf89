"""Prices of levels at the present states of the contexts, and the contexts after a level: what the rate-distortion
decisions share. Prices are in units of 2^-15 bit, what the coder spends on average (`EXPECTED_COST`)."""

import numpy as np

from ...compiling import compiled, inlined
from .constants import SIGN_CONTEXT, UNARY_CONTEXT
from .contexts import EXPECTED_COST, bin_index, next_context

_BYPASS = 1 << 15  # price of a bypass bin


@inlined
def price(contexts, context, value):
    """Price of a bin."""
    return EXPECTED_COST[value, bin_index(contexts[context])]


@inlined
def move(contexts, context, value):
    """The context after a bin."""
    contexts[context] = next_context(contexts[context], value)


@compiled
def magnitude_price(contexts, offset, magnitude, negative, n_unary):
    """Price of the flags and the remainder of a magnitude >= 1. offset: of the survivor's first context."""
    total = 0
    context = offset + np.uint64(UNARY_CONTEXT + negative)
    for _ in range(min(magnitude - 1, n_unary)):
        total += price(contexts, context, np.uint64(1))
        context += np.uint64(2)
    if magnitude <= n_unary:
        return total + price(contexts, context, np.uint64(0))
    context = offset + np.uint64(UNARY_CONTEXT + 2 * n_unary)
    rest = (magnitude - n_unary) >> 1
    while rest:
        total += price(contexts, context, np.uint64(1)) + _BYPASS
        context += np.uint64(1)
        rest >>= 1
    return total + price(contexts, context, np.uint64(0))


@inlined
def two_prices(contexts, offset, magnitude, negative, n_unary):
    """Prices of a magnitude >= 1 and of the next one, which share all flags but the last."""
    if magnitude >= n_unary:
        lower = magnitude_price(contexts, offset, magnitude, negative, n_unary)
        return lower, magnitude_price(contexts, offset, magnitude + 1, negative, n_unary)
    shared = 0
    context = offset + np.uint64(UNARY_CONTEXT + negative)
    for _ in range(magnitude - 1):
        shared += price(contexts, context, np.uint64(1))
        context += np.uint64(2)
    index = bin_index(contexts[context])
    upper = shared + EXPECTED_COST[1, index] + price(contexts, context + np.uint64(2), np.uint64(0))
    return shared + EXPECTED_COST[0, index], upper


@inlined
def move_magnitude(contexts, offset, neighbour, magnitude, negative, n_unary):
    """Moves the contexts of sign, flags and prefix by a magnitude >= 1 after a neighbour of class 0, 1 or 2."""
    move(contexts, offset + np.uint64(SIGN_CONTEXT + neighbour), np.uint64(negative))
    context = offset + np.uint64(UNARY_CONTEXT + negative)
    for _ in range(min(magnitude - 1, n_unary)):
        move(contexts, context, np.uint64(1))
        context += np.uint64(2)
    if magnitude <= n_unary:
        move(contexts, context, np.uint64(0))
    else:
        _move_remainder(contexts, offset, magnitude, n_unary)


@compiled
def _move_remainder(contexts, offset, magnitude, n_unary):
    context = offset + np.uint64(UNARY_CONTEXT + 2 * n_unary)
    rest = (magnitude - n_unary) >> 1
    while rest:
        move(contexts, context, np.uint64(1))
        context += np.uint64(1)
        rest >>= 1
    move(contexts, context, np.uint64(0))
