"""Array kernels: jax + numpy in, arrays or bytes out; no flags, no files, no training.

In this checkout the package is `kernels`; the wheel ships the same folder as `havel.kernels`.
Import the room you need (`from kernels import entropy_coding`); nothing heavy is imported before it is used.
"""

__version__ = "0.1.0"  # of the distribution, as in pyproject.toml

__all__ = [
    "alpha_stable",
    "attribution",
    "autoregressive",
    "boundary_attack",
    "boundary_step",
    "channel",
    "entropy_coding",
    "golomb",
    "ising",
    "ldpc",
    "soft_entropy",
    "sparse_ternary",
    "spectral",
]
