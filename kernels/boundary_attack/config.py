"""Settings of an attack."""

import dataclasses
import math

from ..scalars import real, whole
from .noise import NOISES, RADIUS_CAP

LEAST = {"budget": 1, "start_trials": 0, "bisections": 0, "check_every": 1, "batch_size": 1, "chunk": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """How one attack walks. Distances are L2 norms over all values of an image.

    Attributes:
      alpha: of the noise, in (0, 2]; 2 is Gaussian. Two or more in a tuple: every image learns which of them its
        successes per query favour.
      noise: "coordinatewise" (independent values, every step rescaled to delta), "length" (the same, with steps as long
        as the vector is beside its median: the jumps stay; a table of medians is made first, once for each size of
        image in a process, two seconds for 784 values and a minute for 224 x 224 x 3, which is logged), "radius"
        (Gaussian directions, step lengths of the law) or "isotropic" (a null control: the law of alpha = 2 for every
        alpha).
      cap: the longest step of "length" and "radius", in units of the median one.
      rescale_after_clip: lengthen steps that the box cut short until they have the length that they should have.
      budget: most queries an image, at least 1; everything counts.
      goal: an image is done when its distance is no more than this.
      lo, hi: the box that images live in.
      quantize: round every candidate to so many equal levels of the box before it is queried (256 for 8-bit images).
      delta, eps: first step sizes along the boundary and towards the clean image, in units of the distance.
      eps_stop: an image is done when its eps falls below this.
      start_trials: most uniform random images that are tried as a start.
      bisections: queries spent on the segment between the start and the clean image.
      check_every: every so many steps the point on the sphere is queried too.
      conditional: eps follows only those outcomes where the point on the sphere was adversarial; see `record`.
      batch_size: images at a time, filled up where there are fewer: what a victim computes for one image then does not
        depend on how many others there are.
      chunk: queries an image between two looks of the host; changes nothing but the time.
    """

    alpha: float | tuple[float, ...] = 1.0
    noise: str = "coordinatewise"
    cap: float = RADIUS_CAP
    rescale_after_clip: bool = False
    budget: int = 25_000
    goal: float = 0.0
    lo: float = 0.0
    hi: float = 1.0
    quantize: int | None = None
    delta: float = 0.01
    eps: float = 0.01
    eps_stop: float = 1e-7
    start_trials: int = 1000
    bisections: int = 10
    check_every: int = 10
    conditional: bool = False
    batch_size: int = 32
    chunk: int = 500

    def __post_init__(self):
        if isinstance(self.alpha, tuple) and len(self.alpha) < 2:
            raise ValueError(f"alpha is {self.alpha!r}; expected a number, or a tuple of two or more to learn from")
        for alpha in self.alpha if isinstance(self.alpha, tuple) else (self.alpha,):
            _check_number("alpha", alpha, lambda a: 0 < a <= 2, "a number in (0, 2], or a tuple of such")
        if self.noise not in NOISES:
            raise ValueError(f"noise is {self.noise!r}; choose one of {', '.join(NOISES)}")
        _check_number("goal", self.goal, lambda a: a >= 0, "a distance of at least 0")
        _check_number("lo", self.lo, math.isfinite, "a finite number below hi")
        _check_number("hi", self.hi, math.isfinite, "a finite number above lo")
        if not self.lo < self.hi:
            raise ValueError(f"lo is {self.lo} and hi {self.hi}; expected lo below hi")
        for name in ("delta", "eps", "cap"):
            _check_number(name, getattr(self, name), lambda a: 0 < a < math.inf, "a positive number")
        _check_number("eps_stop", self.eps_stop, lambda a: a >= 0, "a number of at least 0")
        for name, least in LEAST.items():
            _check_integer(name, getattr(self, name), least)
        for name in ("conditional", "rescale_after_clip"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected True or False")
        if self.quantize is not None:
            _check_integer("quantize", self.quantize, 2)


def _check_number(name, value, holds, expected):
    real(name, value, expected, holds)


def _check_integer(name, value, least):
    whole(name, value, least)
    whole(name, value, least, 2**31 - 1)
