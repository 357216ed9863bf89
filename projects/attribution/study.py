"""What composites cost, keep and show, and how good their explanations are: runtime, conservation, perturbation curves.

--scale=small explains a small network on scikit-learn's digits in about a minute. --scale=full takes trained networks,
by default LeNet5 on MNIST, ResNet-20 on digits and Small-VGG16 on CIFAR-10. --parts=quality evaluates all methods, each
network a piece that goes on where it was killed, --parts=compare draws all methods by all samples, --parts=text,sound
explains networks of which the truth is known. --publish puts results into `results/`.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, publishing
from common.models import zoo
from common.study import pieces
from kernels import attribution, timing
from projects.attribution import inputs, known_truth, methods, pictures, quality
from projects.attribution.page import conservation_table, page, runtime_table

TIMED = methods.composites.NAMES
CONSERVING = TIMED[:5]  # relevance; the others are gradients
PARTS = ("cost", "quality", "compare", *known_truth.PARTS)
SHOWN = ("gradient", "smoothgrad", "integrated_gradients", *methods.composites.NAMES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(publishing.PageConfig):
    """Which networks, how large."""

    networks: tuple[str, ...] = config.field(
        (
            "runs/entropy_training.pretrain/lenet5_seed0",
            "runs/attribution.train/resnet20",
            "runs/deepcabac.train/small_vgg16_quarter_seed0",
        ),
        f"with --scale=full: run directories of trainings, and {', '.join(zoo.PUBLISHED)}",
    )
    batch_size: int = config.field(8, "images in a timed call", minimum=1)
    parts: tuple[str, ...] = config.field(PARTS, "of the study", choices=PARTS)
    images: int = config.field(200, "that every method is evaluated on", minimum=2)
    runs: str = config.field("runs", "folder of the evaluations: finished ones are taken from there", identity=False)
    pieces: str = pieces.field()


def main(settings: StudyConfig, run: app.Run) -> dict:
    """Measures every network, writes tables and pictures; returns the numbers by network."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    stamp = page.stamp() if settings.publish else None
    results = quality.measure(settings, run, page, stamp) if "quality" in settings.parts else {}
    if "compare" in settings.parts:
        results |= quality.compare(settings, run, page, stamp)
    for part in known_truth.PARTS:
        if part in settings.parts:
            results |= known_truth.measure(part, settings, run, page, stamp)
    if "cost" in settings.parts and settings.pieces == pieces.RUN:
        results |= costs(settings, run, stamp)
    return results


def costs(settings: StudyConfig, run: app.Run, stamp: dict | None) -> dict:
    """Returns runtime and conservation by network, with their tables and pictures."""
    results = {}
    for network in open_networks(settings):
        samples = inputs.gather((), 0, settings.batch_size, network.data, "label")
        x = samples.inputs(network, np.arange(samples.count))
        run.log(f"{network.name} on {network.data.name}")
        results[network.name] = {
            "network": network.name, "dataset": network.data.name, "batch": samples.count, **runtime(network, x),
            "conservation": conservation(network, x),
        }  # fmt: skip
        picture = draw(run, network, samples, x)
        if settings.publish and run.is_main:
            may_show = network.data.name == "digits"  # part of scikit-learn; other images stay out of the repository
            page.write(
                f"cost_{network.name}", results[network.name] | {"provenance": stamp}, picture if may_show else None
            )
    run.table("runtime", *runtime_table(results), "Milliseconds an image")
    run.table("conservation", *conservation_table(results), "Relevance that does not arrive, of the output")
    return results


def open_networks(settings: StudyConfig):
    """Yields the networks, one at a time."""
    if settings.scale == "small":
        yield zoo.untrained(zoo.NetworkConfig(model="mnist_cnn", dataset="digits", width=0.25))
        return
    for source in settings.networks:
        yield zoo.open_network(source)


def runtime(network: zoo.Network, x: np.ndarray) -> dict:
    """Returns by method: median seconds a batch, warm and in turn, their spread, and seconds to trace and compile."""
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
    programs = {name: timing.compile_call(call, params, x, target) for name, call in calls.items()}
    timings = timing.in_turn(
        {name: functools.partial(program.call, params, x, target) for name, program in programs.items()}
    )
    return {
        "seconds": timing.medians(timings),
        "spread": {name: one.spread for name, one in timings.items()},
        "compile_seconds": {name: program.trace_s + program.compile_s for name, program in programs.items()},
    }


def conservation(network: zoo.Network, x: np.ndarray) -> dict:
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


def draw(run: app.Run, network: zoo.Network, samples: inputs.Samples, x: np.ndarray) -> pathlib.Path:
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
    app.run(main, StudyConfig, transient=lambda flags: publishing.only_renders(flags) or pieces.only_looks(flags))
