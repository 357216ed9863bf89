"""Zennit on request, under its own Python: .venv-peers/zennit/bin/python tests/peers/zennit_server.py

Networks come as plans (kernels/attribution/bench/plans.py) with an .npz of parameters, images as .npy [n, channels,
height, width]; outputs and relevances go back as .npz. A network is built once and then named by its number.
"""

import importlib.metadata
import resource
import time

import line_server
import numpy as np
import torch
import zennit_calls
import zennit_network

networks: list[torch.nn.Module] = []


def version() -> dict:
    """Returns what answers here, and how many threads torch uses."""
    actual = {name: importlib.metadata.version(name) for name in ("zennit", "torch", "numpy")}
    return actual | {"threads": torch.get_num_threads()}


def build(plan: list, parameters: str, dtype: str = "float64") -> dict:
    """Builds a network from a plan and an .npz of parameters; returns its number."""
    with np.load(parameters, allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    networks.append(zennit_network.build(plan, values, getattr(torch, dtype)))
    return {"network": len(networks) - 1}


def attribute(network: int, images: str, answer: str, **settings) -> dict:
    """Writes `y`, `relevance` and `at/<layer>` to the .npz `answer`; settings as zennit_calls.attribute."""
    options = settings.pop("options", None) or {}
    options = {key: np.asarray(value) if key in ("low", "high") else value for key, value in options.items()}
    values = np.load(images, allow_pickle=False)
    y, relevance, actual = zennit_calls.attribute(networks[network], values, options=options, **settings)
    np.savez(answer, y=y, relevance=relevance, **{f"at/{name}": value for name, value in actual.items()})
    return {}


def seconds(network: int, images: str, what: str = "attribute", **settings) -> dict:
    """Returns the seconds of one call: "forward", "gradient" (of the chosen outputs' sum) or "attribute"."""
    values, model = np.load(images, allow_pickle=False), networks[network]
    if what == "attribute":
        start = time.perf_counter()
        zennit_calls.attribute(model, values, **settings)
        return {"seconds": time.perf_counter() - start}
    inputs = torch.as_tensor(values).to(next(model.parameters()).dtype)
    start = time.perf_counter()
    if what == "forward":
        with torch.no_grad():
            model(inputs)
    else:
        zennit_calls.attribute(model, values, target=settings["target"], start="one")
    return {"seconds": time.perf_counter() - start}


def peak_memory() -> dict:
    """Returns the largest resident size of this process so far, in bytes."""
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def picture(values: str, answer: str, **settings) -> dict:
    """Writes what zennit.image.imgify makes of an array as uint8 [height, width, 3] (its palette applied)."""
    np.save(answer, zennit_calls.picture(np.load(values, allow_pickle=False), **settings))
    return {}


if __name__ == "__main__":
    commands = (version, build, attribute, seconds, peak_memory, picture)
    line_server.serve({command.__name__: command for command in commands})
