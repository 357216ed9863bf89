"""Alpha-stable laws in JAX: draws, densities, moments and estimates, for every alpha in (0, 2] and through alpha = 1.

x = sas(jax.random.key(0), 1.5, (1000,))    # E exp(itX) = exp(-|t|^1.5); alpha = 2 is N(0, 2), alpha = 1 Cauchy
"""

from .distribution import sas_cdf, sas_log_pdf, sas_log_survival, sas_pdf
from .elementary import times_power_of_two
from .estimate import SasFit, fit_log_moments, fit_sas
from .lengths import LENGTH_ALPHAS, length_table, log_median_length
from .moments import abs_moment, characteristic_function, log_moments, tail_constant
from .skewed import stable
from .symmetric import positive_stable_log, sas, sas_log, sas_parts, sub_gaussian

__all__ = [
    "LENGTH_ALPHAS",
    "SasFit",
    "abs_moment",
    "characteristic_function",
    "fit_log_moments",
    "fit_sas",
    "length_table",
    "log_median_length",
    "log_moments",
    "positive_stable_log",
    "sas",
    "sas_cdf",
    "sas_log",
    "sas_log_pdf",
    "sas_log_survival",
    "sas_parts",
    "sas_pdf",
    "stable",
    "sub_gaussian",
    "tail_constant",
    "times_power_of_two",
]
