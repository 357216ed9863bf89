"""Networks of public packages explained on request, under their own Python: .venv-peers/networks/bin/python <this file>

Ours is on the path: what is compared is one network written in several ways, in double precision.
"""

import importlib.machinery
import importlib.metadata
import pathlib
import sys
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import line_server  # noqa: E402
import numpy as np  # noqa: E402

jax.config.update("jax_enable_x64", True)

from kernels.attribution import attribute, composites, describe  # noqa: E402

RULES = {
    "epsilon_plus_flat": composites.epsilon_plus_flat(), "epsilon_alpha2_beta1": composites.epsilon_alpha2_beta1(),
    "epsilon_gamma_box": composites.epsilon_gamma_box(-4.0, 4.0), "guided_backprop": composites.guided_backprop(),
    "gradient": composites.gradient(),
}  # fmt: skip
ATTENTION = {"attnlrp": composites.attnlrp(), "cp_lrp": composites.cp_lrp()}
TOKENS = 11  # of a vocabulary


def equinox_convnext():
    """ConvNeXt of equimo, whose modules take one sample, channels first."""
    import equimo.models.convnext as convnext
    import equinox as eqx

    model = convnext.ConvNeXt(3, depths=[1, 1, 1, 1], dims=[8, 12, 16, 20], num_classes=5, key=jax.random.key(0))
    model = eqx.nn.inference_mode(model)
    key = jax.random.key(1)
    return lambda model, x: jax.vmap(lambda sample: model(sample, key=key, inference=True))(x), model, (3, 64, 64), True


def haiku_mobilenet():
    """MobileNetV1 of Haiku, with batch normalisation in evaluation mode."""
    return haiku_network(
        lambda hk: hk.nets.MobileNetV1(num_classes=5, channels=(8, 8, 16, 16), strides=(1, 2, 1, 2)), 32
    )


def haiku_resnet():
    """ResNet18 of Haiku."""
    return haiku_network(lambda hk: hk.nets.ResNet18(5), 32)


def haiku_network(make, side):
    """Returns a network of Haiku with statistics that are not those of the start."""
    import haiku as hk

    transformed = hk.without_apply_rng(hk.transform_with_state(lambda x, train: make(hk)(x, is_training=train)))
    params, state = transformed.init(jax.random.key(0), jnp.zeros((2, side, side, 3)), True)
    variables = {"params": shaken(params), "state": shaken(state)}  # the last layer starts as zeros
    return lambda v, x: transformed.apply(v["params"], v["state"], x, False)[0], variables, (side, side, 3), False


def linen_resnet():
    """ResNet18 of flaxmodels."""
    import flaxmodels

    model = flaxmodels.ResNet18(output="logits", pretrained=None, num_classes=5, normalize=False, dtype="float64")
    x = jnp.zeros((1, 32, 32, 3))
    variables = model.init(jax.random.key(0), x, train=False)
    variables = {**variables, "batch_stats": shaken(variables["batch_stats"])}
    return lambda v, x: model.apply(v, x, train=False), variables, (32, 32, 3), False


def nnx_network():
    """Layers of NNX: every norm, convolutions of two kinds, a residual sum."""
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.stem = nnx.Conv(3, 8, (3, 3), strides=2, padding="CIRCULAR", rngs=rngs)
            self.group = nnx.GroupNorm(8, num_groups=4, rngs=rngs)
            self.depthwise = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
            self.instance = nnx.InstanceNorm(8, rngs=rngs)
            self.conv = nnx.Conv(8, 12, (3, 3), strides=2, rngs=rngs)
            self.batch = nnx.BatchNorm(12, use_running_average=True, rngs=rngs)
            self.layer = nnx.LayerNorm(12, rngs=rngs)
            self.wide, self.narrow = nnx.Linear(12, 24, rngs=rngs), nnx.Linear(24, 12, rngs=rngs)
            self.rms = nnx.RMSNorm(12, rngs=rngs)
            self.head = nnx.Linear(12, 5, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.group(self.stem(x)))
            x = nnx.gelu(self.instance(self.depthwise(x)))
            x = nnx.relu(self.batch(self.conv(nnx.avg_pool(x, (2, 2), (2, 2)))))
            x = x + self.narrow(nnx.gelu(self.wide(self.layer(x))))
            return self.head(self.rms(x.mean((1, 2))))

    graph, state = nnx.split(Network(nnx.Rngs(0)))
    return lambda state, x: nnx.merge(graph, state)(x), shaken(state), (32, 32, 3), False


def equinox_vit():
    """Vision transformer of equimo, whose modules take one sample, channels first."""
    import equimo.models.vit as vit
    import equinox as eqx

    model = eqx.nn.inference_mode(vit.VisionTransformer(16, 3, 8, 4, 2, [2], num_classes=5, key=jax.random.key(0)))
    key = jax.random.key(1)
    return (
        lambda model, x: jax.vmap(lambda sample: model(sample, key=key, inference=True))(x), shaken(model),
        (3, 16, 16), True,
    )  # fmt: skip


