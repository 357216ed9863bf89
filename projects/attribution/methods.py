"""Methods of explanation by name: composites of relevance propagation, attributors, iNNvestigate's analyzers."""

from collections.abc import Callable

import jax
import numpy as np

from common.models import zoo
from kernels import attribution
from kernels.attribution import analyzers, composites

ATTRIBUTORS = ("gradient", "input_times_gradient", "smoothgrad", "integrated_gradients", "occlusion")
RELEVANCES = (*composites.NAMES[:5], "excitation_backprop")  # the others are gradients
GRADIENTS = ("gradient", "smoothgrad", "occlusion", *(name for name in composites.NAMES if name not in RELEVANCES))
# Of iNNvestigate, in its numerics; what wants more than a network and images is left to the kernel.
ANALYZERS = tuple(
    name for name in analyzers.SEMANTICS["innvestigate"] if name.startswith(("lrp.", "deep_taylor"))
    and name not in ("lrp.sequential_preset_b_flat_until_idx", "lrp.alpha_beta")
)  # fmt: skip
BEYOND = ("attnlrp", "cp_lrp", "lstm")  # for networks that Zennit does not know: attention, gates
COMPOSITES = (*composites.NAMES, *BEYOND)
NAMES = (*COMPOSITES, *ATTRIBUTORS, *ANALYZERS)


class RefusedError(ValueError):
    """A method is not for this network: it has no rule for one of its operations."""


def composite(name: str, network: zoo.Network, zero_bias: bool = False):
    """Returns a composite with its defaults; the box of `epsilon_gamma_box` is that of the network's pixels, and
    `attnlrp` has Gamma, 0.05 in dense layers and 0.25 in the convolution, as its authors have for images.

    With `zero_bias` the biases count as zero inside the rules, so that they keep no relevance.
    """
    options = {"zero_params": "bias"} if zero_bias and name in (*RELEVANCES, "attnlrp", "cp_lrp") else {}
    if name == "epsilon_gamma_box":
        return composites.epsilon_gamma_box(network.low, network.high, **options)
    if name == "attnlrp":
        return composites.attnlrp(gamma=0.05, conv_gamma=0.25, **options)
    return getattr(composites, name)(**options)


def explainer(
    name: str, network: zoo.Network, *, draws: int = 20, window: int = 8, stride: int = 4, zero_bias: bool = False
) -> Callable:
    """Returns `explain(params, x, target, keys) -> (outputs, attribution)`; a method of one pass is compiled whole.

    Keys are one a sample `[batch]`, or one for all.

    Args:
        name: of NAMES.
        network: whose function is explained.
        draws: of SmoothGrad, points of integrated gradients.
        window, stride: of occlusion, in pixels.
        zero_bias: see `composite`.

    Raises:
        ValueError: an unknown name; the message has all of them.
        RefusedError: a window as large as the images; from what is returned, where the method has no rule for an
            operation of the network.
    """
    fn = network.fn
    if name in COMPOSITES:
        rules = composite(name, network, zero_bias)
        return _told(name, lambda params, x, target: attribution.attribute(fn, params, x, target=target, rules=rules))
    if name in ("gradient", "input_times_gradient"):
        times = name != "gradient"
        return lambda params, x, target, key: attribution.gradient(fn, params, x, target=target, times_input=times)
    if name == "smoothgrad":
        return lambda params, x, target, key: attribution.smoothgrad(fn, params, x, key, target=target, n=draws)
    if name == "integrated_gradients":
        return lambda params, x, target, key: attribution.integrated_gradients(
            fn, params, x, target=target, n=draws, baseline=np.asarray(network.low)
        )
    if name == "occlusion":
        if window >= max(network.input_shape[:2]):
            raise RefusedError(
                f"--method=occlusion: --window={window} covers all of {network.input_shape[0]} x "
                f"{network.input_shape[1]} pixels, which gives each the same score: take a smaller one"
            )
        return lambda params, x, target, key: attribution.occlusion(
            fn, params, x, target=target, window=(window, window), stride=(stride, stride), axes=(1, 2),
            mode="difference", fill=np.asarray((network.low + network.high) / 2),
        )  # fmt: skip
    if name in ANALYZERS:
        bounds = {"low": network.low, "high": network.high} if name == "deep_taylor.bounded" else {}
        analyze = attribution.analyzer(name, "innvestigate", **bounds)
        return _told(name, lambda params, x, target: analyze(fn, params, x, target=target))
    raise ValueError(f"unknown method {name!r}; choose one of {', '.join(NAMES)}")


def _told(name: str, explain: Callable) -> Callable:
    """A method compiled whole, which says so where it is not for the network: no rule for attention, no ReLU."""
    compiled = jax.jit(explain)

    def call(params, x, target, key):
        try:
            return compiled(params, x, target)
        except (NotImplementedError, ValueError) as error:
            raise RefusedError(f"--method={name}: {error}") from error

    return call
