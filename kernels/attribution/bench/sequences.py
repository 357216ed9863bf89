"""Relevance of transformers beside lxt and autolrp, and of an LSTM, each beside its own gradient in the same run.

AttnLRP: the efficient form of lxt (the input times a gradient, attention by PyTorch's fused call), its explicit rules,
and autolrp with its fragment ATTNLRP. Float32, everything compiled and warm. Peer: `make peers-lrp`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from .. import attribute
from . import recurrent, transformers
from .calls import compile_call, gradient_of

TARGET = 1
# Name of a row: the module that builds the network, its sizes, samples a batch, the composite.
PLANS = {
    "vision transformer, 4 blocks": (transformers, transformers.VIT, 16, "attnlrp"),
    "decoder, 4 blocks": (transformers, transformers.GPT, 8, "attnlrp"),
    "LSTM, 2 layers": (recurrent, recurrent.Shape(), 16, "lstm"),
}
METHODS = {"lxt": "Efficient", "lxt explicit": "Explicit", "autolrp": "autolrp.ATTNLRP", "torch gradient": "gradient"}


def run(bench) -> None:
    """Every comparison of networks of sequences."""
    with bench.peer("lrp") as server:
        for name, (module, shape, batch, composite) in PLANS.items():
            of_network(bench, f"{composite}, {name}, batch {batch}", module, shape, batch, composite, server)


def of_network(bench, name: str, module, shape, batch: int, composite: str, server) -> None:
    """Records relevance and gradient of one network; a transformer's beside the peer's."""
    fn, values, x = module.function(shape), module.parameters(shape), module.inputs(shape, batch)
    problem = (jax.device_put(values), jax.device_put(x), jnp.full(batch, TARGET))

    def relevance(params, x, target):
        return attribute(fn, params, x, target=target, rules=composite)[1]

    calls = {"ours": relevance, "own gradient": gradient_of(fn)}
    compiled = {who: compile_call(bench, f"{name}, {who}", call, problem) for who, call in calls.items()}
    contestants = {who: functools.partial(call, *problem) for who, call in compiled.items()}
    if server is not None and module is transformers:
        parameters = server.put_many("parameters", values)
        network = server.ask("build", shape=dataclasses.asdict(shape), parameters=parameters)["network"]
        settings = {"network": network, "x": server.put("examples", x), "target": TARGET}
        contestants |= {who: functools.partial(seconds, server, method, settings) for who, method in METHODS.items()}
    memory = {who: call.memory_analysis().temp_size_in_bytes for who, call in compiled.items()}
    bench.compare(name, contestants, work=batch, unit="samples",
                  memory_of_gradient=memory["ours"] / memory["own gradient"])  # fmt: skip


def seconds(server, method: str, settings: dict) -> float:
    """Returns the seconds of one call in the peer's process."""
    return server.ask("seconds", method=method, **settings)["seconds"]
