"""What `kernels.bench_device` times: every kernel on sizes that fill an accelerator, beside its floor.

Each function measures one room. Sizes in parentheses are for a rehearsal on a CPU. Floors count the bytes that must be
read and written once and the multiplications that cannot be left out, over the ceilings of `ceilings.measured`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def waited(call, *arguments):
    """A call that waits for its arrays and gives nothing back."""

    def run() -> None:
        jax.block_until_ready(call(*arguments))

    return run


def autoregressive(bench) -> None:
    """Sampling, its two implementations, the way one would do it without (a full pass a site), gradients, weights."""
    from .autoregressive import MADE, PixelCNN, init, log_prob, markov_chain, nmcmc, sample
    from .autoregressive import bench as room

    peak = bench.ceilings["float32_exact_per_s"]
    pixel = PixelCNN(16, depth=6, channels=64, half_width=3) if bench.large else PixelCNN(6, depth=3, channels=8)
    dense = MADE(16, depth=3, channels=4) if bench.large else MADE(4, depth=2, channels=2)
    for cfg, name in ((pixel, "PixelCNN"), (dense, "MADE")):
        params = init(cfg, jax.random.key(0))
        for batch in bench.sized((1000, 10_000), (20,)):
            calls = {"ours": waited(lambda p=params, c=cfg, b=batch: sample(p, c, jax.random.key(1), b))}
            if cfg is pixel and batch == bench.sized(1000, 20):
                for which in ("row_split", "wavefront"):
                    calls[which] = waited(
                        lambda p=params, c=cfg, b=batch, w=which: sample(p, c, jax.random.key(1), b, implementation=w)
                    )
            work = room.multiplications(cfg) * batch
            bench.compare(
                f"sample, {name} {cfg.rows} x {cfg.columns}, batch {batch}", calls, work=work, unit="multiply-add",
                floor_s=2 * work / peak,
            )  # fmt: skip
    params, batch = init(pixel, jax.random.key(0)), bench.sized(1000, 20)
    spins = jnp.asarray(np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (batch, pixel.rows, pixel.columns)))
    work = room.multiplications(pixel) * batch
    for name, factor, wrap in (("log_prob", 1, lambda f: f), ("gradient of log_prob", 3, jax.grad)):
        calls = {
            who: waited(jax.jit(wrap(lambda p, f=f: jnp.sum(f(p, pixel, spins)))), params)
            for who, f in (("ours", log_prob), ("XLA's convolutions", room._log_prob_by_xla))
        }
        bench.compare(
            f"{name}, PixelCNN, batch {batch}", calls, work=factor * work, unit="multiply-add",
            floor_s=2 * factor * work / peak,
        )  # fmt: skip
    log_w = jax.random.normal(jax.random.key(2), (bench.sized(1_000_000, 1000),))
    few = log_w[: bench.sized(50_000, 1000)]
    chain = jax.jit(lambda log_w: nmcmc(jax.random.key(3), log_w))
    bench.compare("nmcmc, a million steps", {"ours": waited(chain, log_w)}, work=log_w.size, unit="step")
    forms = {
        name: waited(jax.jit(form), few, few + 1, jnp.int32(0))
        for name, form in (("jumps", markov_chain._chain_by_jumps), ("steps", markov_chain._chain_by_steps))
    }
    bench.compare("nmcmc by jumps and by steps", forms, work=few.size, unit="step")


def alpha_stable(bench) -> None:
    """Draws beside JAX's normal draws, and densities."""
    from . import alpha_stable as room

    count, key = bench.sized(1 << 26, 1 << 14), jax.random.key(0)
    normal = waited(jax.jit(lambda key: jax.random.normal(key, (count,))), key)
    floor = 4 * count / bench.ceilings["bytes_per_s"]
    draws = {f"sas, alpha {alpha}": functools.partial(room.sas, key, alpha, (count,)) for alpha in (0.5, 1.0, 1.5, 2.0)}
    draws |= {
        "stable, alpha 1.5, beta 0.7": lambda: room.stable(key, 1.5, 0.7, (count,)),
        "sub_gaussian, alpha 1.5, 1024 values a vector": lambda: room.sub_gaussian(key, 1.5, (count // 1024,), 1024),
        "sas with an rbg key, alpha 1.5": lambda: room.sas(jax.random.key(0, impl="rbg"), 1.5, (count,)),
    }
    for name, call in draws.items():
        bench.compare(name, {"ours": waited(call), "jax.random.normal": normal}, work=count, unit="draw", floor_s=floor)
    x = room.sas(key, 1.5, (bench.sized(1 << 22, 1 << 10),))
    for alpha in (0.8, 1.5):
        density = jax.jit(room.sas_log_pdf)
        bench.compare(
            f"sas_log_pdf, alpha {alpha}", {"ours": waited(density, x, jnp.float32(alpha))}, work=x.size, unit="value",
            floor_s=8 * x.size / bench.ceilings["bytes_per_s"],
        )  # fmt: skip


def boundary_step(bench) -> None:
    """One step of an attack on photographs and on digits."""
    from . import boundary_step as room

    for batch, side, channels in bench.sized(((64, 224, 3), (1024, 28, 1)), ((4, 28, 1),)):
        shape = (batch, side, side, channels)
        clean, start = jax.random.uniform(jax.random.key(0), (2, *shape))
        pace = room.initial_pace(batch)
        for noise in ("isotropic", "coordinatewise"):
            step = jax.jit(
                lambda key, a, b, pace, noise=noise: room.propose(key, a, b, pace.delta, pace.eps, 1.5, noise, 0.0, 1.0)
            )
            bench.compare(
                f"propose, {noise}, {batch} images of {side} x {side} x {channels}",
                {"ours": waited(step, jax.random.key(1), clean, start, pace)}, work=clean.size, unit="value",
                floor_s=16 * clean.size / bench.ceilings["bytes_per_s"],
            )  # fmt: skip


def attribution(bench) -> None:
    """Relevance of VGG11 beside its own gradient, as the device multiplies by default and exactly."""
    from .attribution import bench as room
    from .attribution.bench import networks, plans

    plan = plans.vgg11()
    fn, params = networks.function(plan), networks.from_torch(plans.parameters(plan, seed=0), np.float32)
    params, batch = jax.device_put(params), bench.sized(256, 1)
    x = jax.random.normal(jax.random.key(1), (batch, room.SIDE, room.SIDE, 3))
    problem, work = (params, x, jnp.full(batch, room.TARGET)), room.multiplications(fn, params, x[:1])
    for precision, peak in (("default", "float32_default_per_s"), ("highest", "float32_exact_per_s")):
        for name in ("epsilon_plus_flat", "epsilon_plus", "epsilon_gamma_box", "guided_backprop"):
            with jax.default_matmul_precision(None if precision == "default" else precision):
                call, own = (jax.jit(room.call_of(fn, kind)).lower(*problem).compile() for kind in (name, "gradient"))
                floor = (
                    {"floor_s": 2 * room.PASSES[name] * work * batch / bench.ceilings[peak]}
                    if name in room.PASSES
                    else {}
                )
                bench.compare(
                    f"{name}, VGG11, batch {batch}, precision {precision}",
                    {"ours": waited(call, *problem), "own gradient": waited(own, *problem)},
                    work=batch, unit="images", **floor,
                )  # fmt: skip
            bench.attributions[name, precision] = np.asarray(call(*problem))
    for name, precision in list(bench.attributions):
        if precision == "default":
            exact = bench.attributions[name, "highest"]
            off = float(np.abs(bench.attributions[name, "default"] - exact).max() / np.abs(exact).max())
            bench.record(f"{name}, what the default precision changes", of_the_largest=off)


def ising(bench) -> None:
    """Cluster Monte Carlo, chains side by side."""
    from .ising import swendsen_wang, wolff

    for chains, side in bench.sized(((1024, 16), (128, 128)), ((2, 8),)):
        spins = jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, (chains, side, side)), 1, -1).astype(jnp.int8)
        for name, method, steps in (("swendsen_wang", swendsen_wang, 10), ("wolff", wolff, 10)):
            call = functools.partial(method, jax.random.key(1), spins, 0.44, 1.0, steps)
            bench.compare(
                f"{name}, {chains} chains of {side} x {side}, {steps} steps", {"ours": waited(call)},
                work=spins.size * steps, unit="spin", floor_s=2 * spins.size * steps / bench.ceilings["bytes_per_s"],
            )  # fmt: skip


