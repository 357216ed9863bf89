"""What iNNvestigate 2.1.2 does by mistake, for those who need its numbers: `as_coded=True` of its analyzers.

Nothing else imports this module. AlphaBetaX takes b1 for a1, batch normalisation as an affine layer squares its
variance and forgets gamma in the bias, and SmoothGrad's `noise_scale` is never read.
"""

from __future__ import annotations

import dataclasses

from . import innvestigate, norm_rules

SIGMA = 1.0  # of SmoothGrad's noise, whatever `noise_scale` says


@dataclasses.dataclass(frozen=True)
class AlphaBetaX(innvestigate.AlphaBetaX):
    """a0 (x+ W+) + b1 (x- W-) - b0 (x+ W-) - b1 (x- W+): a1 is not used."""

    @property
    def factors(self) -> tuple[float, float, float, float]:
        """Of x+ W+, x- W-, x+ W-, x- W+."""
        return self.alpha[0], self.beta[1], -self.beta[0], -self.beta[1]


def rule(one: object) -> object:
    """Returns a rule as it is coded there."""
    if type(one) is innvestigate.AlphaBetaX:
        return AlphaBetaX(one.alpha, one.beta, one.bias)
    return one


@dataclasses.dataclass(frozen=True)
class ScaleLayer(norm_rules.ScaleLayer):
    """y = k x + b with tau = sqrt(variance^2 + epsilon), k = gamma / tau and b = beta - mu / tau, without gamma."""

    def layers(self, operation, values, program) -> list[tuple]:
        """Returns (k, b) of the layers, the first one first."""
        parts = norm_rules.norm_parts(operation, values, program)
        variance = (parts.variance - parts.epsilon) ** 2 + parts.epsilon
        inverse = parts.inverse_deviation(variance)
        if self.two:
            return [(inverse, -parts.mean * inverse), (parts.gamma, parts.beta)]
        return [(parts.gamma * inverse, parts.beta - parts.mean * inverse)]
