"""Benchmark of relevance propagation against Zennit and against the gradient, on the same network in the same run.

EpsilonPlusFlat on a VGG11-like network (eight convolutions, five poolings, two dense layers), 64 x 64 images, batches
of 32, float32, everything compiled and warm; theirs in PyTorch with channels first, ours in JAX with channels last.
The rows also say what compiling costs, what memory the compiled programs ask for, and how well relevance is conserved.
Perturbation analysis beside loops and Quantus: evaluation.py; transformers and an LSTM: sequences.py.
Peers: `make peers-zennit`, `make peers-quantus`, `make peers-lrp`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ... import timing
from .. import attribute, composites
from . import evaluation, networks, plans, sequences
from .calls import compile_call, gradient_of

BATCH, SMALL_BATCH = 32, 8
SIDE = 64
TARGET = 3
HEADLINE = "epsilon_plus_flat"
OTHERS = ("epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box", "guided_backprop")
RELEVANCES = (HEADLINE, *OTHERS[:3])  # that promise conservation
# Passes of about the forward pass's multiplications that a method cannot do without; the floor is their time at the
# speed of a large matrix product. ZPlus needs z, the positive part and one way back; the gradient forward and back.
PASSES = {"forward": 1, "gradient": 2, "guided_backprop": 2, "epsilon_plus_flat": 3, "epsilon_plus": 3}
OPTIONS = {"epsilon_gamma_box": {"low": -6.0, "high": 6.0}}


def run(bench) -> None:
    """Every comparison of this room."""
    plan = plans.vgg11()
    values = plans.parameters(plan, seed=0)
    fn, params = networks.function(plan), jax.device_put(networks.from_torch(values, np.float32))
    images = np.random.default_rng(1).normal(size=(BATCH, 3, SIDE, SIDE)).astype(np.float32)
    x = jax.device_put(np.ascontiguousarray(networks.channels_last(images)))
    peak, work = matmul_peak(), multiplications(fn, params, x[:1])
    bench.record("matmul", flops_per_s=peak, multiplications_of_an_image=work)
    with bench.peer("zennit") as server:
        peer = None if server is None else Zennit(server, plan, values)
        for batch, names in ((BATCH, (HEADLINE, "gradient", "forward")), (SMALL_BATCH, OTHERS)):
            problem = (params, x[:batch], jnp.full(batch, TARGET))
            calls = {name: call_of(fn, name) for name in dict.fromkeys((*names, "gradient"))}
            compiled = {name: compile_call(bench, f"{name}, batch {batch}", c, problem) for name, c in calls.items()}
            for name in names:
                contestants = {"ours": functools.partial(compiled[name], *problem)}
                if name not in ("gradient", "forward"):
                    contestants["own gradient"] = functools.partial(compiled["gradient"], *problem)
                if peer is not None:
                    contestants["zennit" if len(contestants) > 1 else "torch"] = peer.timer(name, images[:batch])
                facts = {"network": "VGG11, 64 x 64"}
                if name in PASSES:
                    facts["floor_s"] = 2 * PASSES[name] * work * batch / peak
                bench.compare(f"{name}, batch {batch}", contestants, work=batch, unit="images", **facts)
                if peer is not None and name in RELEVANCES:
                    off = errors(fn, name, problem, compiled[name](*problem), peer.relevance(name))
                    bench.record(f"{name}, difference to zennit", **off)
    conservation(bench, fn, params, x[:SMALL_BATCH], jnp.full(SMALL_BATCH, TARGET))
    sequences.run(bench)
    evaluation.run(bench)


def matmul_peak(side: int = 2048) -> float:
    """Returns the floating-point operations a second of a large float32 matrix product, the best of five."""
    matrix = jnp.ones((side, side), jnp.float32)
    product = jax.jit(jnp.matmul)
    return 2 * side**3 / timing.of(lambda: product(matrix, matrix)).best


def multiplications(fn, params, x) -> float:
    """Returns the multiply-adds of convolutions and products in one forward pass of one image."""
    total = 0.0
    for equation in jax.make_jaxpr(fn)(params, x).eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            weight, output = equation.invars[1].aval, equation.outvars[0].aval
            total += output.size * weight.size / weight.shape[-1]
    return total


def call_of(fn, name: str):
    """Returns `(params, x, target) -> array` of a composite, "gradient" or "forward"."""
    if name == "forward":
        return lambda params, x, target: fn(params, x)
    return gradient_of(fn) if name == "gradient" else relevance_of(fn, name)


def composite(name: str):
    """Returns a composite by name."""
    return getattr(composites, name)(**OPTIONS.get(name, {}))


def relevance_of(fn, name: str):
    """Returns `(params, x, target) -> relevance` by a composite."""
    rules = composite(name)
    return lambda params, x, target: attribute(fn, params, x, target=target, rules=rules)[1]


def conservation(bench, fn, params, x, target) -> None:
    """Records how far relevance is from the explained outputs: without biases, and with what biases kept counted."""
    free = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * ("bias" not in str(path[-1])), params)
    for name in RELEVANCES:
        rules = composite(name)

        @jax.jit
        def totals(params, x, rules=rules):
            y, relevance, report = attribute(fn, params, x, target=target, rules=rules, return_report=True)
            absorbed = jnp.sum(report.bias) + jnp.sum(report.epsilon)
            return y[:, TARGET], jnp.sum(relevance, axis=(1, 2, 3)), absorbed

        outputs, sums, _ = totals(free, x)
        with_bias, passed, withheld = totals(params, x)
        bench.record(
            f"{name}, conservation", without_biases=float(jnp.abs(sums - outputs).max() / jnp.abs(outputs).max()),
            with_biases_counted=float(jnp.abs(passed.sum() + withheld - with_bias.sum()) / jnp.abs(with_bias).sum()),
        )  # fmt: skip


def errors(fn, name: str, problem, ours: jax.Array, theirs: np.ndarray) -> dict:
    """Returns the largest differences over the largest relevance: between the two, and of each to double precision."""
    with jax.enable_x64(True):
        params, x, target = problem
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, x))
        exact = np.asarray(jax.jit(relevance_of(fn, name))(*wide, target))
    ours, largest = np.asarray(ours), np.abs(exact).max()
    pairs = {
        "relative_to_largest": (ours, theirs),
        "ours_to_float64": (ours, exact),
        "zennit_to_float64": (theirs, exact),
    }
    return {key: float(np.abs(one - other).max() / largest) for key, (one, other) in pairs.items()}


class Zennit:
    """The peer with the network loaded."""

    def __init__(self, server, plan, values):
        parameters = server.put_many("parameters", values)
        self.server, self.settings = server, server.ask("build", plan=plan, parameters=parameters, dtype="float32")

    def timer(self, name: str, images: np.ndarray):
        """Returns a function that has one call made in the peer's process and returns its seconds."""
        self.settings |= {"images": self.server.put("images", images), "target": [TARGET] * len(images)}
        what = {"what": name} if name in ("forward", "gradient") else self._composite(name)
        return lambda: self.server.ask("seconds", **what, **self.settings)["seconds"]

    def relevance(self, name: str) -> np.ndarray:
        """Returns the peer's relevance, channels last, of the images that were timed last."""
        answer = self.server.folder / "answer.npz"
        self.server.ask("attribute", answer=answer, **self._composite(name), **self.settings)
        return self.server.get("answer.npz")["relevance"].transpose(0, 2, 3, 1)

    def _composite(self, name: str) -> dict:
        return {"composite": name, "options": {key: [[[[value]]]] for key, value in OPTIONS.get(name, {}).items()}}
