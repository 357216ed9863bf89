"""Networks that the tests of this folder share: every switch at least once, on lattices that are not square too."""

import dataclasses

import jax
import numpy as np
import pytest

from kernels.autoregressive import MADE, PixelCNN, init
from tests.kernels.oracles import autoregressive as oracle

PLAIN = PixelCNN(3, depth=3, channels=4, half_width=1)
NETWORKS = {
    "pixel_cnn": PLAIN,
    "z2": PixelCNN(3, depth=3, channels=3, half_width=2, z2=True),
    "residual": PixelCNN(3, depth=4, channels=3, half_width=1, residual=True),
    "final": PixelCNN(3, depth=3, channels=4, half_width=2, final_conv=True, bias=False),
    "residual_final_z2": PixelCNN(3, depth=4, channels=2, half_width=3, residual=True, final_conv=True, z2=True),
    "one_layer": PixelCNN(3, depth=1, half_width=4, epsilon=0.1),
    "made": MADE(3, depth=3, channels=2),
    "made_residual_z2": MADE(3, depth=4, channels=2, residual=True, z2=True),
    "made_residual": MADE(3, depth=4, channels=3, residual=True),
    "made_logistic": MADE(3, depth=1, channels=1, bias=False, z2=True),
}
# Every switch is on in one of these; the others have them in other company, and wait for the slow tests.
QUICK = ("pixel_cnn", "final", "residual_final_z2", "made", "made_residual_z2")
every_network = pytest.mark.parametrize(
    "cfg",
    [pytest.param(cfg, id=name, marks=[] if name in QUICK else [pytest.mark.slow]) for name, cfg in NETWORKS.items()],
)


def parameters(cfg, seed=0, scale=2.0, dtype=np.float32):
    """Parameters far from the first ones: all uniform with bounds of 1/sqrt(their inputs) or so times `scale`, masked
    entries too."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: init(cfg, jax.random.key(0))))
    random = np.random.default_rng(seed)
    bounds = [scale / np.sqrt(max(leaf.size / leaf.shape[-1] / 2, 4)) for leaf in leaves]
    if isinstance(cfg, MADE):
        bounds = [scale / np.sqrt(6)] * len(leaves)
    new = [random.uniform(-bound, bound, leaf.shape).astype(dtype) for bound, leaf in zip(bounds, leaves, strict=True)]
    return jax.tree.unflatten(structure, new)


def resized(cfg, rows, columns):
    return dataclasses.replace(cfg, rows=rows, columns=columns)


def oracle_logits(cfg, params):
    """The oracle's logits as a function of one configuration."""
    if isinstance(cfg, MADE):
        return lambda spins: oracle.made(params, spins, cfg.bias, cfg.z2)
    return lambda spins: oracle.pixel_cnn(params, spins, cfg.half_width, cfg.bias, cfg.z2)


def random_spins(n, rows, columns, seed=0):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (n, rows, columns))
