"""NetKet's sampler and passes of a torch network on request: .venv-peers/netket/bin/python tests/peers/netket_server.py

`sample` times NetKet's FastARNNConv2D under its ARDirectSampler, log-probabilities returned with the samples as ours
are. `log_prob` is the network of arXiv:1809.10606 written in torch from its formulas, with our weights: the judge of
ours, and what its reference code samples with, one full pass a site.
"""

import importlib.metadata
import os
import time

os.environ.setdefault("NETKET_ENABLE_X64", "0")

import jax
import line_server
import netket
import numpy as np
import torch

_samplers = {}


def leaky(x):
    """PReLU at its first slope, which costs what ours does; NetKet's own choice, selu, costs more."""
    return jax.nn.leaky_relu(x, 0.5)


def sample(length: int, depth: int, channels: int, half_width: int, batch: int, log_prob: bool = True) -> dict:
    """Returns the seconds of one call that draws `batch` samples of a length x length lattice; the first compiles."""
    settings = (length, depth, channels, half_width, batch, log_prob)
    if settings not in _samplers:
        hilbert = netket.hilbert.Spin(0.5, length**2)
        model = netket.models.FastARNNConv2D(
            hilbert,
            layers=depth,
            features=channels,
            kernel_size=(half_width + 1, 2 * half_width + 1),
            activation=leaky,
            param_dtype=np.float32,
        )
        sampler = netket.sampler.ARDirectSampler(hilbert, dtype=np.float32)
        variables = model.init(jax.random.key(0), np.ones((1, length**2), np.float32))
        _samplers[settings] = sampler, model, variables, sampler.init_state(model, variables, seed=1)
    sampler, model, variables, state = _samplers[settings]
    start = time.perf_counter()
    samples, state = sampler.sample(
        model, variables, state=state, chain_length=batch, return_log_probabilities=log_prob
    )
    jax.block_until_ready(samples)
    seconds = time.perf_counter() - start
    _samplers[settings] = sampler, model, variables, state
    spins = np.asarray(samples[0] if log_prob else samples)
    return {"seconds": [seconds], "shape": list(spins.shape), "mean": float(spins.mean())}


def log_prob(weights: str, spins: str, out: str, network: dict, repeats: int = 1) -> dict:
    """Writes ln q [n] of spins [n, rows, columns] to `out`; returns the seconds of each forward pass.

    Args:
      weights: .npz of arrays named layer/.../name as in the tree of parameters.
      network: the fields of PixelCNN or MADE, and "kind".
    """
    with np.load(weights, allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    x = torch.from_numpy(np.load(spins, allow_pickle=False)).to(tensors["layer_0/kernel"].dtype)
    logits = made if network["kind"] == "MADE" else pixel_cnn
    with torch.no_grad():
        _, seconds = line_server.timed(lambda: logits(tensors, network, x), repeats)
        value = log_prob_of(logits(tensors, network, x), x, network)
        if network["z2"]:
            mirrored = log_prob_of(logits(tensors, network, -x), -x, network)
            value = torch.logaddexp(value, mirrored) - np.log(2)
    np.save(out, value.numpy())
    return {"seconds": seconds, "threads": torch.get_num_threads()}


def log_prob_of(a, spins, network):
    """ln q [n]: the bounded conditionals' logarithms, summed in float64."""
    x = network["epsilon"] + (1 - 2 * network["epsilon"]) * torch.sigmoid(spins.double() * a.double())
    return torch.log(x).sum(dim=(1, 2))


def pixel_cnn(tensors, network, spins):
    """Logits [n, rows, columns]: masked convolutions over the whole lattice, masks and all, as torch code has them."""
    x = spins[:, None]
    for k in range(network["depth"]):
        kernel = tensors[f"layer_{k}/kernel"].permute(3, 2, 0, 1)
        size = kernel.shape[-1]
        order = torch.arange(size * size).reshape(size, size)
        mask = (order <= size * size // 2 if k else order < size * size // 2).to(kernel.dtype)
        u = x
        if f"layer_{k}/mix/kernel" in tensors:
            u = torch.nn.functional.conv2d(
                u, tensors[f"layer_{k}/mix/kernel"].T[:, :, None, None], tensors.get(f"layer_{k}/mix/bias")
            )
        if k:
            u = torch.nn.functional.prelu(u, tensors[f"layer_{k}/slope"])
        y = torch.nn.functional.conv2d(u, kernel * mask, tensors.get(f"layer_{k}/bias"), padding=size // 2)
        x = x + y if f"layer_{k}/mix/kernel" in tensors else y
    if "final/kernel" in tensors:
        x = torch.nn.functional.prelu(x, tensors["final/slope"])
        x = torch.nn.functional.conv2d(x, tensors["final/kernel"].T[:, :, None, None], tensors.get("final/bias"))
    return first_is_half(x[:, 0], network)


def made(tensors, network, spins):
    """Logits [n, rows, columns]: masked dense layers, [n, sites, channels] between them."""
    n, sites = spins.shape[0], spins[0].numel()
    x = spins.reshape(n, sites, 1)
    source, target = torch.arange(sites)[:, None, None, None], torch.arange(sites)[None, None, :, None]
    for k in range(network["depth"]):
        kernel = tensors[f"layer_{k}/kernel"] * (source <= target if k else source < target)
        u = x
        if f"layer_{k}/mix/kernel" in tensors:
            u = torch.einsum("nic,icd->nid", u, tensors[f"layer_{k}/mix/kernel"])
            u = u + tensors.get(f"layer_{k}/mix/bias", 0)
        if k:
            u = torch.where(u > 0, u, tensors[f"layer_{k}/slope"] * u)
        y = torch.einsum("njc,jcid->nid", u, kernel) + tensors.get(f"layer_{k}/bias", 0)
        x = x + y if f"layer_{k}/mix/kernel" in tensors else y
    return first_is_half(x.reshape(spins.shape), network)


def first_is_half(a, network):
    """With a bias and without z2 the first conditional is 1/2."""
    if network["bias"] and not network["z2"]:
        a = a.clone()
        a[:, 0, 0] = 0
    return a


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("netket", "torch", "jax", "numpy")}


if __name__ == "__main__":
    line_server.serve({"sample": sample, "log_prob": log_prob, "version": version})