def entropy_coding(bench) -> None:
    """The rates that run under jit; decisions for the candidates of a search, and beside them the host's; the coder
    itself, which is compiled for the host."""
    from .entropy_coding import compress, decompress, quantize_rdo, quantize_trellis, rate_exact, rate_static

    tensors, size = bench.sized((256, 1 << 14), (4, 1 << 10))
    q = np.rint(np.random.default_rng(0).laplace(0, 0.217, (tensors, size))).astype(np.int32)
    on_device = jax.device_put(q)
    floor = 4 * q.size / bench.ceilings["bytes_per_s"]
    for name, rate in (
        ("rate_exact, known bound", functools.partial(rate_exact, presets=False, max_level=int(np.abs(q).max()))),
        ("rate_static", rate_static),
    ):
        call = jax.jit(jax.vmap(rate))
        bench.compare(
            f"{name}, {tensors} tensors of {size}", {"ours": waited(call, on_device)}, work=q.size, unit="w",
            floor_s=floor,
        )  # fmt: skip
    candidates, size = bench.sized((512, 1 << 12), (4, 1 << 8))
    w = np.random.default_rng(1).laplace(0, 1.0, size).astype(np.float32)
    steps = [2.0 ** (k / candidates - 0.5) for k in range(candidates)]
    for decide, rate_weight in ((quantize_rdo, 0.1155), (quantize_trellis, 0.32)):
        for form, where in (("xla", ""), ("compiled", ", all cores of the host")):  # apart: the second needs Numba
            call = functools.partial(decide, [w] * candidates, steps, rate_weight, implementation=form)
            facts = {"floor_s": 8 * candidates * size / bench.ceilings["bytes_per_s"]} if form == "xla" else {}
            bench.compare(
                f"{decide.__name__}, {candidates} candidates of {size} weights{where}",
                {"ours": lambda call=call: call() and None}, work=candidates * size, unit="w", **facts,
            )  # fmt: skip
    tree = {f"w{i}": block for i, block in enumerate(np.float32(q.reshape(8, -1)))}
    data = compress(tree, step=1.0)
    bench.compare(
        "compress, all cores of the host", {"ours": lambda: compress(tree, step=1.0) and None}, work=q.size, unit="w"
    )
    bench.compare(
        "decompress, all cores of the host", {"ours": lambda: decompress(data) and None}, work=q.size, unit="w"
    )


