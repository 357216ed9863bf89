"""Our rules of attention against lxt and autolrp: `make peers-lrp` builds them, and this runs on it.

First operation by operation, then one block of a vision transformer and of a decoder with equal weights. Where a peer
does the same as `composites.attnlrp()` or `cp_lrp()` nothing else is set; where it does another thing, the rule that
does so is named, and that the two differ is a part of the test.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.attribution import attribute, bilrp, composites, rules
from kernels.attribution.bench import transformers
from kernels.attribution.libraries import AUTOLRP

PEER = "lrp"

ROWS, WIDTH = 4, 6
RANDOM = np.random.default_rng(3)
PARAMS = {
    "scale": RANDOM.uniform(0.5, 1.5, WIDTH), "bias": RANDOM.normal(size=WIDTH), "wide": RANDOM.normal(size=3),
    "kernel": RANDOM.normal(size=(WIDTH, 3)), "cosine": np.cos(RANDOM.normal(size=(ROWS, WIDTH))),
    "sine": np.sin(RANDOM.normal(size=(ROWS, WIDTH))),
}  # fmt: skip
X, OTHER, VALUES = (RANDOM.normal(size=shape) for shape in ((1, ROWS, WIDTH), (1, ROWS, WIDTH), (1, WIDTH, 3)))


def norm(p, x):
    return transformers.layer_norm({"n/scale": p["scale"], "n/bias": p["bias"]}, "n", x)


# Name in the server: the same here, of (parameters, inputs), and the inputs.
OPERATIONS = {
    "softmax": (lambda p, x: jax.nn.softmax(x[0]), [X]),
    "matmul": (lambda p, x: x[0] @ x[1], [X, VALUES]),
    "weighed": (lambda p, x: jax.nn.softmax(x[0]) @ x[1], [X, VALUES]),
    "layer_norm": (lambda p, x: norm(p, x[0]), [X]),
    "layer_norm_without_bias": (lambda p, x: norm(p | {"bias": 0.0}, x[0]), [X]),
    "root_norm": (lambda p, x: transformers.root_norm({"n/scale": p["scale"]}, "n", x[0]), [X]),
    "product": (lambda p, x: x[0] * x[1], [X, OTHER]),
    "gated": (lambda p, x: jax.nn.silu(x[0]) * x[1], [X, OTHER]),
    "gelu": (lambda p, x: jax.nn.gelu(x[0], approximate=False), [X]),
    "add": (lambda p, x: x[0] + x[1], [X, OTHER]),
    "shift": (lambda p, x: x[0] + p["bias"], [X]),
    "dense": (lambda p, x: x[0] @ p["kernel"] + p["wide"], [X]),
    "dense_without_bias": (lambda p, x: x[0] @ p["kernel"], [X]),
    "rotary": (lambda p, x: transformers.rotary(x[0], p["cosine"], p["sine"]), [X]),
}
ATTN = composites.attnlrp(layer_map=(("softmax", rules.Softmax()),))  # a softmax that weighs nothing has none
CP = composites.cp_lrp()
LXT, AUTO = composites.lxt, composites.autolrp
EFFICIENT, EFFICIENT_CP = LXT(efficient=True), LXT("cp_lrp", efficient=True)

# (operation, method of the peer, the composite that does so, whether that is what `attnlrp()` does: AGREES or DIFFERS)
AGREES, DIFFERS = True, False
CASES = [
    # The share of the softmax's bias is dropped by all, and masked entries get nothing. autolrp's BASE passes.
    ("softmax", "Explicit", ATTN, AGREES),
    ("softmax", "Efficient", ATTN, AGREES),
    ("softmax", "autolrp.ATTNLRP", ATTN, AGREES),
    ("softmax", "autolrp", AUTO(), DIFFERS),
    # Products of two values: half each, by all.
    ("matmul", "Explicit", ATTN, AGREES),
    ("matmul", "autolrp", ATTN, AGREES),
    ("weighed", "Explicit", ATTN, AGREES),
    ("weighed", "autolrp.ATTNLRP", ATTN, AGREES),
    # CP-LRP: nothing for the weights.
    ("weighed", "ExplicitCP", CP, DIFFERS),
    ("weighed", "ExplicitCP", LXT("cp_lrp"), DIFFERS),
    ("weighed", "autolrp.CPLRP", CP, DIFFERS),
    # LayerNorm: ours is the identity. lxt holds the spread alone: the mean takes its part, the shift keeps its own, by
    # z. autolrp passes all but what the shift keeps by magnitude.
    ("layer_norm", "Explicit", LXT(), DIFFERS),
    ("layer_norm", "Efficient", EFFICIENT, DIFFERS),
    ("layer_norm", "autolrp", AUTO(), DIFFERS),
    ("layer_norm_without_bias", "Explicit", LXT(), DIFFERS),
    ("layer_norm_without_bias", "autolrp", ATTN, AGREES),
    # RMSNorm: the identity, by all.
    ("root_norm", "Explicit", ATTN, AGREES),
    ("root_norm", "Efficient", ATTN, AGREES),
    ("root_norm", "autolrp", ATTN, AGREES),
    # Entrywise products: half each by lxt, by magnitude by autolrp. lxt's CP gives the gate of SwiGLU nothing.
    ("product", "Explicit", ATTN, AGREES),
    ("product", "autolrp", AUTO(), DIFFERS),
    ("gated", "Explicit", ATTN, AGREES),
    ("gated", "Efficient", ATTN, AGREES),
    ("gated", "EfficientCP", EFFICIENT_CP, DIFFERS),
    ("gated", "autolrp", AUTO(), DIFFERS),
    # Activations pass; autolrp's preset attnlrp multiplies by y / x, the factor of a gradient.
    ("gelu", "Explicit", ATTN, AGREES),
    ("gelu", "Efficient", ATTN, AGREES),
    ("gelu", "autolrp", ATTN, AGREES),
    ("gelu", "autolrp.ATTNLRP", ATTN, AGREES),
    ("gelu", "autolrp.attnlrp", AUTO("attnlrp"), DIFFERS),
    # Sums: by z, and by magnitude by autolrp.
    ("add", "Explicit", ATTN, AGREES),
    ("add", "Efficient", ATTN, AGREES),
    ("add", "autolrp", AUTO(), DIFFERS),
    # What parameters add (positions, shifts): ours passes, lxt's keep their part by z, autolrp's by magnitude.
    ("shift", "Explicit", LXT(), DIFFERS),
    ("shift", "Efficient", EFFICIENT, DIFFERS),
    ("shift", "autolrp", AUTO(), DIFFERS),
    # Dense layers: epsilon; the bias keeps its part by z, or by magnitude (autolrp).
    ("dense", "Explicit", ATTN, AGREES),
    ("dense", "Efficient", ATTN, AGREES),
    ("dense", "autolrp", AUTO(), DIFFERS),
    ("dense_without_bias", "autolrp", ATTN, AGREES),
    # Rotary embeddings are a sum of two multiples.
    ("rotary", "Explicit", ATTN, AGREES),
    ("rotary", "Efficient", ATTN, AGREES),
    ("rotary", "autolrp", AUTO(), DIFFERS),
]


def of_peer(peer, name, method, inputs, starts):
    """Its output and the relevances of the inputs, summed over starts of one value each."""
    files = {
        "inputs": peer.put_many("inputs", {str(number): x for number, x in enumerate(inputs)}),
        "parameters": peer.put_many("parameters", PARAMS),
    }
    total = None
    for start in starts:
        peer.ask("operation", name=name, method=method, start=start, answer=peer.folder / "answer.npz", **files)
        answer = peer.get("answer.npz")
        parts = [answer[str(number)] for number in range(len(inputs))]
        total = parts if total is None else [one + part for one, part in zip(total, parts, strict=True)]
    return answer["y"], total


@pytest.mark.parametrize(
    ("name", "method", "composite", "agrees"), CASES, ids=[f"{c[0]}-{c[1]}-{n}" for n, c in enumerate(CASES)]
)
def test_operation(peer, name, method, composite, agrees):
    fn, inputs = OPERATIONS[name]
    with jax.enable_x64(True):
        y = np.asarray(fn(PARAMS, inputs))
        large = np.argwhere(np.abs(y) > 0.2 * np.abs(y).max())[:8]  # at small ones stabilisers would be compared
        starts = np.zeros((len(large), *y.shape))
        for start, index in zip(starts, map(tuple, large), strict=True):
            start[index] = y[index]
        theirs, expected = of_peer(peer, name, method, inputs, starts)
        np.testing.assert_allclose(theirs, y, atol=1e-6)

        def difference(composite):
            _, got = attribute(fn, PARAMS, tuple(inputs), target=starts.sum(0), rules=composite)
            scale = max(np.abs(part).max() for part in expected)
            return max(np.abs(part - other).max() for part, other in zip(got, expected, strict=True)) / scale

        # lxt takes its RMSNorm in single precision; stabilisers of 1e-6 and 1e-8 stand in different places.
        assert difference(composite) < 1e-5
        assert (difference(ATTN) < 1e-5) == agrees


SHAPES = {
    "vision": transformers.Shape(transformers.VISION),
    "decoder": transformers.Shape(transformers.DECODER, shared=2, tokens=6),
}
TARGET = 1
BLOCKS = [
    # A decoder by lxt is ours as it is. A vision transformer differs by LayerNorm and positions.
    ("decoder", "Explicit", composites.attnlrp()),
    ("decoder", "Efficient", composites.attnlrp()),
    ("decoder", "ExplicitCP", composites.cp_lrp()),
    *[(kind, "Explicit", LXT()) for kind in ("decoder", "vision")],
    *[(kind, "Efficient", EFFICIENT) for kind in ("decoder", "vision")],
    *[(kind, "ExplicitCP", LXT("cp_lrp")) for kind in ("decoder", "vision")],
    *[(kind, "EfficientCP", EFFICIENT_CP) for kind in ("decoder", "vision")],
    *[(kind, "autolrp", AUTO()) for kind in ("decoder", "vision")],
    *[(kind, f"autolrp.{name}", AUTO(name)) for kind in ("decoder", "vision") for name in AUTOLRP[1:]],
]  # fmt: skip


@pytest.fixture(scope="module")
def explained(peer):
    """(kind of transformer, method) to the peer's outputs and relevances."""
    numbers, memory = {}, {}
    for name, shape in SHAPES.items():
        parameters = peer.put_many(name, transformers.parameters(shape))
        numbers[name] = peer.ask("build", shape=dataclasses.asdict(shape), parameters=parameters)["network"]

    def ask(kind, method, command="explain", **options):
        if command != "explain":
            x = peer.put("examples", transformers.inputs(SHAPES[kind], 2))
            answer = peer.folder / "answer.npy"
            reply = peer.ask(command, network=numbers[kind], x=x, method=method, answer=answer, **options)
            return peer.get("answer.npy"), reply
        if (kind, method) not in memory:
            x = peer.put("examples", transformers.inputs(SHAPES[kind], 2))
            answer = peer.folder / "answer.npz"
            peer.ask("explain", network=numbers[kind], x=x, method=method, target=TARGET, answer=answer)
            memory[kind, method] = peer.get("answer.npz")
        return memory[kind, method]

    return ask


