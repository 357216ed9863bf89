"""Zennit's attributors behind one function, shared by the server and by the recording (their Python)."""

import contextlib

import numpy
import torch
import zennit_network  # first: it brings the stand-ins that Zennit's import needs

import zennit.attribution  # isort: skip
import zennit.image  # isort: skip

ATTRIBUTORS = {
    "gradient": zennit.attribution.Gradient,
    "smoothgrad": zennit.attribution.SmoothGrad,
    "integrated_gradients": zennit.attribution.IntegratedGradients,
    "occlusion": zennit.attribution.Occlusion,
}


def attribute(
    network, images, *, composite=None, fold=True, options=None, target=None, start="output", at=(),
    attributor="gradient", settings=None, noise=None,
):  # fmt: skip
    """Returns (outputs, relevance of the images, {layer: relevance of what enters it}) as NumPy arrays.

    Args:
      network: a module of zennit_network.build.
      images: NumPy [n, channels, height, width].
      composite, fold, options: as zennit_network.composite; composite None is the plain gradient.
      target: one class a sample, or None for all outputs.
      start: "output": the chosen outputs are what is distributed; "one": 1 at the chosen outputs.
      at: names of layers, dotted inside of residual blocks ("block1", "block1.main.conv2").
      attributor: a key of ATTRIBUTORS, with its own `settings`.
      noise: standard normal [draws, *images.shape] that SmoothGrad takes instead of its own.
    """
    actual, handles = {}, []
    modules = dict(network.named_modules())
    for name in at:

        def keep(module, inputs, name=name):
            inputs[0].register_hook(lambda value: actual.__setitem__(name, value.detach().numpy()))

        handles.append(modules[name].register_forward_pre_hook(keep))

    def weighting(y):
        if target is None:
            return y if start == "output" else torch.ones_like(y)
        choice = torch.nn.functional.one_hot(torch.as_tensor(target), y.shape[-1]).to(y)
        return y * choice if start == "output" else choice

    built = zennit_network.composite(composite, fold=fold, **(options or {})) if composite else None
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in (settings or {}).items()}
    dtype = next(network.parameters()).dtype
    try:
        with own_noise(noise, dtype), ATTRIBUTORS[attributor](network, composite=built, **settings) as attributor_:
            y, relevance = attributor_(torch.as_tensor(images).to(dtype), weighting)
    finally:
        for handle in handles:
            handle.remove()
    return y.detach().numpy(), relevance.detach().numpy(), actual


@contextlib.contextmanager
def own_noise(noise, dtype):
    """Lets torch.randn_like return recorded draws."""
    if noise is None:
        yield
        return
    draws, original = iter(noise), torch.randn_like
    torch.randn_like = lambda like: torch.as_tensor(next(draws)).to(dtype)
    try:
        yield
    finally:
        torch.randn_like = original


def picture(values, **settings):
    """Returns imgify's picture as uint8 [height, width, 3]; its palette is applied here, since Pillow refuses to."""
    image = zennit.image.imgify(values, **settings)
    pixels = numpy.asarray(image)
    if pixels.ndim == 3:
        return pixels
    palette = image.getpalette()
    return (
        pixels[..., None].repeat(3, -1)
        if palette is None
        else numpy.asarray(palette).reshape(-1, 3)[pixels].astype("uint8")
    )
