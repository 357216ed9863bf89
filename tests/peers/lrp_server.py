"""lxt and autolrp on request, under their own Python: .venv-peers/lrp/bin/python tests/peers/lrp_server.py

Transformers come as sizes (kernels/attribution/bench/transformers.py) with an .npz of parameters, examples as .npy;
single operations by name. A method is a writing of lrp_networks ("Explicit", "Efficient", ...), "gradient", or one of
autolrp: "autolrp" (its table BASE), "autolrp.ATTNLRP", "autolrp.CPLRP" (with these fragments), "autolrp.attnlrp",
"autolrp.cplrp" (its presets).
"""

import importlib.metadata
import time
import warnings

import autolrp
import line_server
import lrp_networks
import numpy as np
import torch
from torch.nn import functional

networks: list[lrp_networks.Network] = []
CONFIGURATIONS = {
    "autolrp": lambda: autolrp.LRPConfig(),
    "autolrp.ATTNLRP": lambda: autolrp.LRPConfig(rule={**autolrp.BASE, **autolrp.ATTNLRP}),
    "autolrp.CPLRP": lambda: autolrp.LRPConfig(rule={**autolrp.BASE, **autolrp.CPLRP}),
    "autolrp.attnlrp": autolrp.LRPConfig.attnlrp,
    "autolrp.cplrp": autolrp.LRPConfig.cplrp,
}
# Single operations of a writing: (parameters, inputs...) to an output.
OPERATIONS = {
    "softmax": lambda w, p, x: w.softmax(x),
    "matmul": lambda w, p, a, b: w.matmul(a, b),
    "weighed": lambda w, p, x, v: w.weigh(w.softmax(x), v),
    "layer_norm": lambda w, p, x: w.layer_norm(x, p["scale"], p["bias"]),
    "layer_norm_without_bias": lambda w, p, x: w.layer_norm(x, p["scale"], None),
    "root_norm": lambda w, p, x: w.root_norm(x, p["scale"]),
    "product": lambda w, p, a, b: w.multiply(a, b),
    "gated": lambda w, p, a, b: w.gated(a, b),
    "gelu": lambda w, p, x: w.activation(functional.gelu, x),
    "add": lambda w, p, a, b: w.add(a, b),
    "shift": lambda w, p, x: w.add(x, p["bias"]),
    "dense": lambda w, p, x: w.linear(x, p["kernel"].T, p["wide"]),
    "dense_without_bias": lambda w, p, x: w.linear(x, p["kernel"].T, None),
    "rotary": lambda w, p, x: w.rotary(x, p["cosine"], p["sine"]),
}


def version() -> dict:
    """Returns what answers here, and how many threads torch uses."""
    versions = {name: importlib.metadata.version(name) for name in ("lxt", "autolrp", "torch", "numpy")}
    return versions | {"threads": torch.get_num_threads()}


