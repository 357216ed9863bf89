"""Alpha-stable laws in JAX: draws, densities, moments and estimates, for every alpha in (0, 2] and through alpha = 1.

x = sas(jax.random.key(0), 1.5, (1000,))    # E exp(itX) = exp(-|t|^1.5); alpha = 2 is N(0, 2), alpha = 1 Cauchy
"""

from .symmetric import sas, sas_log

__all__ = ["sas", "sas_log"]
