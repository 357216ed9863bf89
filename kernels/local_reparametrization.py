"""The older name of `soft_entropy.reparametrization`."""

from .soft_entropy.reparametrization import TINY, convolution, dense

__all__ = ["TINY", "convolution", "dense"]