def build(shape: dict, parameters: str, dtype: str = "float32") -> dict:
    """Builds a transformer from its sizes and an .npz of parameters; returns its number."""
    with np.load(parameters, allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    networks.append(lrp_networks.Network(shape, values, getattr(torch, dtype)))
    return {"network": len(networks) - 1}


def relevances(fn, inputs, method: str, start):
    """Returns (output, relevance of each input) of `fn(writing, *inputs)`.

    Args:
      start: output to the relevance to start from; autolrp has to have it in one value of the output.
    """
    plain, fused = lrp_networks.WRITINGS["Plain"], lrp_networks.WRITINGS["Fused"]
    if method in CONFIGURATIONS:
        wrapped = [autolrp.tensor(x) for x in inputs]
        y = fn(plain, *wrapped)
        where = start(y.detach().as_subclass(torch.Tensor))
        index = tuple(int(part) for part in torch.unravel_index(where.abs().argmax(), where.shape))
        y[index].lrp(config=CONFIGURATIONS[method]())
        nothing = [torch.zeros_like(x) for x in inputs]
        parts = [zero if x.relevance is None else x.relevance for x, zero in zip(wrapped, nothing, strict=True)]
        return y.detach(), [float(where[index]) * part for part in parts]
    inputs = [x.clone().requires_grad_() for x in inputs]
    y = fn(fused if method == "gradient" else lrp_networks.WRITINGS[method], *inputs)
    where = start(y.detach())
    if method.startswith("Efficient"):
        where = where / torch.where(y == 0, 1, y).detach()
    parts = torch.autograd.grad(y, inputs, where, allow_unused=True)
    parts = [torch.zeros_like(x) if part is None else part for x, part in zip(inputs, parts, strict=True)]
    if method.startswith("Efficient"):
        parts = [x * part for x, part in zip(inputs, parts, strict=True)]
    return y.detach(), [part.detach() for part in parts]


def _numpy(x) -> np.ndarray:
    return x.detach().as_subclass(torch.Tensor).numpy()


def operation(name: str, method: str, inputs: str, parameters: str, start: str, answer: str) -> dict:
    """Writes `y` and the relevances `0`, `1` of the inputs of a single operation to the .npz `answer`.

    Args:
      inputs: an .npz with "0", and "1" where there are two; start: an .npy with the relevance of the output, of which
        one value is not 0.
    """
    with np.load(inputs) as arrays:
        values = [torch.as_tensor(arrays[str(number)]) for number in range(len(arrays.files))]
    with np.load(parameters) as arrays:
        given = {key: torch.as_tensor(arrays[key]) for key in arrays.files}
    relevance = torch.as_tensor(np.load(start))
    y, parts = relevances(
        lambda writing, *x: OPERATIONS[name](writing, given, *x), values, method, lambda y: relevance
    )  # fmt: skip
    np.savez(answer, y=_numpy(y), **{str(number): _numpy(part) for number, part in enumerate(parts)})
    return {}


def explain(network: int, x: str, method: str, target: int, answer: str) -> dict:
    """Writes `y` and `relevance` of a transformer to the .npz `answer`, one example after the other."""
    model, rows = networks[network], []
    examples = torch.as_tensor(np.load(x)).to(model.dtype)

    def start(y):
        return y * functional.one_hot(torch.tensor(target), y.shape[-1])

    for example in examples:
        y, (relevance,) = relevances(lambda writing, x: model(x, writing), [example[None]], method, start)
        rows.append((_numpy(y)[0], _numpy(relevance)[0]))
    np.savez(answer, y=np.stack([row[0] for row in rows]), relevance=np.stack([row[1] for row in rows]))
    return {}


def contrast(network: int, x: str, target: int, method: str, answer: str) -> dict:
    """Writes CLRP of each example to the .npy `answer`, by a configuration of autolrp."""
    model = networks[network]
    plain = lrp_networks.WRITINGS["Plain"]
    rows = [
        autolrp.clrp(lambda x: model(x, plain), example[None], target, config=CONFIGURATIONS[method]())
        for example in torch.as_tensor(np.load(x)).to(model.dtype)
    ]
    np.save(answer, np.concatenate([_numpy(row) for row in rows]))
    return {}


def pairs(network: int, x: str, method: str, answer: str) -> dict:
    """Writes BiLRP of a pair of examples, `[features, features]`, to the .npy `answer`; returns their similarity."""
    model = networks[network]
    plain = lrp_networks.WRITINGS["Plain"]
    one, two = torch.as_tensor(np.load(x)).to(model.dtype)[:, None]
    relevance, similarity = autolrp.bilrp(
        lambda x: model(x, plain), one, two, config=CONFIGURATIONS[method](), return_similarity=True
    )
    np.save(answer, _numpy(relevance))
    return {"similarity": similarity}


def seconds(network: int, x: str, method: str, target: int) -> dict:
    """Returns the seconds that the relevance of a whole batch takes, one forward pass and one way back.

    And `processor_seconds`, of all threads, which say more where others compute beside it.
    """
    model = networks[network]
    examples = torch.as_tensor(np.load(x)).to(model.dtype)
    start, used = time.perf_counter(), time.process_time()
    if method in CONFIGURATIONS:
        wrapped = autolrp.tensor(examples)
        y = model(wrapped, lrp_networks.WRITINGS["Plain"])
        y[:, target].sum().lrp(config=CONFIGURATIONS[method]())
        assert wrapped.relevance is not None
    else:
        examples.requires_grad_()
        y = model(examples, lrp_networks.WRITINGS["Fused" if method == "gradient" else method])
        choice = y[:, target]
        # The explicit rules start from the output itself, gradients from one.
        first = choice.detach() if method.startswith("Explicit") else torch.ones_like(choice)
        (part,) = torch.autograd.grad(choice, examples, first)
        if method.startswith("Efficient"):
            part = examples.detach() * part
    return {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - used}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    commands = (version, build, operation, explain, contrast, pairs, seconds)
    line_server.serve({command.__name__: command for command in commands})
