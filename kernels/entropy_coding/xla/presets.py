"""The choice of core/presets.py as a loop over weights: all nine presets of all contexts at once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import Array, Float, Int32, Shaped
from ..core.constants import NUM_PRESETS, PRESET_FAST_SHIFT, PRESET_FAST_START, PRESET_SLOW_SHIFT, PRESET_SLOW_START
from ..core.contexts import BIN_COST
from .contexts import Lanes, bins_of, like, looked_up, moved, rounded

_HEADER = 3 << 15  # what a preset other than 0 costs in the header


def costs(
    levels: dict[str, Shaped[Array, "n batch"]], lanes: Lanes
) -> tuple[Int32[Array, "9 lanes batch"], Int32[Array, "9 lanes batch"]]:
    """Costs of the bins of levels under each preset, as whole bits and 2^-15 bits, without bypass bins.

    levels: key and neighbour, the context of significance and the class of the level before; magnitude; negative;
    counted, whether the level is coded at all.
    """
    tables = PRESET_FAST_START, PRESET_SLOW_START, PRESET_FAST_SHIFT, PRESET_SLOW_SHIFT
    fast, slow, *shifts = (jnp.asarray(table, jnp.int32)[:, None, None] for table in tables)
    first = levels["magnitude"][0]
    nothing = like(first, (NUM_PRESETS, lanes.numbers.size, first.size))

    def body(carry, row):
        state, high, low = carry
        touched, one = bins_of(lanes, row["key"], row["neighbour"], row["magnitude"], row["negative"])
        touched &= row["counted"]
        index = ((16 * state[0] + state[1]) >> 3) + 512
        low = low + jnp.where(touched, looked_up(BIN_COST, 1024 * one.astype(jnp.int32) + index), 0)
        # Bits and 2^-15 bits apart: 32-bit integers hold any tensor exactly.
        return (moved(state, shifts, touched, one), high + (low >> 15), low & 32767), None

    (_, high, low), _ = jax.lax.scan(body, ((fast + nothing, slow + nothing), nothing, nothing), levels)
    return high, low


def total(costs: tuple[Array, Array], dtype: Any) -> Float[Array, "9 lanes batch"]:
    """Costs in 2^-15 bit, as numbers of a float dtype."""
    high, low = costs
    return rounded(high.astype(dtype) * 32768) + low.astype(dtype)


def choose(costs: Float[Array, "9 lanes batch"]) -> Int32[Array, "lanes batch"]:
    """The cheapest preset of each lane, of equals the first; costs: in 2^-15 bit."""
    header = np.where(np.arange(NUM_PRESETS) == 0, 0, _HEADER)[:, None, None]
    return jnp.argmin(costs + header.astype(costs.dtype), axis=0).astype(jnp.int32)
