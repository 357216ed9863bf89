"""A rate that falls where the loss stalls, by hand."""

import jax.numpy as jnp
import pytest

from common.training import plateau


def test_plateaus_lower_the_rate():
    """Patience 2: the third step without a better loss lowers it, and counting begins anew."""
    state, rates = plateau.initial(1e-3), []
    for loss in (-1.0, -1.005, -1.005, -1.005, -1.2, -1.2, -1.2, -1.2, -1.2, -1.2, -1.2):
        state = plateau.following(state, jnp.float32(loss), factor=0.5, patience=2, threshold=0.01, least=3e-4)
        rates.append(float(state.rate))
    assert rates == pytest.approx([1e-3] * 3 + [5e-4] * 4 + [3e-4] * 4)