def haiku_transformer():
    """Language model among Haiku's examples; dropout of rate zero wants a key."""
    import haiku as hk
    from examples.transformer.model import LanguageModel, Transformer

    def forward(tokens):
        inner = Transformer(num_heads=2, num_layers=2, attn_size=4, dropout_rate=0.0)
        return LanguageModel(transformer=inner, model_size=8, vocab_size=TOKENS, pad_token=0)(tokens)

    transformed, key = hk.transform(forward), jax.random.key(0)
    params = transformed.init(key, jnp.ones((2, 7), int))
    return lambda p, tokens: transformed.apply(p, key, tokens)[:, -1], shaken(params), (7,), False


def as_before(gpt2) -> None:
    """Lets GPT-2 of flaxmodels find `jnp.reshape` with the name that its argument had when it was written."""
    import types

    reshape = jnp.reshape
    gpt2.jnp = types.SimpleNamespace(**vars(jnp) | {
        "reshape": lambda a, shape=None, newshape=None: reshape(a, newshape if shape is None else shape)
    })  # fmt: skip


def gpt2_config():
    """A small GPT-2."""
    import types

    return types.SimpleNamespace(
        vocab_size=TOKENS, n_positions=12, n_embd=8, n_layer=2, n_head=2, n_inner=None, layer_norm_epsilon=1e-5,
        embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, activation_function="gelu_new", scale_attn_weights=True,
    )  # fmt: skip


def linen_gpt2():
    """GPT-2 of flaxmodels."""
    from flaxmodels.gpt2 import gpt2

    as_before(gpt2)
    model = gpt2.GPT2Model(config=gpt2_config())
    variables = model.init(jax.random.key(0), input_ids=jnp.ones((2, 7), int))
    return (
        lambda v, tokens: model.apply(v, input_ids=tokens)["last_hidden_state"][:, -1],
        shaken(variables),
        (7,),
        False,
    )


class StandIn:
    """Takes the place of tokamax, kernels for accelerators of which jimm uses nothing here."""

    def find_spec(self, name, path=None, target=None):
        """As a finder of modules."""
        ours = name.split(".")[0] == "tokamax"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if ours else None

    def create_module(self, spec):
        """As a loader of them."""
        return unittest.mock.MagicMock(name=spec.name, __path__=[], __spec__=spec)

    def exec_module(self, module):
        """Nothing is left to do."""


def prepare_jimm() -> None:
    """Makes jimm importable, and the mesh that it annotates its weights for."""
    if not any(isinstance(finder, StandIn) for finder in sys.meta_path):
        sys.meta_path.insert(0, StandIn())
    jax.set_mesh(jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2))


def nnx_vit():
    """Vision transformer of jimm (jax-image-models), a scan over its layers."""
    prepare_jimm()
    from flax import nnx
    from jimm.models.vit.vit_model import VisionTransformer

    model = VisionTransformer(5, 3, 16, 4, 2, 2, 16, 8, 0.0, rngs=nnx.Rngs(0))
    model.eval()
    graph, state = nnx.split(model)
    # NNX allows no merge inside of `jax.vmap` of a state from outside: these ways of writing are none.
    return lambda state, x: nnx.merge(graph, state)(x), shaken(state), (16, 16, 3), None


NETWORKS = {
    make.__name__: make for make in (equinox_convnext, haiku_mobilenet, haiku_resnet, linen_resnet, nnx_network)
}
TRANSFORMERS = {make.__name__: make for make in (equinox_vit, haiku_transformer, linen_gpt2, nnx_vit)}


def shaken(tree):
    """Parameters that are not zeros and ones: every number a little away, scales and variances positive."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    return structure.unflatten(
        leaf + jnp.abs(0.2 * jax.random.normal(key, jnp.shape(leaf))).astype(leaf.dtype)
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        for key, leaf in zip(keys, leaves, strict=True)
    )  # fmt: skip


def double(tree):
    """A pytree with its floating-point arrays in double precision."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64)
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree,
    )  # fmt: skip


def version() -> dict:
    """Returns what answers here."""
    names = ("jax", "flax", "equinox", "dm-haiku", "equimo", "flaxmodels", "jax-image-models")
    return {name: importlib.metadata.version(name) for name in names}


