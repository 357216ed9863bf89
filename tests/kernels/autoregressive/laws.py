"""A law of 64 states whose truth is a sum, that the tests of this folder draw from."""

import numpy as np

BETA, N = 0.5, 6


class Law:
    """64 states with energies and magnetisations, p at any beta, and a q that is nearly p."""

    def __init__(self, seed=0, states=64):
        rng = np.random.default_rng(seed)
        self.energy = rng.normal(0, 3, states)
        self.m = rng.integers(-6, 7, states) + 0.5
        log_q = -0.35 * self.energy + rng.normal(0, 0.3, states)
        self.log_q = log_q - np.log(np.exp(log_q).sum())

    def truth(self, beta=BETA):
        weights = np.exp(-beta * self.energy)
        z = weights.sum()
        p = weights / z
        u, m = p @ self.energy, np.abs(self.m)
        return np.log(z), {
            "free_energy": -np.log(z) / beta / N,
            "u": u / N,
            "entropy": -(p @ np.log(p)) / N,
            "c_v": beta**2 * (p @ self.energy**2 - u**2) / N,
            "abs_m_site": p @ m / N,
            "m_squared_site": p @ m**2 / N**2,
            "chi": beta * (p @ m**2 - (p @ m) ** 2) / N,
            "binder": 1 - (p @ m**4) / (3 * (p @ m**2) ** 2),
        }

    def draw(self, n, seed):
        choice = np.random.default_rng(seed).choice(len(self.energy), n, p=np.exp(self.log_q))
        return self.log_q[choice], self.energy[choice], self.m[choice]


LAW = Law()
