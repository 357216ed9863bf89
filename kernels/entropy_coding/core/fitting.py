"""The compiled sums behind the best step for given levels: no library of matrix products and no threads of its own."""

import numpy as np

from ...compiling import compiled


@compiled
def sums(w, q, importance, out):
    """Puts sum F w q and sum F q^2 into out, float64 [2]. w: float32 or float64 [n]; q: int32 [n]; importance: F,
    float64 [n] or [1]."""
    product = square = 0.0
    for i in range(q.size):
        if q[i] != 0:
            level = np.float64(q[i])
            weight = importance[i] if importance.size > 1 else importance[0]
            product += weight * np.float64(w[i]) * level
            square += weight * level * level
    out[0] = product
    out[1] = square
