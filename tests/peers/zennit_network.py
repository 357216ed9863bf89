"""A plan of kernels/attribution/bench/plans.py as a PyTorch module, and Zennit's composites by our names (their
Python).

Zennit imports torchvision for the names of three classes only; empty stand-ins take their place.
"""

import sys
import types

import torch

for _name, _classes in {
    "ops": ["FrozenBatchNorm2d"],
    "models": [],
    "models.resnet": ["Bottleneck", "BasicBlock"],
}.items():
    _module = types.ModuleType(f"torchvision.{_name}")
    for _class in _classes:
        setattr(_module, _class, type(_class, (torch.nn.Module,), {}))
    sys.modules[f"torchvision.{_name}"] = _module
_torchvision = types.ModuleType("torchvision")
_torchvision.ops, _torchvision.models = sys.modules["torchvision.ops"], sys.modules["torchvision.models"]
sys.modules["torchvision"] = _torchvision

import zennit.composites  # noqa: E402
from zennit.canonizers import SequentialMergeBatchNorm  # noqa: E402
from zennit.layer import Sum  # noqa: E402

COMPOSITES = {
    "epsilon_gamma_box": zennit.composites.EpsilonGammaBox,
    "epsilon_plus": zennit.composites.EpsilonPlus,
    "epsilon_alpha2_beta1": zennit.composites.EpsilonAlpha2Beta1,
    "epsilon_plus_flat": zennit.composites.EpsilonPlusFlat,
    "epsilon_alpha2_beta1_flat": zennit.composites.EpsilonAlpha2Beta1Flat,
    "deconvnet": zennit.composites.DeconvNet,
    "guided_backprop": zennit.composites.GuidedBackprop,
    "excitation_backprop": zennit.composites.ExcitationBackprop,
    "beta_smooth": zennit.composites.BetaSmooth,
}


class Residual(torch.nn.Module):
    """The sum of two branches, by a module that Zennit can hook."""

    def __init__(self, main, shortcut):
        super().__init__()
        self.main, self.shortcut, self.sum = main, shortcut, Sum()

    def forward(self, x):
        return self.sum(torch.stack([self.main(x), self.shortcut(x)], dim=-1))


def build(steps, parameters, dtype=torch.float64) -> torch.nn.Module:
    """Returns the module of a plan in evaluation mode, with NumPy parameters "layer/weight" by name."""
    module = _sequence(steps).to(dtype)
    module.eval()
    state = {}
    for name in module.state_dict():
        parts = name.split(".")
        if parts[-1] != "num_batches_tracked":
            state[name] = torch.as_tensor(parameters["/".join(parts[-2:])]).to(dtype)
    module.load_state_dict(state, strict=False)
    used = {"/".join(name.split(".")[-2:]) for name in state}
    if used != set(parameters):
        raise ValueError(f"parameters of no layer: {sorted(set(parameters) - used)}")
    return module


def _sequence(steps) -> torch.nn.Sequential:
    module = torch.nn.Sequential()
    for index, step in enumerate(steps):
        module.add_module(step.get("name", f"{step['op']}{index}"), _layer(step))
    return module


def _layer(step) -> torch.nn.Module:
    nn, op = torch.nn, step["op"]
    if op == "conv":
        geometry = {key: step[key] for key in ("stride", "padding", "dilation", "groups", "bias")}
        return nn.Conv2d(step["in"], step["out"], step["kernel"], **geometry)
    if op == "dense":
        return nn.Linear(step["in"], step["out"], bias=step["bias"])
    if op == "batch_norm":
        return nn.BatchNorm2d(step["features"])
    if op == "residual":
        return Residual(_sequence(step["steps"]), _sequence(step["shortcut"]))
    if op == "global_avg_pool":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if op in ("max_pool", "avg_pool"):
        return (nn.MaxPool2d if op == "max_pool" else nn.AvgPool2d)(step["size"])
    return {"relu": nn.ReLU, "flatten": nn.Flatten}[op]()


def composite(name: str, *, fold: bool = True, **options):
    """Returns a composite of Zennit by our name; with `fold` batch normalisation is merged by its canonizer.

    `low` and `high` may be NumPy arrays that broadcast against images.
    """
    options = {key: torch.as_tensor(value) if key in ("low", "high") else value for key, value in options.items()}
    return COMPOSITES[name](canonizers=[SequentialMergeBatchNorm()] if fold else None, **options)
