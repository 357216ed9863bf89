"""Array kernels: jax + numpy in, arrays or bytes out; no flags, no files, no training.

In this checkout the package is `kernels`; the wheel ships the same folder as `havel.kernels`.
Import the room you need (`from kernels import entropy_coding`); nothing heavy is imported before it is used.
"""