def properties(network: str) -> dict:
    """Returns the largest differences, over the largest relevance, between one network's ways of being written.

    Keys: way / composite. Ways: "first of a batch", "batch of one", "mapped" (one sample under vmap), "samples last".
    """
    fn, params, shape, mapped = (NETWORKS | TRANSFORMERS)[network]()
    composites_of = ATTENTION if network in TRANSFORMERS else RULES
    params, draw = double(params), np.random.default_rng(2)
    x = draw.integers(1, TOKENS, (3, *shape)) if len(shape) == 1 else draw.normal(size=(3, *shape))

    def explain(fn, x, **options):
        arrays, structure = jax.tree.flatten(params)
        traced = [leaf for leaf in arrays if hasattr(leaf, "shape")]

        def call(traced, x):
            rest = iter(traced)
            whole = structure.unflatten(next(rest) if hasattr(leaf, "shape") else leaf for leaf in arrays)
            return attribute(fn, whole, x, target="argmax", rules=composites_of, **options)

        call = jax.jit(call).lower(traced, x).compile({"xla_backend_optimization_level": 0})
        return call(traced, x)

    def last(params, x):
        return jax.vmap(lambda sample: fn(params, sample[None])[0], in_axes=-1)(jnp.moveaxis(x, 0, -1))

    def one_by_one(params, x):
        return jnp.concatenate([fn(params, sample[None]) for sample in x])

    def by_vmap(params, x):
        return jax.vmap(lambda sample: fn(params, sample[None])[0])(x)

    y, expected = explain(fn, x)
    ways = {
        "first of a batch": explain(fn, x[:1]), "batch of one": explain(fn, x, batch_size=1),
    }  # fmt: skip
    if mapped is not None:
        ways |= {"mapped": explain(one_by_one if mapped else by_vmap, x), "samples last": explain(last, x)}
    differences = {}
    for way, (other, relevance) in ways.items():
        rows = len(other)
        differences[f"{way}/output"] = float(jnp.abs(other - y[:rows]).max() / jnp.abs(y).max())
        for name, values in expected.items():
            off = jnp.abs(relevance[name] - values[:rows]).max()
            differences[f"{way}/{name}"] = float(off / jnp.abs(values).max())
    kinds = [row["kinds"][0] for row in describe(fn, params, x, rules=next(iter(composites_of.values())))]
    return {"differences": differences, "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))}}


def recipes() -> dict:
    """Runs the lines of projects/attribution/README.md; returns how far apart the relevances are, by framework."""
    import re

    import equinox
    import haiku

    page = pathlib.Path(__file__).resolve().parents[2] / "projects" / "attribution" / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    draw = np.random.default_rng(3)
    first, second = draw.normal(size=(48, 8)), draw.normal(size=(8, 3))

    class Model(equinox.Module):
        first: equinox.nn.Linear
        second: equinox.nn.Linear

        def __init__(self):
            self.first, self.second = (
                equinox.tree_at(
                    lambda layer: layer.weight,
                    equinox.nn.Linear(*kernel.shape, use_bias=False, key=jax.random.key(0)),
                    jnp.asarray(kernel.T),
                )
                for kernel in (first, second)
            )

        def __call__(self, x):
            return self.second(jax.nn.relu(self.first(x.reshape(-1))))

    def forward(x):
        x = jax.nn.relu(haiku.Linear(8, with_bias=False, name="first")(x.reshape(len(x), -1)))
        return haiku.Linear(3, with_bias=False, name="second")(x)

    given = {"images": draw.normal(size=(2, 4, 4, 3)), "params": {"first": first, "second": second}}
    plain, actual = dict(given), {}
    exec(next(block for block in blocks if "lambda params, x: jax.nn.relu" in block), plain)
    for name, own in (
        ("equinox", {"model": Model()}),
        ("haiku", {"forward": forward, "params": {"first": {"w": first}, "second": {"w": second}}}),
    ):
        names = {**given, **own}
        exec(next(block for block in blocks if f"import {name}" in block), names)
        actual[name] = float(jnp.abs(names["relevance"] - plain["relevance"]).max())
    return actual | transformer_recipes(blocks)


def transformer_recipes(blocks) -> dict:
    """Runs the lines about transformers; returns the shapes of the explanations."""
    from flax import nnx
    from flaxmodels.gpt2 import gpt2

    draw, tokens, shapes = np.random.default_rng(4), np.ones((2, 7), int), {}
    as_before(gpt2)
    config = gpt2_config()
    variables = gpt2.GPT2Model(config=config).init(jax.random.key(0), input_ids=tokens)
    prepare_jimm()
    for name, own in (
        ("equimo", {"jax": jax, "key": jax.random.key(0), "images": draw.normal(size=(2, 3, 16, 16))}),
        ("flaxmodels", {"config": config, "variables": variables, "tokens": tokens}),
        ("jimm", {"nnx": nnx, "images": draw.normal(size=(2, 16, 16, 3))}),
    ):
        names = dict(own)
        exec(next(block for block in blocks if block.startswith(f"from {name}")), names)
        if not np.isfinite(np.asarray(names["relevance"])).all() or not np.asarray(names["relevance"]).any():
            raise ValueError(f"the explanation of {name} is nothing")
        shapes[name] = list(names["relevance"].shape)
    return shapes


if __name__ == "__main__":
    line_server.serve({command.__name__: command for command in (version, properties, recipes)})
