"""ln Z from samples of the target law itself: what shows that q has lost a part, which q's own samples cannot."""

import math
from typing import NamedTuple

import numpy as np

from ..array_types import Scalar
from ..scalars import real
from . import pareto, reliability, stream
from .arguments import Samples
from .importance import SAME
from .reliability import Status

ADVICE = "draw more samples of p, or train the network longer"


class ReverseEstimate(NamedTuple):
    """ln Z from samples of p.

    Attributes:
      ln_z: -ln mean exp(-log_w).
      error: its standard error; infinite where it cannot be known.
      status: whether to trust it, and why not.
      k_hat: shape of the tail of the inverse weights; nan where none can be fitted.
      largest_share: of all inverse weight in one sample.
    """

    ln_z: float
    error: float
    status: Status
    k_hat: float
    largest_share: float


def reverse_ln_z(log_w: Samples, time: Scalar = 0.5) -> ReverseEstimate:
    """Returns ln Z from samples of p itself, such as of `ising.swendsen_wang`: -ln mean exp(-log_w).

    Where q misses a part of what p visits, this sees it and the forward estimate does not: one lost half of a
    symmetric law leaves a gap of ln 2 between them. Its own weak side is the other one: where q is wider than p, the
    inverse weights may have a heavy tail.

    Args:
      log_w: -beta E - ln q [n] at samples of p; +inf where q is zero.
      time: their integrated autocorrelation time, 1/2 when they are independent.

    Raises:
      ValueError: as `importance`; a time below 1/2, a log-weight of nan or -inf (a sample of p that p forbids).

    Warns:
      UserWarning: the status is not "trusted".

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> log_w = np.random.default_rng(0).normal(0, 0.1, 1000)  # of samples of p
      >>> abs(autoregressive.reverse_ln_z(log_w).ln_z) < 0.02
      True
    """
    real("time", time, "an integrated autocorrelation time, which is at least 1/2", lambda steps: steps >= 0.5)
    log_w = np.asarray(log_w, np.float64)
    if log_w.ndim == 1 and np.isneginf(log_w).any():
        where = int(np.argmax(np.isneginf(log_w)))
        raise ValueError(f"log_w[{where}]=-inf: a sample of p lies where p is zero; look at energies and the sampler")
    inverse = stream.checked_log_weights(-log_w, 2)
    n, highest = len(inverse), inverse.max()
    if highest == -np.inf:
        status = Status(reliability.NOT_USABLE, ("q is zero at all samples of p",))
        reliability.warn(status, ADVICE)
        return ReverseEstimate(math.inf, math.inf, status, math.nan, math.nan)
    relative = np.exp(inverse - highest)
    mean, square = relative.mean(), np.mean(np.square(relative))
    spread = max(square / mean**2 - 1, 0.0)
    k_hat, share = pareto.k_hat(inverse), float(1 / (n * mean))
    status = reliability.of_inverse_weights(n, n / (1 + spread) / (2 * time), share, k_hat, bool(spread <= SAME * n))
    error = math.inf if status.level == reliability.NOT_USABLE else math.sqrt(2 * time * spread / n)
    reliability.warn(status, ADVICE)
    return ReverseEstimate(float(-highest - np.log(mean)), error, status, k_hat, share)


def mirror_difference(log_w: Samples, log_q: Samples, log_q_mirrored: Samples) -> tuple[float, float]:
    """Returns (difference, error): by how much ln Z rises when q is averaged with its image under a symmetry of E.

    It is 0 for any q that misses nothing, and ln 2 for one that has lost one of two halves. Needs no samples of p; the
    same samples stand in both estimates, so that the error is that of their difference. For `Evidence.mirror`.

    Args:
      log_w: -beta E - ln q(s) [n] of samples of q.
      log_q: ln q(s) [n].
      log_q_mirrored: ln q [n] of the images of the samples, such as -s.

    Raises:
      ValueError: as `importance`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> log_q = np.full(100, np.log(0.5))
      >>> autoregressive.mirror_difference(np.zeros(100), log_q, log_q)[0]  # the mirror image is as likely
      0.0
    """
    log_w = stream.checked_log_weights(log_w, 2)
    log_q, log_q_mirrored = (np.asarray(each, np.float64) for each in (log_q, log_q_mirrored))
    if not log_q.shape == log_q_mirrored.shape == log_w.shape:
        raise ValueError(f"log_q {list(log_q.shape)}, log_q_mirrored {list(log_q_mirrored.shape)}: expected as log_w")
    if (highest := log_w.max()) == -np.inf:
        return 0.0, math.inf
    plain = np.exp(log_w - highest)
    averaged = plain * np.exp(math.log(2) - np.logaddexp(0.0, log_q_mirrored - log_q))
    ratios = averaged / averaged.mean() - plain / plain.mean()
    return float(np.log(averaged.mean() / plain.mean())), float(np.sqrt(np.mean(np.square(ratios)) / len(log_w)))
