"""What a device can do at most, measured: bytes a second of a large copy, operations a second of a large product.

A kernel's floor is the larger of its bytes over the one and its operations over the other.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from . import timing

COPY_BYTES = {"cpu": 1 << 27, "other": 1 << 30}
SIDES = {"cpu": 1024, "other": 8192}  # of the matrices
REPEATS = 5


def size_for(sizes: dict, platform: str | None = None) -> int:
    """Returns the entry of a platform, by default of JAX's first device."""
    platform = platform or jax.devices()[0].platform
    return sizes.get(platform, sizes["other"])


def seconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Returns the median time of a call whose arrays are waited for, after one that is not counted."""
    return timing.of(call, repeats=repeats).median


def bandwidth() -> float:
    """Returns the bytes a second of an addition to a large array, read and written."""
    count = size_for(COPY_BYTES) // 4
    add = jax.jit(lambda x: x + 1)
    x = jax.random.normal(jax.random.key(0), (count,))
    return 2 * 4 * count / seconds(lambda: add(x))


def matrix_rate(dtype="float32", precision: str | None = None) -> float:
    """Returns the floating-point operations a second of a product of large square matrices of random numbers.

    Args:
      dtype: of the matrices.
      precision: of jax.default_matmul_precision; None is the device's default, of fewer bits on accelerators.
    """
    side = size_for(SIDES)
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), jnp.float32).astype(dtype)
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    return 2 * side**3 / seconds(lambda: product(a, b))


def measured() -> dict[str, float]:
    """Returns all ceilings: bytes a second; operations a second in float32, by default and exact, and in bfloat16."""
    return {
        "bytes_per_s": bandwidth(),
        "float32_default_per_s": matrix_rate(),
        "float32_exact_per_s": matrix_rate(precision="highest"),
        "bfloat16_per_s": matrix_rate("bfloat16"),
    }