@pytest.mark.parametrize(
    ("kind", "method", "composite"), BLOCKS, ids=[f"{b[0]}-{b[1]}-{n}" for n, b in enumerate(BLOCKS)]
)
def test_block(explained, kind, method, composite):
    shape, theirs = SHAPES[kind], explained(kind, method)
    fn, p, x = transformers.function(shape), transformers.parameters(shape), transformers.inputs(shape, 2)
    y, relevance = attribute(fn, p, x, target=TARGET, rules=composite)
    np.testing.assert_allclose(y, theirs["y"], atol=1e-5)
    np.testing.assert_allclose(relevance, theirs["relevance"], atol=1e-4 * np.abs(theirs["relevance"]).max())


def test_gradient(explained):
    """The two networks are one."""
    for kind, shape in SHAPES.items():
        fn, p = transformers.function(shape), transformers.parameters(shape)
        gradient = jax.grad(lambda x: fn(p, x)[:, TARGET].sum())(jnp.asarray(transformers.inputs(shape, 2)))  # noqa: B023
        y = explained(kind, "gradient")["y"][:, TARGET]
        expected = explained(kind, "gradient")["relevance"] / y[:, None, None]
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", SHAPES)
def test_contrastive_relevance(explained, kind):
    """autolrp's CLRP takes the others in proportion to their squares, each side by its sum, and cuts off below 0.

    Both sides start from 1, whatever the sign of the outputs.
    """
    shape, (theirs, _) = SHAPES[kind], explained(kind, "autolrp", "contrast", target=TARGET)
    fn, p, x = transformers.function(shape), transformers.parameters(shape), transformers.inputs(shape, 2)

    def start(y):
        return jnp.where(jnp.arange(y.shape[-1]) == TARGET, 0, y**2)

    (_, own), (_, dual) = (attribute(fn, p, x, target=of, rules=AUTO()) for of in (TARGET, start))
    own, dual = (np.asarray(part) / abs(np.asarray(part).sum((1, 2), keepdims=True)) for part in (own, dual))
    sign = np.sign(np.asarray(fn(p, x))[:, TARGET])[:, None, None]
    expected = np.maximum(sign * own - dual, 0)
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(theirs, expected, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", SHAPES)
def test_relevance_of_pairs(explained, kind):
    """A map for each pair of entries, and the similarity; theirs starts from 1 and multiplies by both embeddings."""
    shape, (theirs, reply) = SHAPES[kind], explained(kind, "autolrp", "pairs")
    fn, p, x = transformers.function(shape), transformers.parameters(shape), transformers.inputs(shape, 2)
    similarity, relevance = bilrp(fn, p, x[:1], x[1:], rules=AUTO())
    np.testing.assert_allclose(similarity[0], reply["similarity"], rtol=1e-4)
    np.testing.assert_allclose(relevance.reshape(theirs.shape), theirs, atol=1e-4 * np.abs(theirs).max())
