"""Float64 NumPy twins of kernels/alpha_stable, written from the textbook formulas and as slow as those are.

Draws are functions of an angle U, uniform on (-pi/2, pi/2), and a standard exponential W (Chambers, Mallows, Stuck
1976; Kanter 1975). Density and distribution function are Fourier integrals of the characteristic function, taken along
a ray of the complex plane where it decays, with a fine double-exponential rule: nothing of the kernel's own way.
"""

import math

import numpy as np


def threefry(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """One block of Threefry-2x32 with 20 rounds, in Python integers."""
    mask = 2**32 - 1
    words = (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)
    a, b = (counter[0] + words[0]) & mask, (counter[1] + words[1]) & mask
    for number in range(20):
        rotation = (13, 15, 26, 6, 17, 29, 16, 24)[number % 8]
        a = (a + b) & mask
        b = ((b << rotation | b >> (32 - rotation)) & mask) ^ a
        if number % 4 == 3:
            turn = number // 4 + 1
            a = (a + words[turn % 3]) & mask
            b = (b + words[(turn + 1) % 3] + turn) & mask
    return a, b


def symmetric(alpha: float, u: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Symmetric draws of scale 1."""
    factor = np.sin(alpha * u) / np.cos(u) ** (1 / alpha)
    return factor * (np.cos((1 - alpha) * u) / w) ** ((1 - alpha) / alpha)


def skewed_s1(alpha: float, beta: float, u: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Draws in Nolan's S1, scale 1, location 0."""
    if alpha == 1:
        right = np.pi / 2 + beta * u
        return 2 / np.pi * (right * np.tan(u) - beta * np.log(np.pi / 2 * w * np.cos(u) / right))
    zeta = beta * np.tan(np.pi * alpha / 2)
    b = np.arctan(zeta) / alpha
    scale = (1 + zeta**2) ** (1 / (2 * alpha))
    rest = (np.cos(u - alpha * (u + b)) / w) ** ((1 - alpha) / alpha)
    return scale * np.sin(alpha * (u + b)) / np.cos(u) ** (1 / alpha) * rest


def skewed_s0(alpha: float, beta: float, u: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Draws in Nolan's S0: S1 without its shift, which is infinite at alpha = 1 and 0 in the limit's stead."""
    shift = 0 if alpha == 1 else beta * np.tan(np.pi * alpha / 2)
    return skewed_s1(alpha, beta, u, w) - shift


def positive_log(c: float, v: np.ndarray, w: np.ndarray) -> np.ndarray:
    """ln of Kanter's positive stable draws of index c < 1, v uniform on (0, pi)."""
    mixed = np.log(np.sin((1 - c) * v)) - np.log(w)
    return np.log(np.sin(c * v)) - np.log(np.sin(v)) / c + (1 - c) / c * mixed


def characteristic_function(t: np.ndarray, alpha: float, beta: float, parametrization: str) -> np.ndarray:
    """E exp(i t X), scale 1, t not 0."""
    size = np.abs(t)
    if alpha == 1:
        return np.exp(-size * (1 + 2j * beta / np.pi * np.sign(t) * np.log(size)))
    tangent = beta * np.tan(np.pi * alpha / 2) * np.sign(t)
    if parametrization == "S0":
        return np.exp(-(size**alpha) * (1 + 1j * tangent * (size ** (1 - alpha) - 1)))
    return np.exp(-(size**alpha) * (1 - 1j * tangent))


def _on_a_ray(x: np.ndarray, alpha: float, points: int = 60_001) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """exp(itx - t^alpha) [*x, points], t, dt [points] and the angle of the ray, on which both factors decay.

    The nodes are t = exp(i angle + y - exp(-y)): double-exponential towards 0, as fast as exp towards infinity.
    """
    angle = np.pi / 4 * min(1, 1 / alpha)
    y, step = np.linspace(-6, 12 / min(alpha, 1), points, retstep=True)
    t = np.exp(1j * angle + y - np.exp(-y))
    return (
        np.exp(1j * t * np.abs(np.asarray(x, np.float64))[..., None] - t**alpha),
        t,
        t * (1 + np.exp(-y)) * step,
        angle,
    )


def density(x: np.ndarray, alpha: float) -> np.ndarray:
    """Symmetric density, good to about 1e-14 absolute: (1/pi) Re of the integral of exp(itx - t^alpha) dt."""
    values, _, dt, _ = _on_a_ray(x, alpha)
    return (values @ dt).real / np.pi


def survival(x: np.ndarray, alpha: float) -> np.ndarray:
    """P(X > x) to about 1e-14 absolute: 1/2 - (1/pi) Im of the integral of exp(itx - t^alpha) dt / t for x >= 0; the
    ray leaves out the arc around the pole, which is its angle."""
    values, t, dt, angle = _on_a_ray(x, alpha)
    inside = ((values @ (dt / t)).imag + angle) / np.pi
    return np.where(np.asarray(x) >= 0, 0.5 - inside, 0.5 + inside)


def tail_density(x: np.ndarray, alpha: float, terms: int) -> np.ndarray:
    """The series in 1/x^alpha: converges for alpha < 1, asymptotic above."""
    k = np.arange(1, terms + 1)
    gamma = np.array([math.gamma(alpha * j + 1) / math.factorial(j) for j in k])
    signs = -((-1.0) ** k) * np.sin(k * np.pi * alpha / 2)
    return (signs * gamma * np.asarray(x, np.float64)[..., None] ** (-alpha * k - 1)).sum(axis=-1) / np.pi
