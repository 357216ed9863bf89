"""Composites: which rule for which operation, by layer name, by first place in execution order, by kind.

The nine of Zennit 1.0.0 (Anders et al., arXiv:2106.13200) under its names and with its defaults, and the parts to make
others. What no map names takes the gradient, as there; an operation of kind "unknown" is an error unless
`default` is set.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..array_types import Array
from . import rules
from .rules import Bound, ZeroParams
from .tracing.operations import CARRY, Operation

__all__ = [
    "NAMES",
    "Composite",
    "Mixed",
    "as_composite",
    "attnlrp",
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
    "mixed",
]

KINDS = (
    "affine", "conv", "conv_transpose", "dense", "norm_layer", "bias", "sum", "avg_pool", "max_pool", "max",
    "activation", "relu", "product", "embedding", "layout", "softmax", "attention_weights", "attention", "branch",
    "recurrent", "call", "registered", "unknown",
)  # fmt: skip

READING = ("fold_norm", "hold_means", "join_products")  # how a composite wants a function to be read

Kind = str | tuple[str, ...]
Pairs = Sequence[tuple[Any, Any]]  # (kind, kinds, pattern or patterns) and a rule
Epsilon = float | Callable[[Array], Array]  # or `rules.Stabilizer`


@dataclasses.dataclass(frozen=True)
class Composite:
    """A choice of rules. Names go before the first layer, the first layer before kinds, kinds before the default.

    Args:
        layer_map: pairs (kind or kinds, rule), the first that fits counts.
        first_map: pairs as in `layer_map`, for the first operations that fit one of them.
        name_map: pairs (pattern or patterns, rule) on layer names such as "backbone/conv1": a glob, or a compiled
            regular expression that is searched for.
        default: rule of whatever no pair fits, unknown primitives included; None: the gradient for known ones.
        first: which operations are the first. "inputs": all that have none that fits before them, so that every input
            and every branch gets the rule. "execution": the one that is executed first, as in Zennit. Otherwise a
            pattern of the name of the one.
        fold_norm: as for `attribute`, which takes this one where it is given none.
        hold_means: whether a mean that a norm takes off counts as a constant, so that relevance passes the norm as it
            is. False: it is a sum of the values, with relevance of its own.
        join_products: whether products that are summed are one with one bias, as in a cell of an LSTM.

    Raises:
        ValueError: for a kind that does not exist or an entry that is no rule; from `attribute` for a name that no
            operation has.
    """

    layer_map: Pairs = ()
    first_map: Pairs = ()
    name_map: Pairs = ()
    default: object | None = None
    first: str | re.Pattern = "inputs"
    fold_norm: bool | str = True
    hold_means: bool = True
    join_products: bool = False

    def __post_init__(self):
        for field in ("layer_map", "first_map", "name_map"):
            object.__setattr__(self, field, tuple((key, rule) for key, rule in getattr(self, field)))
        for key, rule in (*self.layer_map, *self.first_map):
            for kind in _several(key):
                if kind not in KINDS:
                    raise ValueError(f"no kind of operation {kind!r}; there are {', '.join(KINDS)}.")
            check_rule(rule)
        for _, rule in self.name_map:
            check_rule(rule)

    def assign(self, operations: Sequence[Operation]) -> list[object | None]:
        """Returns a rule for every operation, None where no map has one."""
        self._check_names(operations)
        first = _first(self.first_map, self.first, operations)
        return [self._rule_of(operation, first) for operation in operations]

    def _check_names(self, operations) -> None:
        for patterns, _ in self.name_map if operations else ():
            if not any(named(operation, pattern) for operation in operations for pattern in _several(patterns)):
                names = ", ".join(dict.fromkeys(operation.base for operation in operations if operation.equations))
                raise ValueError(f"name_map has {patterns!r}, which names no operation; there are {names}.")

    def _rule_of(self, operation, first):
        if operation.bodies or not operation.equations:  # what is inside has rules, which only its kind overrules
            return next((rule for kind, rule in self.layer_map if _fits(operation, kind)), None)
        for patterns, rule in self.name_map:
            if any(named(operation, pattern) for pattern in _several(patterns)):
                return rule
        if operation in first:
            return first[operation]
        return next((rule for kind, rule in self.layer_map if _fits(operation, kind)), self.default)


@dataclasses.dataclass(frozen=True)
class Mixed:
    """Several composites: the first that has a rule for an operation decides. Functions are read as for the first."""

    composites: tuple

    def __getattr__(self, name):
        if name in READING and self.composites:
            return getattr(self.composites[0], name)
        raise AttributeError(name)

    def assign(self, operations: Sequence[Operation]) -> list[object | None]:
        """Returns a rule for every operation, None where no composite has one."""
        choices = zip(*(composite.assign(operations) for composite in self.composites), strict=True)
        return [next((rule for rule in rules_of if rule is not None), None) for rules_of in choices]


def mixed(*composites: Any) -> Mixed:
    """Returns the composite that asks each of `composites` in turn."""
    return Mixed(tuple(as_composite(composite) for composite in composites))


def named(operation: Operation, pattern: str | re.Pattern) -> bool:
    """Whether a pattern fits the name of an operation, its layer, or a layer that is folded into it."""
    names = (operation.name, operation.base, *operation.aliases)
    if isinstance(pattern, re.Pattern):
        return any(pattern.search(name) for name in names)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


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
BY_NAME = BUILT_IN | {"attnlrp": attnlrp, "cp_lrp": cp_lrp, "gradient": gradient, "lstm": lstm}


def _first(first_map, first, operations) -> dict[Operation, object]:
    """The operations that count as the first, with their rules."""
    result, behind = {}, set()
    for operation in operations if first_map else ():
        rule = next((rule for kind, rule in first_map if _fits(operation, kind)), None)
        if first not in ("inputs", "execution"):
            rule = rule if named(operation, first) else None
        elif operation.kinds[0] == CARRY:  # after the first step it comes from the operations behind it
            behind.update(operation.outputs)
        elif any(value in behind for value in operation.inputs):
            rule = None if first == "inputs" else rule
            behind.update(operation.outputs)
        if rule is not None:
            result[operation] = rule
            behind.update(operation.outputs)
            if first != "inputs":
                return result
    if first_map and first not in ("inputs", "execution"):
        names = ", ".join(dict.fromkeys(operation.name for operation in operations if operation.affine is not None))
        raise ValueError(f"no operation that the first map fits is named {first!r}; affine ones are {names}.")
    return result


def _fits(operation: Operation, kind: Kind) -> bool:
    return any(name in operation.kinds for name in _several(kind))


def _several(value) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def check_rule(rule: Any, where: str = "") -> None:
    """Raises ValueError for what is no instance of a rule."""
    if not (hasattr(rule, "branches") or hasattr(rule, "backward")) or isinstance(rule, type):
        raise ValueError(
            f"{where or 'this'}: {rule!r} is no rule; expected one of rules.{', rules.'.join(rules.__all__[:3])}, ... "
            "as an instance."
        )
