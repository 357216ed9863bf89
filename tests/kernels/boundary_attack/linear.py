"""Linear victims in float64, whose nearest adversarial image is known in closed form."""

import jax.numpy as jnp
import numpy as np


class Linear:
    """argmax of x w + b over classes; `on_host` in NumPy, `predict` in JAX."""

    def __init__(self, size, classes=2, seed=0):
        generator = np.random.default_rng(seed)
        self.weights = generator.normal(size=(size, classes))
        self.bias = -0.5 * self.weights.sum(0) + 0.1 * generator.normal(size=classes)

    def predict(self, x):
        scores = jnp.sum(x.reshape(len(x), -1)[:, :, None] * jnp.asarray(self.weights), 1) + jnp.asarray(self.bias)
        return jnp.argmax(scores, 1).astype(jnp.int32)

    def on_host(self, x):
        return np.argmax((x.reshape(-1, len(self.weights), 1) * self.weights).sum(1) + self.bias, 1)

    def images(self, count, seed=1, spread=0.3):
        """Images around the middle of the unit box, and their labels."""
        size = len(self.weights)
        x = 0.5 + spread * np.random.default_rng(seed).uniform(-1, 1, (count, size))
        return x, self.on_host(x)

    def optimum(self, x, labels):
        """L2 distance to the nearest boundary, without a box."""
        return self.gaps(x, labels).min(1)

    def gaps(self, x, labels):
        """L2 distances to the boundary with each class [images, classes], infinite for an image's own."""
        scores = x @ self.weights + self.bias
        own = scores[np.arange(len(x)), labels][:, None]
        apart = np.linalg.norm(self.weights[:, labels].T[:, :, None] - self.weights[None], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            gaps = (own - scores) / apart
        gaps[np.arange(len(x)), labels] = np.inf
        return gaps
