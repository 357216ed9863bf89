"""Quantus on request, under its own Python: .venv-peers/quantus/bin/python tests/peers/quantus_server.py

Networks come as plans (kernels/attribution/bench/plans.py, chains without norms) with an .npz of parameters; images and
maps as .npy, channels first. Random draws of Quantus are either given (noise) or seeded and told (subsets).
"""

import importlib.metadata
import time

import line_server
import numpy as np
import quantus
import torch
from quantus.functions import perturb_func, similarity_func

networks: list[torch.nn.Module] = []


class Wide(torch.nn.Sequential):
    """Takes the single precision that Quantus converts its inputs to."""

    def forward(self, x):
        return super().forward(x.to(next(self.parameters()).dtype))


def version() -> dict:
    """Returns what answers here, and how many threads torch uses."""
    names = ("quantus", "torch", "numpy")
    return {name: importlib.metadata.version(name) for name in names} | {"threads": torch.get_num_threads()}


def build(plan: list, parameters: str, dtype: str = "float64") -> dict:
    """Builds a network from a plan and an .npz of parameters; returns its number."""
    layers, state = [], {}
    with np.load(parameters, allow_pickle=False) as arrays:
        for number, step in enumerate(plan):
            layers.append(_layer(step))
            if "name" in step:
                for kind in ("weight", "bias")[: 1 + step["bias"]]:
                    state[f"{number}.{kind}"] = torch.as_tensor(arrays[f"{step['name']}/{kind}"])
    module = Wide(*layers)
    module.load_state_dict(state)
    networks.append(module.to(getattr(torch, dtype)).eval())
    return {"network": len(networks) - 1}


def measure(name: str, network: int, x: str, y: list, answer: str, a: str = "", masks: str = "", **settings) -> dict:
    """Writes what a metric of Quantus gives to the .npy `answer`; settings are its arguments.

    Args:
        name: of the class. x, a, masks: paths of inputs, maps, masks. y: classes.
        settings: "noise": a path of noise `[draws, ...]` for metrics that explain again; "softmax".
    """
    scores = _call(name, network, x, y, a, masks, settings)
    np.save(answer, np.asarray(scores, np.float64))
    return {}


def seconds(name: str, network: int, x: str, y: list, a: str = "", **settings) -> dict:
    """Returns the seconds of one call of a metric."""
    start = time.perf_counter()
    _call(name, network, x, y, a, "", settings)
    return {"seconds": time.perf_counter() - start}


def subsets(entries: int, size: int, samples: int, draws: int, seed: int, answer: str) -> dict:
    """Writes the subsets `[draws, samples, size]` that Quantus draws after this seed."""
    np.random.seed(seed)  # noqa: NPY002  # Quantus draws from it
    choice = np.random.choice  # noqa: NPY002
    rows = [[choice(entries, size, replace=False) for _ in range(samples)] for _ in range(draws)]
    np.save(answer, np.asarray(rows))
    return {}


def similarity(name: str, one: str, other: str, answer: str) -> dict:
    """Writes what a similarity function of Quantus gives for rows of two arrays."""
    values = getattr(similarity_func, name)(np.load(one), np.load(other), batched=True)
    np.save(answer, np.asarray(values, np.float64))
    return {}


def impute(image: str, places: list, answer: str) -> dict:
    """Writes an image `[channels, height, width]` whose entries at flat places (of a channel) are imputed, no noise."""
    np.save(answer, perturb_func.noisy_linear_imputation(np.load(image), np.asarray(places), noise=0.0))
    return {}


def _layer(step: dict) -> torch.nn.Module:
    op = step["op"]
    if op == "conv":
        return torch.nn.Conv2d(
            step["in"], step["out"], step["kernel"], step["stride"], step["padding"], step["dilation"], step["groups"],
            step["bias"],
        )  # fmt: skip
    if op == "dense":
        return torch.nn.Linear(step["in"], step["out"], step["bias"])
    if op == "max_pool":
        return torch.nn.MaxPool2d(step["size"])
    return {"relu": torch.nn.ReLU, "flatten": torch.nn.Flatten}[op]()


def _call(name: str, network: int, x: str, y: list, a: str, masks: str, settings: dict):
    settings = dict(settings)
    softmax, seed = settings.pop("softmax", False), settings.pop("seed", None)
    if "noise" in settings:
        settings["perturb_func"] = _given(np.load(settings.pop("noise")))
    metric = getattr(quantus, name)(disable_warnings=True, display_progressbar=False, **settings)
    x_batch = np.load(x)
    if seed is not None:
        np.random.seed(seed)  # noqa: NPY002  # Quantus draws from it
    return metric(
        model=networks[network], x_batch=x_batch, y_batch=np.asarray(y), a_batch=np.load(a) if a else None,
        s_batch=np.load(masks) if masks else None, explain_func=_gradient_times_input, softmax=softmax,
        channel_first=True, batch_size=len(x_batch),
    )  # fmt: skip


def _given(noise: np.ndarray):
    """A perturbation that adds one draw after the other."""
    draws = iter(noise.reshape(*noise.shape[:2], -1))
    return lambda arr, **_: arr + next(draws)


def _gradient_times_input(model, inputs, targets, **_) -> np.ndarray:
    tensor = torch.as_tensor(np.asarray(inputs), dtype=next(model.parameters()).dtype).requires_grad_()
    outputs = model(tensor)[torch.arange(len(tensor)), torch.as_tensor(np.asarray(targets))]
    (slope,) = torch.autograd.grad(outputs.sum(), tensor)
    return (slope * tensor).detach().numpy()


if __name__ == "__main__":
    commands = (version, build, measure, seconds, subsets, similarity, impute)
    line_server.serve({command.__name__: command for command in commands})
