"""Benchmark of sampling against NetKet's cached sampler and against a full forward pass a site, in one run.

The floor is the multiplications that one look at every open tap of every site takes, over the speed of large matrix
products on this machine in the same run. The full-forward method, that of the paper's reference code, is a torch
network of ours: three passes are timed and taken times the number of sites. Peers: `make peers-netket`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import timing
from .convolution import full_precision
from .forward import prelu
from .networks import MADE, PixelCNN, init, layers, open_weights, sites
from .probability import log_prob, sum_of_terms
from .sampling import sample

SQUARE = PixelCNN(16, depth=6, channels=64, half_width=3)
WIDE = PixelCNN(16, depth=3, channels=64, half_width=6)
SMALL = PixelCNN(16, depth=4, channels=32, half_width=3)
NETWORKS = {"D6 C64 h3": SQUARE, "D3 C64 h6": WIDE}
PASSES = 3  # of the full-forward method that are timed


def run(bench) -> None:
    """Every comparison of this room."""
    flops = peak()
    bench.record("large matrix products", gflops=flops / 1e9)
    with bench.peer("netket") as peer:
        for name, batch, torch_too in (("D6 C64 h3", 100, True), ("D6 C64 h3", 1000, False), ("D3 C64 h6", 100, False)):
            against_peers(bench, peer, name, batch, torch_too, flops)
    implementations(bench)
    variants(bench, flops)
    gradients(bench)


def against_peers(bench, peer, name: str, batch: int, torch_too: bool, flops: float) -> None:
    """Samples with their log-probabilities: ours, NetKet's, and one full pass a site."""
    cfg = NETWORKS[name]
    params = init(cfg, jax.random.key(0))
    contestants = {"ours": lambda: draw(params, cfg, batch)}
    first, second = (timing.seconds_of(contestants["ours"]) for _ in range(2))
    compile_s = {"ours": first - second}
    if peer is not None:
        settings = {"length": 16, "depth": cfg.depth, "channels": cfg.channels, "half_width": cfg.half_width}

        def theirs():
            return peer.ask("sample", batch=batch, **settings)["seconds"][0]

        first = theirs()
        compile_s["NetKet"] = first - theirs()
        contestants["NetKet"] = theirs
        if torch_too:
            contestants["full forward, torch"] = full_forward(peer, params, cfg, batch)
    bench.compare(
        f"sample 16 x 16, {name}, batch {batch}",
        contestants,
        work=multiplications(cfg) * batch,
        unit="multiply-add",
        floor_s=2 * multiplications(cfg) * batch / flops,
        compile_s=compile_s,
        torch_passes_timed=PASSES if torch_too else 0,
    )


def full_forward(peer, params, cfg, batch: int):
    """A call that times some passes of the torch network and returns the seconds of one a site."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    weights = peer.put_many("weights", {"/".join(part.key for part in path): np.asarray(leaf) for path, leaf in leaves})
    spins = peer.put("spins", np.ones((batch, cfg.rows, cfg.columns), np.int8))
    network = {"kind": type(cfg).__name__, **dataclasses.asdict(cfg)}
    request = {"weights": weights, "spins": spins, "out": peer.folder / "out.npy", "network": network}
    return lambda: float(np.mean(peer.ask("log_prob", repeats=PASSES, **request)["seconds"])) * sites(cfg)


def implementations(bench) -> None:
    """Row by row against the wavefront, which of them is faster depends on the device."""
    params = init(SQUARE, jax.random.key(0))
    for batch in (1, 100):
        bench.compare(
            f"row split and wavefront, D6 C64 h3, batch {batch}",
            {
                which: lambda which=which, batch=batch: draw(params, SQUARE, batch, implementation=which)
                for which in ("row_split", "wavefront")
            },
            work=multiplications(SQUARE) * batch,
            unit="multiply-add",
        )


def variants(bench, flops: float) -> None:
    """What z2 costs, and MADE."""
    dense = MADE(16, depth=3, channels=4)
    for name, cfg in (
        ("D4 C32 h3", SMALL),
        ("D4 C32 h3 z2", dataclasses.replace(SMALL, z2=True)),
        ("MADE D3 C4", dense),
    ):
        params = init(cfg, jax.random.key(0))
        work = multiplications(cfg) * (2 if cfg.z2 else 1) * 1000
        bench.compare(
            f"sample 16 x 16, {name}, batch 1000",
            {"ours": lambda params=params, cfg=cfg: draw(params, cfg, 1000)},
            work=work,
            unit="multiply-add",
            floor_s=2 * work / flops,
        )


def gradients(bench) -> None:
    """The gradient of a mean log-probability, by products of rows and by XLA's own convolutions."""
    params = init(SMALL, jax.random.key(0))
    spins = jnp.asarray(np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (200, 16, 16)))

    def timed(log_q):
        gradient = jax.jit(jax.grad(lambda params: jnp.mean(log_q(params, SMALL, spins))))
        return lambda: _wait(gradient(params))

    bench.compare(
        "gradient of log_prob, D4 C32 h3, batch 200",
        {"ours": timed(log_prob), "XLA's convolutions": timed(_log_prob_by_xla)},
        work=3 * multiplications(SMALL) * 200,
        unit="multiply-add",
    )


def draw(params, cfg, batch: int, **arguments) -> None:
    """Draws samples and waits for them."""
    _wait(sample(params, cfg, jax.random.key(1), batch, **arguments))


def multiplications(cfg) -> int:
    """Multiplications of one configuration where every site meets its open taps once."""
    if isinstance(cfg, MADE):
        return sum(layer.inputs * layer.outputs * int(open_weights(cfg, layer).sum()) for layer in layers(cfg))
    return sites(cfg) * sum(layer.inputs * layer.outputs * int(open_weights(cfg, layer).sum()) for layer in layers(cfg))


def peak() -> float:
    """Operations a second of large float32 matrix products, the best of five."""
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(2048, 2048)), jnp.float32)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    return 2 * 2048**3 / timing.of(lambda: product(matrix)).best


def _log_prob_by_xla(params, cfg, spins):
    """`log_prob` of a plain PixelCNN by masked convolutions of XLA, samples outermost."""
    x = spins[..., None].astype(jnp.float32)
    names = ("NHWC", "HWIO", "NHWC")
    with full_precision():
        for layer in layers(cfg):
            entry = params[layer.name]
            u = jnp.moveaxis(prelu(jnp.moveaxis(x, -1, 0), entry["slope"]), 0, -1) if layer.activated else x
            kernel = entry["kernel"] * open_weights(cfg, layer)
            x = lax.conv_general_dilated(u, kernel, (1, 1), "SAME", dimension_numbers=names) + entry["bias"]
    return sum_of_terms(cfg, jnp.moveaxis(x[..., 0], 0, -1), jnp.moveaxis(spins, 0, -1).astype(jnp.float32))


def _wait(values) -> None:
    jax.block_until_ready(values)
