"""What composites cost, keep and show: runtime by network, conservation, and all of them in one picture.

--scale=small explains a small network on scikit-learn's digits in about a minute. --scale=full takes trained networks,
by default LeNet5 on MNIST, ResNet-20 on digits and Small-VGG16 on CIFAR-10. --publish puts results into `results/`.
"""

import dataclasses
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, publishing
from kernels import attribution
from projects.attribution import inputs, methods, pictures, zoo
from projects.attribution.page import conservation_table, page, runtime_table

TIMED = methods.composites.NAMES
CONSERVING = TIMED[:5]  # relevance; the others are gradients
SHOWN = ("gradient", "smoothgrad", "integrated_gradients", *methods.composites.NAMES)
REPEATS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class TablesConfig(publishing.PageConfig):
    """Which networks, how large."""

    networks: tuple[str, ...] = config.field(
        (
            "runs/entropy_training.pretrain/lenet5_seed0",
            "runs/attribution.train/resnet20",
            "runs/deepcabac.train/small_vgg16_quarter_seed0",
        ),
        f"with --scale=full: run directories of trainings, and {zoo.PUBLISHED}",
    )
    batch_size: int = config.field(8, "images in a timed call", minimum=1)


def main(settings: TablesConfig, run: app.Run) -> dict:
    """Measures every network, writes tables and pictures; returns the numbers by network."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    stamp = page.stamp() if settings.publish else None
    results = {}
    for network, data in open_networks(settings):
        samples = inputs.gather((), 0, settings.batch_size, data, "label")
        x = samples.inputs(network, np.arange(samples.count))
        run.log(f"{network.name} on {network.data}")
        results[network.name] = {
            "network": network.name, "dataset": network.data, "batch": samples.count, **runtime(network, x),
            "conservation": conservation(network, x),
        }  # fmt: skip
        picture = draw(run, network, samples, x)
        if settings.publish and run.is_main:
            may_show = network.data == "digits"  # part of scikit-learn; other images stay out of the repository
            page.write(network.name, results[network.name] | {"provenance": stamp}, picture if may_show else None)
    run.table("runtime", *runtime_table(results), "Milliseconds an image")
    run.table("conservation", *conservation_table(results), "Relevance that does not arrive, of the output")
    return results


def open_networks(settings: TablesConfig):
    """Yields (network, data set)."""
    if settings.scale == "small":
        data = zoo.load_dataset("digits")
        yield zoo.explained("mnist_cnn", zoo.create_network("mnist_cnn", data, width=0.25), data), data
        return
    for source in settings.networks:
        yield zoo.open_network(source)


def runtime(network: zoo.Explained, x: np.ndarray) -> dict:
    """Returns seconds a batch by method, warm, in turns; and seconds of compiling."""
    params, x = jax.device_put(network.params), jax.device_put(x)
    target = jnp.argmax(network.fn(params, x), -1)

    def gradient(params, x, target):
        y, pull_back = jax.vjp(lambda x: network.fn(params, x), x)
        return pull_back(jax.nn.one_hot(target, y.shape[-1], dtype=y.dtype))[0]

    calls = {"gradient": gradient}
    for name in TIMED:
        rules = methods.composite(name, network)
        calls[name] = lambda params, x, target, rules=rules: attribution.attribute(
            network.fn, params, x, target=target, rules=rules
        )[1]
    compiled, compiling = {}, {}
    for name, call in calls.items():
        start = time.perf_counter()
        compiled[name] = jax.jit(call).lower(params, x, target).compile()
        compiling[name] = time.perf_counter() - start
    seconds: dict[str, list[float]] = {name: [] for name in compiled}
    for number in range(REPEATS + 1):
        for name, call in compiled.items():
            start = time.perf_counter()
            call(params, x, target).block_until_ready()
            if number:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"seconds": medians, "compile_seconds": compiling}


def conservation(network: zoo.Explained, x: np.ndarray) -> dict:
    """Returns by composite, of the explained outputs: what is lost, what biases and epsilon kept, what nobody did."""
    shares = {}
    for name in CONSERVING:
        rules = methods.composite(name, network)
        _, _, report = jax.jit(
            lambda params, x, rules=rules: attribution.attribute(
                network.fn, params, x, target="argmax", rules=rules, return_report=True
            )
        )(network.params, x)
        explained = float(report.explained)
        shares[name] = {
            "lost": 1 - float(report.arrived) / explained,
            "bias": float(jnp.sum(report.bias)) / explained,
            "epsilon": float(jnp.sum(report.epsilon)) / explained,
            "unexplained": abs(explained - float(report.arrived) - float(jnp.sum(report.bias + report.epsilon)))
            / abs(explained),
        }
    return shares


def draw(run: app.Run, network: zoo.Explained, samples: inputs.Samples, x: np.ndarray) -> pathlib.Path:
    """Leaves the picture of all methods on the first samples; returns its path."""
    count, params = min(4, samples.count), jax.device_put(network.params)
    x = x[:count]
    maps = {}
    for name in SHOWN:
        explain = methods.explainer(name, network, draws=10)
        target = np.argmax(np.asarray(network.fn(params, x)), -1)
        maps[name] = np.asarray(explain(params, x, target, jax.random.key(0))[1])
    return pictures.draw_methods(run, f"methods_{network.name}", samples.images[:count], maps)


if __name__ == "__main__":
    app.run(main, TablesConfig, transient=publishing.only_renders)
