"""Power delay profiles of multipath fading: tapped delay lines A to E of 3GPP, and one's own.

Source: 3GPP TR 38.901, tables 7.7.2-1 to 7.7.2-5: delays as multiples of the delay spread, powers in dB, which are
brought to a sum of 1 here. A, B and C have Rayleigh taps alone; the first tap of D and E is Ricean, and stands there as
two entries: its line of sight, then what is scattered.
"""

import dataclasses
import math

import numpy as np

from .. import scalars
from .arguments import checked_choice

PROFILES = ("A", "B", "C", "D", "E")
SUM = 1e-9  # how far from 1 the powers of a profile may add up


def _not_negative(values: np.ndarray) -> np.ndarray:
    return (values >= 0) & (values < np.inf)


@dataclasses.dataclass(frozen=True)
class Profile:
    """Taps of a tapped delay line; hashable, static under `jax.jit`.

    Attributes:
      name: of the profile.
      delays: [taps], as multiples of the delay spread, 0 or above.
      powers: [taps], mean |gain|^2 of what is scattered.
      line_of_sight: power of the line of sight, which belongs to the first tap; 0: there is none. With `powers` its sum
        is 1.

    Raises:
      ValueError: numbers out of range, lengths that differ, powers that do not add up to 1.
    """

    name: str
    delays: tuple[float, ...]
    powers: tuple[float, ...]
    line_of_sight: float = 0.0

    def __post_init__(self):
        for name in ("delays", "powers"):
            scalars.reals(name, getattr(self, name), "finite numbers of 0 or above", _not_negative)
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        direct = scalars.real("line_of_sight", self.line_of_sight, "a power in [0, 1)", lambda power: 0 <= power < 1)
        object.__setattr__(self, "line_of_sight", direct)
        if not self.delays or len(self.delays) != len(self.powers):
            raise ValueError(
                f"{len(self.delays)} delays and {len(self.powers)} powers: expected one of each a tap, at least one tap"
            )
        total = math.fsum(self.powers) + direct
        if abs(total - 1) > SUM:
            raise ValueError(f"powers and line_of_sight add up to {total:.12g}: expected 1; divide them by their sum")

    @property
    def rice_factor(self) -> float:
        """Power of the line of sight over that of the rest of the first tap, 0 without one; 10 log10 of it in dB."""
        if not self.line_of_sight:
            return 0.0
        return self.line_of_sight / self.powers[0] if self.powers[0] else math.inf

    @property
    def rms_delay_spread(self) -> float:
        """Root of the second central moment of the delays, weighted by power; 1 but for rounding in A to E."""
        weights = np.array([self.line_of_sight, *self.powers])
        delays = np.array([self.delays[0], *self.delays])
        mean = weights @ delays
        return math.sqrt(weights @ (delays - mean) ** 2)


def tdl_profile(name: str) -> Profile:
    """One of the tapped delay lines of TR 38.901: "A", "B" or "C", without a line of sight, "D" or "E", with one.

    Args:
      name: "A" to "E".

    Raises:
      ValueError: another name.

    Source: 3GPP TR 38.901, section 7.7.2.

    Example:
      >>> from havel.kernels import channel
      >>> profile = channel.tdl_profile("E")
      >>> len(profile.powers), round(profile.rice_factor, 3), round(profile.rms_delay_spread, 3)
      (14, 158.489, 1.0)
    """
    name = checked_choice("name", name, PROFILES)
    delays, decibels, direct_decibels = _TABLES[name]
    powers = [10 ** (power / 10) for power in decibels]
    direct = 0.0 if direct_decibels is None else 10 ** (direct_decibels / 10)
    total = math.fsum([*powers, direct])
    return Profile(name, delays, tuple(power / total for power in powers), direct / total)


def checked_profile(profile: str | Profile) -> Profile:
    """A profile as it is, or the one of a name."""
    if isinstance(profile, Profile):
        return profile
    if not isinstance(profile, str) or profile not in PROFILES:
        raise scalars.refusal("profile", profile, f"one of {', '.join(PROFILES)}, or a Profile of your own")
    return tdl_profile(profile)


# Name -> (delays, powers in dB of what is scattered, power in dB of the line of sight).
_TABLES: dict[str, tuple[tuple[float, ...], tuple[float, ...], float | None]] = {
    "A": (
        (0.0, 0.3819, 0.4025, 0.5868, 0.4610, 0.5375, 0.6708, 0.5750, 0.7618, 1.5375, 1.8978, 2.2242,
         2.1718, 2.4942, 2.5119, 3.0582, 4.0810, 4.4579, 4.5695, 4.7966, 5.0066, 5.3043, 9.6586),
        (-13.4, 0.0, -2.2, -4.0, -6.0, -8.2, -9.9, -10.5, -7.5, -15.9, -6.6, -16.7,
         -12.4, -15.2, -10.8, -11.3, -12.7, -16.2, -18.3, -18.9, -16.6, -19.9, -29.7),
        None,
    ),
    "B": (
        (0.0, 0.1072, 0.2155, 0.2095, 0.2870, 0.2986, 0.3752, 0.5055, 0.3681, 0.3697, 0.5700, 0.5283,
         1.1021, 1.2756, 1.5474, 1.7842, 2.0169, 2.8294, 3.0219, 3.6187, 4.1067, 4.2790, 4.7834),
        (0.0, -2.2, -4.0, -3.2, -9.8, -1.2, -3.4, -5.2, -7.6, -3.0, -8.9, -9.0,
         -4.8, -5.7, -7.5, -1.9, -7.6, -12.2, -9.8, -11.4, -14.9, -9.2, -11.3),
        None,
    ),
    "C": (
        (0.0, 0.2099, 0.2219, 0.2329, 0.2176, 0.6366, 0.6448, 0.6560, 0.6584, 0.7935, 0.8213, 0.9336,
         1.2285, 1.3083, 2.1704, 2.7105, 4.2589, 4.6003, 5.4902, 5.6077, 6.3065, 6.6374, 7.0427, 8.6523),
        (-4.4, -1.2, -3.5, -5.2, -2.5, 0.0, -2.2, -3.9, -7.4, -7.1, -10.7, -11.1,
         -5.1, -6.8, -8.7, -13.2, -13.9, -13.9, -15.8, -17.1, -16.0, -15.7, -21.6, -22.8),
        None,
    ),
    "D": (
        (0.0, 0.035, 0.612, 1.363, 1.405, 1.804, 2.596, 1.775, 4.042, 7.937, 9.424, 9.708, 12.525),
        (-13.5, -18.8, -21.0, -22.8, -17.9, -20.1, -21.9, -22.9, -27.8, -23.6, -24.8, -30.0, -27.7),
        -0.2,
    ),
    "E": (
        (0.0, 0.5133, 0.5440, 0.5630, 0.5440, 0.7112, 1.9092, 1.9293, 1.9589, 2.6426, 3.7136, 5.4524,
         12.0034, 20.6519),
        (-22.03, -15.8, -18.1, -19.8, -22.9, -22.4, -18.6, -20.8, -22.6, -22.3, -25.6, -20.2, -29.8, -29.2),
        -0.03,
    ),
}  # fmt: skip
