"""Composites by name: the nine of Zennit 1.0.0 (Anders et al., arXiv:2106.13200) under its names and with its defaults,
those for transformers and recurrent cells, and the parts to make others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import libraries, rules
from .assignment import Composite, Epsilon, Mixed, Pairs, check_rule
from .rules import Bound, ZeroParams

__all__ = [
    "NAMES",
    "Composite",
    "Mixed",
    "as_composite",
    "attnlrp",
    "autolrp",
    "beta_smooth",
    "cp_lrp",
    "deconvnet",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box",
    "epsilon_plus",
    "epsilon_plus_flat",
    "excitation_backprop",
    "gradient",
    "guided_backprop",
    "layer_map_base",
    "lstm",
    "lxt",
    "mixed",
]


def mixed(*composites: Any) -> Mixed:
    """Returns the composite that asks each of `composites` in turn."""
    return Mixed(tuple(as_composite(composite) for composite in composites))


def as_composite(value: Any) -> Any:
    """Returns a composite from a composite, the name of a built-in one, or one rule for all affine operations.

    Anything with a method `assign` is a composite.
    """
    if any(value is maker for maker in (*BY_NAME.values(), mixed, Composite, Mixed)):
        name = value.__name__
        raise ValueError(f"rules is {name} itself, which makes a composite: call it, composites.{name}(...).")
    if hasattr(value, "assign"):
        return value
    if isinstance(value, str):
        if value not in BY_NAME:
            raise ValueError(f"no composite {value!r}; there are {', '.join(BY_NAME)}.")
        if BY_NAME[value] is epsilon_gamma_box:
            raise ValueError(
                "rules is 'epsilon_gamma_box', which needs the bounds of the input: give "
                "composites.epsilon_gamma_box(low, high)."
            )
        return BY_NAME[value]()
    if value is None:
        raise ValueError(
            "rules is None; expected a composite, by name ('epsilon_plus') or by a call (composites.epsilon_plus()), "
            "or a rule."
        )
    check_rule(value, "rules")
    rules.check_affine(value, "rules is")
    return Composite((*layer_map_base(), ("affine", value)))


def layer_map_base(stabilizer: Epsilon = 1e-6) -> Pairs:
    """Returns what all relevance composites have in common: activations and norms pass, sums and means share out."""
    return (
        ("activation", rules.Pass()),
        (("sum", "avg_pool"), rules.Norm(stabilizer)),
        ("norm_layer", rules.Pass()),
        ("product", rules.SignalTakesAll()),
    )


def _relevance(conv, *, epsilon, stabilizer, zero_params, layer_map, first_map=(), first="inputs", name_map=()):
    dense = rules.Epsilon(epsilon, zero_params)
    kinds = (*layer_map, *layer_map_base(stabilizer), ("conv", conv), ("dense", dense))
    return Composite(kinds, first_map, name_map, first=first)


def epsilon_gamma_box(
    low: Bound,
    high: Bound,
    epsilon: Epsilon = 1e-6,
    gamma: float = 0.25,
    stabilizer: Epsilon = 1e-6,
    layer_map: Pairs = (),
    first_map: Pairs = (),
    zero_params: ZeroParams = None,
    **options: Any,
) -> Composite:
    """First convolution ZBox(low, high), convolutions Gamma, dense layers Epsilon.

    Args:
        low, high: bounds of the network's input: numbers, or arrays by channel or of a sample's shape.
        epsilon: of dense layers; stabilizer: of all other denominators.
        layer_map, first_map: pairs that go before the composite's own.
        zero_params: "bias", "weight" or both count as zero in the rules.
        **options: `name_map`, `first` of Composite.
    """
    conv = rules.Gamma(gamma, stabilizer, zero_params)
    box = (*first_map, ("conv", rules.ZBox(low, high, stabilizer, zero_params)))
    return _relevance(conv, epsilon=epsilon, stabilizer=stabilizer, zero_params=zero_params, layer_map=layer_map,
                      first_map=box, **options)  # fmt: skip


def epsilon_plus(
    epsilon: Epsilon = 1e-6,
    stabilizer: Epsilon = 1e-6,
    layer_map: Pairs = (),
    zero_params: ZeroParams = None,
    **options: Any,
) -> Composite:
    """Convolutions ZPlus, dense layers Epsilon.

    Args:
        epsilon: stabiliser of dense layers, a number or a function of z.
        stabilizer: of all other denominators, the same.
        layer_map: pairs (kind, rule) that go before the composite's own.
        zero_params: "bias", "weight" or both count as zero in the rules.
        **options: `first_map` (pairs for the first operations), `name_map`, `first` of `Composite`.
    """
    conv = rules.ZPlus(stabilizer, zero_params)
    return _relevance(
        conv, epsilon=epsilon, stabilizer=stabilizer, zero_params=zero_params, layer_map=layer_map, **options
    )


def epsilon_alpha2_beta1(
    epsilon: Epsilon = 1e-6,
    stabilizer: Epsilon = 1e-6,
    layer_map: Pairs = (),
    zero_params: ZeroParams = None,
    **options: Any,
) -> Composite:
    """Convolutions AlphaBeta(2, 1), dense layers Epsilon.

    Args:
        epsilon: stabiliser of dense layers, a number or a function of z.
        stabilizer: of all other denominators, the same.
        layer_map: pairs (kind, rule) that go before the composite's own.
        zero_params: "bias", "weight" or both count as zero in the rules.
        **options: `first_map` (pairs for the first operations), `name_map`, `first` of `Composite`.
    """
    conv = rules.AlphaBeta(2.0, 1.0, stabilizer, zero_params)
    return _relevance(
        conv, epsilon=epsilon, stabilizer=stabilizer, zero_params=zero_params, layer_map=layer_map, **options
    )


def epsilon_plus_flat(
    epsilon: Epsilon = 1e-6,
    stabilizer: Epsilon = 1e-6,
    layer_map: Pairs = (),
    first_map: Pairs = (),
    zero_params: ZeroParams = None,
    **options: Any,
) -> Composite:
    """First affine operation Flat, convolutions ZPlus, dense layers Epsilon.

    Args:
        epsilon: stabiliser of dense layers, a number or a function of z.
        stabilizer: of all other denominators, the same.
        layer_map, first_map: pairs (kind, rule) for all and for the first operations, before the composite's own.
        zero_params: "bias", "weight" or both count as zero in the rules.
        **options: `name_map`, `first` of `Composite`.
    """
    flat = (*first_map, ("affine", rules.Flat(stabilizer, zero_params)))
    return epsilon_plus(epsilon, stabilizer, layer_map, zero_params, first_map=flat, **options)


def epsilon_alpha2_beta1_flat(
    epsilon: Epsilon = 1e-6,
    stabilizer: Epsilon = 1e-6,
    layer_map: Pairs = (),
    first_map: Pairs = (),
    zero_params: ZeroParams = None,
    **options: Any,
) -> Composite:
    """First affine one Flat, convolutions AlphaBeta(2, 1), dense layers Epsilon.

    Args:
        epsilon: stabiliser of dense layers, a number or a function of z.
        stabilizer: of all other denominators, the same.
        layer_map, first_map: pairs (kind, rule) for all and for the first operations, before the composite's own.
        zero_params: "bias", "weight" or both count as zero in the rules.
        **options: `name_map`, `first` of `Composite`.
    """
    flat = (*first_map, ("affine", rules.Flat(stabilizer, zero_params)))
    return epsilon_alpha2_beta1(epsilon, stabilizer, layer_map, zero_params, first_map=flat, **options)


def attnlrp(
    epsilon: Epsilon = 1e-6,
    stabilizer: Epsilon = 1e-6,
    gamma: float = 0.0,
    conv_gamma: float = 0.0,
    layer_map: Pairs = (),
    zero_params: ZeroParams = None,
    **options: Any,
) -> Composite:
    """AttnLRP for transformers (Achtibat et al., arXiv:2402.05602): relevance goes through weights and values alike.

    Softmaxes that weigh values `rules.Softmax`, products of two values `rules.Uniform`, norms and activations pass
    relevance on as it is, sums share it out. Norms are not folded. But for the stabilisers it is the input times the
    gradient of a function in which the ratio of each norm and activation to what goes into it is constant, and the
    gradients of products are halved.

    Args:
        epsilon: stabiliser of dense layers and convolutions, a number or a function of z.
        stabilizer: of all other denominators, the same.
        gamma: of dense layers, conv_gamma of convolutions: `rules.Gamma` in place of `rules.Epsilon` where it is more
            than 0; vision transformers are explained with 0.05 and 0.25.
        layer_map: pairs (kind, rule) that go before the composite's own.
        zero_params: "bias", "weight" or both count as zero in the rules.
        **options: `first_map`, `name_map`, `first`, `fold_norm` of `Composite`.
    """

    def affine(gamma):
        return rules.Gamma(gamma, stabilizer, zero_params) if gamma else rules.Epsilon(epsilon, zero_params)

    kinds = (
        *layer_map,
        (("product", "attention"), rules.Uniform(stabilizer)),
        ("attention_weights", rules.Softmax()),
        *layer_map_base(stabilizer),
        ("conv", affine(conv_gamma)),
        ("dense", affine(gamma)),
    )
    return Composite(kinds, **{"fold_norm": False} | options)


def cp_lrp(
    epsilon: Epsilon = 1e-6,
    stabilizer: Epsilon = 1e-6,
    layer_map: Pairs = (),
    zero_params: ZeroParams = None,
    **options: Any,
) -> Composite:
    """CP-LRP for transformers (Ali et al., arXiv:2202.07304): weights of attention and spreads of norms are constants.

    Dense layers and convolutions Epsilon, sums Norm; all relevance of attention goes to the values, that of a gated
    product to what is no gate. The mean that a norm takes off is a sum with relevance of its own, and its shift keeps
    its part as a bias does. But for the stabilisers it is the input times the gradient of a function in which weights,
    spreads and the ratio of each activation to what goes into it are constants.

    Args:
        epsilon: stabiliser of dense layers and convolutions, a number or a function of z.
        stabilizer: of all other denominators, the same.
        layer_map: pairs (kind, rule) that go before the composite's own.
        zero_params: "bias", "weight" or both count as zero in the rules.
        **options: `first_map`, `name_map`, `first`, `fold_norm`, `hold_means` of `Composite`.
    """
    kinds = (
        *layer_map,
        (("product", "attention"), rules.SignalTakesAll(stabilizer)),
        ("norm_layer", rules.Norm(stabilizer)),
        *layer_map_base(stabilizer),
        ("affine", rules.Epsilon(epsilon, zero_params)),
    )
    return Composite(kinds, **{"fold_norm": False, "hold_means": False} | options)


def lxt(method: str = "attnlrp", efficient: bool = False, layer_map: Pairs = (), **options: Any) -> Composite:
    """AttnLRP or CP-LRP as lxt 2.1 computes them: norms share by z, their means and shifts keep their part.

    `attnlrp()` and `cp_lrp()` give the same for a decoder with RMSNorm and without biases, but for stabilisers.

    Args:
        method: "attnlrp" or "cp_lrp".
        efficient: as by `lxt.efficient`, the input times a gradient, which has no stabilisers; False: `lxt.explicit`.
        layer_map: pairs (kind, rule) that go before the composite's own.
        **options: `first_map`, `name_map`, `first`, `fold_norm`, `hold_means` of `Composite`.
    """
    if method not in libraries.LXT:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(libraries.LXT)}.")
    epsilon, stabilizer, pairs = libraries.of_lxt(method, efficient)
    return attnlrp(epsilon, stabilizer, layer_map=(*layer_map, *pairs), **{"hold_means": False} | options)


def autolrp(preset: str = "BASE", layer_map: Pairs = (), **options: Any) -> Composite:
    """As autolrp 0.2.0 explains: sums, entrywise products and biases share by magnitude.

    Args:
        preset: under the library's names "BASE", its table; "ATTNLRP" or "CPLRP", with these fragments; "attnlrp" or
            "cplrp", its constructors. With "attnlrp" activations multiply by y / x, and convolutions are refused.
        layer_map: pairs (kind, rule) that go before the composite's own.
        **options: `first_map`, `name_map`, `first`, `fold_norm`, `hold_means` of `Composite`.
    """
    if preset not in libraries.AUTOLRP:
        raise ValueError(f"preset is {preset!r}; expected one of {', '.join(libraries.AUTOLRP)}.")
    return Composite((*layer_map, *libraries.of_autolrp(preset)), **{"fold_norm": False} | options)


def lstm(
    epsilon: Epsilon = 1e-3,
    bias_factor: float = 0.0,
    gate: str = "signal",
    layer_map: Pairs = (),
    **options: Any,
) -> Composite:
    """For LSTMs, GRUs and their kin (Arras et al., EMNLP-WASSA 2017): gates get nothing, signals take all.

    Products that are summed are one, so that input, state and bias share one denominator. Activations pass.

    Args:
        epsilon: stabiliser of all denominators, a number or a function of z.
        bias_factor: what of the relevance that biases and epsilon keep is shared out evenly over the units below. At 1
            none is lost, which shows that nothing is dropped; it explains less well.
        gate: what products of a gate and a signal do: "signal" takes all, "half" each, or "proportional" to what goes
            into their activations.
        layer_map: pairs (kind, rule) that go before the composite's own.
        **options: `first_map`, `name_map`, `first`, `fold_norm` of `Composite`.
    """
    by_name = {
        "signal": rules.SignalTakesAll(epsilon), "half": rules.Uniform(epsilon),
        "proportional": rules.Proportional(epsilon),
    }  # fmt: skip
    if gate not in by_name:
        raise ValueError(f"gate is {gate!r}; expected 'signal', 'half' or 'proportional'.")
    kinds = (
        *layer_map,
        ("product", by_name[gate]),
        (("sum", "avg_pool"), rules.Norm(epsilon, bias_factor)),
        *layer_map_base(epsilon),
        ("affine", rules.Epsilon(epsilon, bias_factor=bias_factor)),
    )
    return Composite(kinds, **{"join_products": True} | options)


def _gradients(relu, layer_map) -> Composite:
    return Composite((*layer_map, ("relu", relu)), default=rules.Gradient())


def deconvnet(layer_map: Pairs = ()) -> Composite:
    """The gradient, but at a ReLU what is positive of the relevance."""
    return _gradients(rules.ReLUDeconvNet(), layer_map)


def guided_backprop(layer_map: Pairs = ()) -> Composite:
    """The gradient, but at a ReLU only where the relevance is positive too."""
    return _gradients(rules.ReLUGuidedBackprop(), layer_map)


def beta_smooth(beta_smooth: float = 10.0, layer_map: Pairs = ()) -> Composite:
    """The gradient, but at a ReLU that of a softplus with this beta."""
    return _gradients(rules.ReLUBetaSmooth(beta_smooth), layer_map)


def excitation_backprop(stabilizer: Epsilon = 1e-6, layer_map: Pairs = (), zero_params: ZeroParams = None) -> Composite:
    """ZPlus at affine operations, Norm at sums and means, the gradient elsewhere (Zhang et al., 2016)."""
    return Composite(
        (
            *layer_map,
            (("sum", "avg_pool"), rules.Norm(stabilizer)),
            ("affine", rules.ZPlus(stabilizer, zero_params)),
        )
    )


def gradient() -> Composite:
    """The plain gradient, by the same machinery; `attribution.gradient` is the attributor, faster and for itself."""
    return Composite(default=rules.Gradient())


BUILT_IN: dict[str, Callable[..., Composite]] = {
    "epsilon_gamma_box": epsilon_gamma_box,
    "epsilon_plus": epsilon_plus,
    "epsilon_alpha2_beta1": epsilon_alpha2_beta1,
    "epsilon_plus_flat": epsilon_plus_flat,
    "epsilon_alpha2_beta1_flat": epsilon_alpha2_beta1_flat,
    "deconvnet": deconvnet,
    "guided_backprop": guided_backprop,
    "excitation_backprop": excitation_backprop,
    "beta_smooth": beta_smooth,
}
NAMES = tuple(BUILT_IN)  # Zennit's nine
BY_NAME = BUILT_IN | {
    "attnlrp": attnlrp, "cp_lrp": cp_lrp, "gradient": gradient, "lstm": lstm, "lxt": lxt, "autolrp": autolrp,
}  # fmt: skip
