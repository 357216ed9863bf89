"""The Boundary Attack of arXiv:1712.04248 in plain float64 NumPy, written from the formulas, one image at a time."""

import collections

import numpy as np


def step_points(noise, x0, x, delta, eps, lo, hi):
    """Returns (xs, xc) for one image, flat float64 [d], from any noise [d] that is not parallel to x - x0."""
    offset = x - x0
    distance = np.linalg.norm(offset)
    unit = offset / distance
    tangent = noise - (noise @ unit) * unit
    tangent *= delta * distance / np.linalg.norm(tangent)
    xs = np.clip(x0 + (offset + tangent) / np.sqrt(1 + delta**2), lo, hi)
    left = np.linalg.norm(x0 - xs)
    towards = (x0 - xs) / left
    xc = np.clip(xs + towards * max(0.0, eps * distance + left - distance), lo, hi)
    return xs, xc


class Steps:
    """Step sizes that follow windows of outcomes."""

    def __init__(self, delta=0.01, eps=0.01, conditional=False):
        self.delta, self.eps, self.conditional = delta, eps, conditional
        self.sphere, self.after = collections.deque(maxlen=100), collections.deque(maxlen=30)

    def note(self, on_sphere, after):
        """Takes the outcomes of a step whose point on the sphere was queried."""
        self.sphere.append(on_sphere)
        if on_sphere or not self.conditional:
            self.after.append(after)
        if len(self.sphere) == 100:
            if sum(self.sphere) > 50:
                self.delta, self.eps = self.delta * 1.5, self.eps * 1.5
                self.sphere.clear()
            elif sum(self.sphere) < 20:
                self.delta, self.eps = self.delta / 1.5, self.eps / 1.5
                self.sphere.clear()
        if len(self.after) == 30:
            if sum(self.after) > 7.5:
                self.eps *= 1.5
                self.after.clear()
            elif sum(self.after) < 3:
                self.eps /= 1.5
                self.after.clear()


def walk(is_adversarial, x0, start, budget, generator, lo, hi, steps):
    """Returns the distance after `budget` queries of the Gaussian attack from an adversarial start, checks counted."""
    x, used, step = np.array(start, float), 0, 0
    while used < budget and steps.eps >= 1e-7:
        noise = generator.standard_normal(x.size)
        xs, xc = step_points(noise, x0, x, steps.delta, steps.eps, lo, hi)
        checks = step % 10 == 0 and budget - used >= 2
        on_sphere = checks and bool(is_adversarial(xs))
        after = bool(is_adversarial(xc))
        used, step = used + 1 + checks, step + 1
        if after and np.linalg.norm(xc - x0) < np.linalg.norm(x - x0):
            x = xc
        if checks:
            steps.note(on_sphere, after)
    return np.linalg.norm(x - x0)
