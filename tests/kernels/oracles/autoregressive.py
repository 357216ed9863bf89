"""The networks of arXiv:1809.10606 in float64 NumPy, site by site from the formulas; slow, the judge of the kernel.

Nothing here is imported from the kernel: masks, paddings and the bound of the conditionals are spelled out again.
Parameters come as nested dictionaries of arrays, spins as one configuration [rows, columns] of +-1.
"""

import itertools

import numpy as np


def all_states(rows: int, columns: int) -> np.ndarray:
    """Every configuration, int8 [2^(rows columns), rows, columns]; state k has the bits of k, first site highest."""
    flat = list(itertools.product([-1, 1], repeat=rows * columns))
    return np.array(flat, np.int8).reshape(-1, rows, columns)


def state_index(spins: np.ndarray) -> np.ndarray:
    """Position of configurations [n, rows, columns] in `all_states`."""
    flat = np.asarray(spins).reshape(len(spins), -1) > 0
    return flat @ (2 ** np.arange(flat.shape[1])[::-1])


def prelu(x, slope):
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def pixel_cnn(params, spins, half_width, bias, z2):
    """Logits [rows, columns] by the sums over taps at each site."""
    rows, columns = spins.shape
    x = np.asarray(spins, np.float64)[:, :, None]
    for k in range(sum(name.startswith("layer_") for name in params)):
        entry = {key: value for key, value in params[f"layer_{k}"].items()}
        u = x
        if "mix" in entry:
            u = u @ np.asarray(entry["mix"]["kernel"], np.float64) + np.asarray(entry["mix"].get("bias", 0))
        if k > 0:
            u = prelu(u, np.asarray(entry["slope"], np.float64))
        kernel = np.asarray(entry["kernel"], np.float64)
        y = np.zeros((rows, columns, kernel.shape[3])) + np.asarray(entry.get("bias", 0), np.float64)
        for i, j in itertools.product(range(rows), range(columns)):
            for p, q in itertools.product(range(rows), range(columns)):
                earlier = p < i or (p == i and (q < j or (q == j and k > 0)))
                if earlier and abs(p - i) <= half_width and abs(q - j) <= half_width:
                    y[i, j] += u[p, q] @ kernel[p - i + half_width, q - j + half_width]
        x = x + y if "mix" in entry else y
    if "final" in params:
        u = prelu(x, np.asarray(params["final"]["slope"], np.float64))
        x = u @ np.asarray(params["final"]["kernel"], np.float64) + np.asarray(params["final"].get("bias", 0))
    return first_is_half(x[:, :, 0], bias, z2)


def made(params, spins, bias, z2):
    """Logits [rows, columns] by the sums over earlier sites at each site."""
    sites = spins.size
    x = np.asarray(spins, np.float64).reshape(sites, 1)
    for k in range(len(params)):
        entry = params[f"layer_{k}"]
        u = x
        if "mix" in entry:
            u = np.einsum("ic,icd->id", u, np.asarray(entry["mix"]["kernel"], np.float64))
            u = u + np.asarray(entry["mix"].get("bias", 0))
        if k > 0:
            u = prelu(u, np.asarray(entry["slope"], np.float64))
        kernel = np.asarray(entry["kernel"], np.float64)
        y = np.zeros((sites, kernel.shape[3])) + np.asarray(entry.get("bias", 0), np.float64)
        for i in range(sites):
            for j in range(i + (k > 0)):
                y[i] += u[j] @ kernel[j, :, i]
        x = x + y if "mix" in entry else y
    return first_is_half(x.reshape(spins.shape), bias, z2)


def first_is_half(a, bias, z2):
    a = a.copy()
    if bias and not z2:
        a[0, 0] = 0
    return a


def log_prob(logits, spins, epsilon, z2):
    """ln q of one configuration. `logits` is a function of spins [rows, columns]."""

    def plain(s):
        x = epsilon + (1 - 2 * epsilon) / (1 + np.exp(-s * logits(s)))
        return np.log(x).sum()

    return np.logaddexp(plain(spins), plain(-spins)) - np.log(2) if z2 else plain(spins)
