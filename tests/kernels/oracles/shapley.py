"""Shapley values in float64 by enumeration of all coalitions (Shapley, 1953)."""

import itertools
import math

import numpy as np


def shapley(game, players):
    """Values [players] of `game`, a function of a bool array [players] that gives a number."""
    values = np.zeros(players)
    for size in range(players):
        weight = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
        for members in itertools.combinations(range(players), size):
            inside = np.isin(np.arange(players), members)
            for player in np.flatnonzero(~inside):
                joined = inside | (np.arange(players) == player)
                values[player] += weight * (game(joined) - game(inside))
    return values
