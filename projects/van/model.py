"""PixelCNN and MADE as Flax modules: they hold the parameters that the kernel computes with, under the same names.

`tree(model)` is the kernel's parameter dictionary, `models.from_tree(model, tree)` puts one back with every name and
shape checked. What a network computes stands in kernels/autoregressive; these are thin.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from kernels import autoregressive


class Entry(nnx.Module):
    """The arrays of one masked layer: kernel, and where the network has them bias, slope of PReLU and mix."""

    def __init__(self, arrays: dict):
        for name, value in arrays.items():
            setattr(self, name, Entry(value) if isinstance(value, dict) else nnx.Param(value))


class Network(nnx.Module):
    """What PixelCNN and MADE share: layers named as in the kernel's dictionary, and the calls into it."""

    def __init__(self, setting: autoregressive.Network, *, rngs: nnx.Rngs, dtype=jnp.float32):
        self.setting = setting
        for name, arrays in autoregressive.init(setting, rngs.params(), dtype).items():
            setattr(self, name, Entry(arrays))

    def __call__(self, spins: jax.Array) -> jax.Array:
        """Returns ln q [n] of spins [n, rows, columns]."""
        return autoregressive.log_prob(tree(self), self.setting, spins)

    def conditionals(self, spins: jax.Array) -> jax.Array:
        """Returns q(s_i = +1 | s_<i) [n, rows, columns]."""
        return autoregressive.conditionals(tree(self), self.setting, spins)

    def sample(self, key: jax.Array, n: int, chunk: int | None = None, **options) -> tuple[jax.Array, jax.Array]:
        """Returns (spins int8 [n, rows, columns], ln q [n])."""
        return autoregressive.sample(tree(self), self.setting, key, n, chunk, **options)


class PixelCNN(Network):
    """Masked convolutions; arguments as of `kernels.autoregressive.PixelCNN`, e.g. PixelCNN(16, z2=True, rngs=...)."""

    def __init__(self, rows: int, columns: int | None = None, *, rngs: nnx.Rngs, dtype=jnp.float32, **options):
        super().__init__(autoregressive.PixelCNN(rows, columns, **options), rngs=rngs, dtype=dtype)


class MADE(Network):
    """Masked dense layers; arguments as of `kernels.autoregressive.MADE`, e.g. MADE(1, 20, depth=1, rngs=...)."""

    def __init__(self, rows: int, columns: int | None = None, *, rngs: nnx.Rngs, dtype=jnp.float32, **options):
        super().__init__(autoregressive.MADE(rows, columns, **options), rngs=rngs, dtype=dtype)


def create(setting: autoregressive.Network, seed: int) -> Network:
    """Returns the untrained network of a kernel's setting."""
    return Network(setting, rngs=nnx.Rngs(params=seed))


def tree(model: Network) -> dict:
    """Returns the parameters as the kernel's nested dictionary of arrays."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))
