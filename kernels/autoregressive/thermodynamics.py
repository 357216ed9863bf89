"""Thermodynamics of spin systems from weighted samples: free energy, energy, entropy, heat capacity, magnetisation.

What `importance` estimates of the numbers E, E^2, |M|, M^2 and M^4 of each sample, and what follows from them and ln Z.
Nicoli et al., PRE 101, 023304.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..array_types import AnyArray, Count, Float64, Real, Scalar
from . import stream
from .arguments import Samples, check_beta, check_sites
from .importance import Derived, Estimates, entropy_of, finalise
from .reliability import Evidence

SPINS = ("energy", "energy_squared", "abs_m", "m_squared", "m_fourth")
QUANTITIES = ("free_energy", "u", "entropy", "c_v", "abs_m_site", "m_squared_site", "chi", "binder")  # that follow


def spin_numbers(energy: Samples, magnetisation: Samples) -> Float64[np.ndarray, "5 n"]:
    """Returns the numbers [5, n] of a stream that `spin_derived` needs, in the order of SPINS.

    Args:
      energy: E [n] of the system (not of a site).
      magnetisation: sum of spins [n].
    """
    energy, m = np.asarray(energy, np.float64), np.asarray(magnetisation, np.float64)
    square = np.square(m)
    return np.stack([energy, np.square(energy), np.abs(m), square, np.square(square)])


def spin_derived(beta: Scalar, sites: Count) -> dict[str, Derived]:
    """Returns what thermodynamics asks for, per site, and Binder's ratio.

    Names: free_energy (nowhere defined at beta = 0, nan), u, entropy, c_v, abs_m_site, m_squared_site, chi, binder.
    k_B = 1, nats; chi = beta (<M^2> - <|M|>^2)/N; binder = 1 - <M^4>/(3 <M^2>^2).

    Args:
      beta: inverse temperature; sites: N. The numbers are those of `spin_numbers`.
    """

    def of(value, *gradient):
        """The gradient's parts, in ln Z and the means, are numbers where the value is linear."""

        def slopes(ln_z, m):
            parts = [part(ln_z, m) if callable(part) else part for part in gradient]
            return parts[0], np.array([*parts[1:], *[0.0] * (6 - len(parts))])

        return Derived(value, slopes, linear=not any(map(callable, gradient)), elementwise=True)

    N, b = sites, float(beta)  # a number of float32 would make all of them so
    inverse = math.nan if b == 0 else 1 / b
    return {
        "free_energy": of(lambda z, m: -z * inverse / N, -inverse / N),
        "u": of(lambda z, m: m[0] / N, 0.0, 1 / N),
        "entropy": of(lambda z, m: (b * m[0] + z) / N, 1 / N, b / N),
        "c_v": of(lambda z, m: b * b * (m[1] - m[0] ** 2) / N, 0.0, lambda z, m: -2 * b * b * m[0] / N, b * b / N),
        "abs_m_site": of(lambda z, m: m[2] / N, 0.0, 0.0, 0.0, 1 / N),
        "m_squared_site": of(lambda z, m: m[3] / N**2, 0.0, 0.0, 0.0, 0.0, 1 / N**2),
        "chi": of(lambda z, m: b * (m[3] - m[2] ** 2) / N, 0.0, 0.0, 0.0, lambda z, m: -2 * b * m[2] / N, b / N),
        "binder": of(
            lambda z, m: 1 - m[4] / (3 * m[3] ** 2), 0.0, 0.0, 0.0, 0.0, lambda z, m: 2 * m[4] / (3 * m[3] ** 3),
            lambda z, m: -1 / (3 * m[3] ** 2),
        ),
    }  # fmt: skip


def thermodynamics(
    log_q: Samples,
    energy: Samples,
    magnetisation: Samples,
    beta: Scalar,
    sites: Count,
    evidence: Evidence | None = None,
) -> Estimates:
    """Returns the quantities of `spin_derived` and of SPINS from samples of q.

    Args:
      log_q, energy, magnetisation: ln q, E and sum of spins of each sample [n]; E is +inf in forbidden states.
      beta: inverse temperature, which need not be the one that q was trained at.
      sites: number of spins.
      evidence: what else is known, such as an exact ln Z or samples of p; entropy and states are filled in here.

    Raises:
      ValueError: as `importance`; arrays of different lengths, a beta that is not finite, sites below 1.

    Warns:
      UserWarning: the status is not "trusted".

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> m = np.random.default_rng(0).choice([-1.0, 1.0], (4000, 8)).sum(1)  # of eight free spins
      >>> result = autoregressive.thermodynamics(np.full(4000, 8 * np.log(0.5)), 0 * m, m, beta=1.0, sites=8)
      >>> round(result.mean["entropy"], 3)  # ln 2
      0.693
    """
    check_beta(beta)
    check_sites(sites)
    shapes = {"log_q": np.shape(log_q), "energy": np.shape(energy), "magnetisation": np.shape(magnetisation)}
    if len(set(shapes.values())) > 1 or len(shapes["log_q"]) != 1:
        text = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"arrays of shapes {text}: expected [n] each, a number a sample")
    log_w = stream.checked_log_weights(stream.log_weights(log_q, energy, beta), 2)
    numbers, _ = stream.without_zeros(log_w, spin_numbers(energy, magnetisation))
    evidence = dataclasses.replace(evidence or Evidence(), entropy=entropy_of(log_q, log_w.shape), states=2.0**sites)
    state = stream.update(stream.init(len(SPINS), numbers.mean(axis=1)), log_w, numbers)
    return finalise(state, SPINS, spin_derived(beta, sites), evidence)


def window(
    log_q: Samples,
    energy: Samples,
    magnetisation: Samples,
    betas: Sequence[Scalar] | Real[AnyArray, " betas"],
    sites: Count,
) -> list[Estimates]:
    """Returns `thermodynamics` at each of several beta from the same samples; `status` tells how far they reach.

    Warns:
      UserWarning: at each beta whose status is not "trusted", as at the edges of a window that reaches too far.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> m = np.random.default_rng(0).choice([-1.0, 1.0], (4000, 8)).sum(1)  # of eight free spins
      >>> results = autoregressive.window(np.full(4000, 8 * np.log(0.5)), 0 * m, m, [0.5, 1.0], sites=8)
      >>> [round(result.ln_z, 3) for result in results]
      [5.545, 5.545]
    """
    return [thermodynamics(log_q, energy, magnetisation, beta, sites) for beta in betas]