def soft_labels(bench) -> None:
    """Entropy of soft labels with its gradient, by all exponentials and by the table; noisy layers."""
    from .soft_entropy import bits_of_counts, relaxed_bits_chunked, reparametrization, table

    weights = jax.random.normal(jax.random.key(0), (bench.sized(1 << 23, 1 << 10),))
    centroids = jnp.linspace(-3.0, 3.0, 31)

    def by_table(weights):
        labels = table.tabulate(centroids, 10.0)
        return bits_of_counts(table.expected_counts(labels, table.locate(labels, weights)))

    def by_chunks(weights):
        return relaxed_bits_chunked(weights, centroids, jnp.float32(10.0))

    calls = {
        name: waited(jax.jit(jax.grad(f)), weights) for name, f in (("ours", by_table), ("exponentials", by_chunks))
    }
    floor = 8 * weights.size / bench.ceilings["bytes_per_s"]
    bench.compare("gradient of soft labels' bits, 31 centroids", calls, work=weights.size, unit="w", floor_s=floor)
    batch, width = bench.sized((4096, 4096), (32, 32))
    x, mean = jax.random.normal(jax.random.key(1), (2, batch, width))[:, :, :]
    mean = mean[:width]
    call = jax.jit(lambda x, m, key: reparametrization.dense(x, m, jnp.square(m), None, key))
    bench.compare(
        f"noisy dense layer, {width} x {width}, batch {batch}", {"ours": waited(call, x, mean, jax.random.key(2))},
        work=2 * batch * width * width, unit="multiply-add",
        floor_s=4 * batch * width * width / bench.ceilings["float32_default_per_s"],
    )  # fmt: skip


ROOMS = {
    room.__name__: room
    for room in (autoregressive, attribution, alpha_stable, boundary_step, ising, soft_labels, entropy_coding)
}
