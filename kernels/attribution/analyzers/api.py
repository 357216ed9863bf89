"""One switch for all ways of explaining: by the names of iNNvestigate and of Zennit, in the numerics of either.

`analyzer(name)` gives a function that explains any function of JAX; `SEMANTICS` says which names there are. What each
of them does to which operation stands in `layered` and `composites`, which output it explains in `neurons`.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...array_types import Array, Key, RandomKey
from ...scalars import not_negative, real, whole
from .. import composites, rules
from ..arguments import PyTree, check_examples, plain
from ..attributors import deeplift, pattern_attribution, pattern_net
from ..attributors import gradients as attributors
from ..engine import attribute
from ..target import Target
from . import innvestigate, norm_rules
from .calls import Call
from .layered import LINEAR_RULES, DeepTaylor, Layered, OnlyReLUs
from .neurons import MODES
from .softmax_head import refuse_softmax

Analysis = tuple[PyTree, PyTree]  # the outputs, and the explanation, like x


@dataclasses.dataclass(frozen=True)
class Analyzer:
    """`analyzer(fn, params, x, *, target=None, key=None) -> (y, explanation)`.

    Attributes:
        name, semantics, neuron_selection: as given to `analyzer`.
        options: pairs, sorted.
    """

    name: str
    semantics: str
    neuron_selection: str | None
    options: tuple[tuple[str, Any], ...]
    run: Callable[[Call], Analysis] = dataclasses.field(repr=False, compare=False)

    def __call__(
        self,
        fn: Callable,
        params: PyTree,
        x: PyTree,
        *,
        target: Target = None,
        key: RandomKey | Key[Array, " batch"] | None = None,
    ) -> Analysis:
        """Returns the outputs of `fn(params, x)` and the explanation, like x.

        Args:
            target: number of the output that is explained, or one a sample; None: by `neuron_selection`, the largest
                one unless it says something else. Anything that `attribute` takes as a target, too.
            key: from `jax.random.key`, for those that draw numbers.
        """
        return self.run(Call(fn, params, x, target, self.neuron_selection, key))


def analyzer(
    name: str, semantics: str | None = None, *, neuron_selection: str | None = None, **options: Any
) -> Analyzer:
    """Returns an analyzer by its name.

    Args:
        name: one of iNNvestigate ("lrp.epsilon", "deep_taylor", "smoothgrad", ...) or of Zennit ("epsilon_plus_flat",
            "occlusion", ...); an unknown one is an error that lists all.
        semantics: "zennit" or "innvestigate": whose numerics. None: iNNvestigate's for the names that it has, Zennit's
            for the others.
        neuron_selection: "max_activation": the largest output, what several share split evenly; "all" of them;
            "index": the `target` of each call. None: the call's target, or else the largest.
        **options: of the analyzer: epsilon, bias, alpha, beta, rule, input_layer_rule, until_layer_idx, bn_layer_rule,
            bn_layer_fuse_mode, relu, low, high, steps, reference_inputs, augment_by_n, noise_scale, postprocess,
            stddev, `as_coded` for iNNvestigate's; those of the composite or the attributor for Zennit's.

    Raises:
        ValueError: an unknown name, semantics or option; from the analyzer, as `attribute`, and for a softmax at the
            end of the function.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from havel.kernels import attribution
        >>> fn = lambda params, x: jax.nn.relu(x @ params[0]) @ params[1]
        >>> params, x = [jnp.eye(3), jnp.ones((3, 2))], jnp.array([[1.0, 2.0, 3.0]])
        >>> y, relevance = attribution.analyzer("lrp.z")(fn, params, x, target=0)
        >>> [round(float(part), 3) for part in relevance[0]]  # their sum is y[0, 0]
        [1.0, 2.0, 3.0]
    """
    if semantics is None:
        semantics = "innvestigate" if name in SEMANTICS["innvestigate"] else "zennit"
    if semantics not in SEMANTICS:
        raise ValueError(f"semantics={semantics!r}: expected {' or '.join(map(repr, SEMANTICS))}, or None.")
    if name not in SEMANTICS[semantics]:
        others = [other for other, makers in SEMANTICS.items() if name in makers]
        if not others:
            listed = "; ".join(f"{other}: {', '.join(makers)}" for other, makers in SEMANTICS.items())
            raise ValueError(f"no analyzer {name!r}; there are {listed}.")
        also = f" With semantics={others[0]!r} there is one." if others else ""
        raise ValueError(f"no analyzer {name!r} in {semantics}; there are {', '.join(SEMANTICS[semantics])}.{also}")
    if neuron_selection not in (None, *MODES):
        raise ValueError(f"neuron_selection={neuron_selection!r}: expected one of {', '.join(MODES)}, or None.")
    make = SEMANTICS[semantics][name]
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        known = [parameter for parameter in inspect.signature(make).parameters if parameter != "options"]
        raise ValueError(
            f"options of {name!r} in {semantics}: {error}; there are {', '.join(known) or 'none'}."
        ) from None
    return Analyzer(name, semantics, neuron_selection, tuple(sorted(options.items())), make(**options))


def _input() -> Callable:
    """The input itself."""
    return lambda call: (plain(call.fn)(call.params, call.x), call.x)


def _random(stddev: float = 1.0) -> Callable:
    """The input with normal noise."""
    real("stddev", stddev, "a finite standard deviation of 0 or more", not_negative)

    def run(call):
        check_examples(call.x)
        attributors._check_key(call.key, jnp.shape(jax.tree.leaves(call.x)[0])[0])
        if call.key is None:
            raise ValueError("random draws noise: give the call a key, jax.random.key(seed).")
        keys = attributors._keys(call.key, call.x)
        leaves, tree = jax.tree.flatten(call.x)
        noise = [stddev * attributors._drawn(keys, 0, number, leaf) for number, leaf in enumerate(leaves)]
        return _input()(call)[0], jax.tree.unflatten(tree, [x + n for x, n in zip(leaves, noise, strict=True)])

    return run


def _by_rules(composite: Any, head: str = "value", fold_norm: bool | str | None = None) -> Callable:
    """Relevance by a composite."""

    def run(call):
        refuse_softmax(call.fn, call.params, call.x)
        target = call.target_from(head)
        return attribute(call.fn, call.params, call.x, target=target, rules=composite, fold_norm=fold_norm)

    return run


def _gradient(postprocess: str | None = None, times_input: bool = False) -> Callable:
    attributors._check_postprocess(postprocess)

    def run(call):
        refuse_softmax(call.fn, call.params, call.x)
        y, slope = attributors.gradient(
            call.fn, call.params, call.x, target=call.target_from("one"), postprocess=postprocess
        )
        return y, jax.tree.map(jnp.multiply, slope, call.x) if times_input else slope

    return run


def _input_t_gradient(postprocess: str | None = None) -> Callable:
    return _gradient(postprocess, times_input=True)


def _smoothgrad(
    augment_by_n: int = 64,
    noise_scale: float = 1.0,
    postprocess: str | None = None,
    at_once: int = 1,
    as_coded: bool = False,
) -> Callable:
    sigma = _legacy().SIGMA if as_coded else noise_scale
    whole("augment_by_n", augment_by_n, 1)
    real("noise_scale", noise_scale, "a finite standard deviation of 0 or more", not_negative)

    def run(call):
        refuse_softmax(call.fn, call.params, call.x)
        return attributors.smoothgrad(
            call.fn, call.params, call.x, call.key, target=call.target_from("one", clean=True), n=augment_by_n,
            sigma=sigma, relative=False, clean_last=False, postprocess=postprocess, at_once=at_once,
        )  # fmt: skip

    return run


def _integrated_gradients(
    steps: int = 64, reference_inputs: Any = 0.0, postprocess: str | None = None, at_once: int = 1
) -> Callable:
    whole("steps", steps, 1)

    def run(call):
        refuse_softmax(call.fn, call.params, call.x)
        return attributors.integrated_gradients(
            call.fn, call.params, call.x, target=call.target_from("one", clean=True), n=steps, points="left",
            baseline=reference_inputs, postprocess=postprocess, at_once=at_once,
        )  # fmt: skip

    return run


def _relus(composite: Callable, name: str) -> Callable:
    return lambda: _by_rules(OnlyReLUs(composite(), name))


def _lrp(
    rule: Any = None,
    input_layer_rule: Any = None,
    until_layer_idx: int | str | None = None,
    until_layer_rule: Any = None,
    bn_layer_rule: Any = None,
    bn_layer_fuse_mode: str = "one_linear",
    relu: str = "pass",
    as_coded: bool = False,
) -> Callable:
    """Relevance propagation with the rules that are given.

    Args:
        rule: of all layers with weights; a list of them, taken from its end, one for each such layer in execution
            order; or pairs (condition, rule), of which the first that fits counts: a kind such as "dense" or "conv",
            several, or a test of an operation. Names of `innvestigate.NAMES` or rules.
        input_layer_rule: of the layers whose inputs are the model's: a rule, or (low, high).
        until_layer_idx: number, from 0, of the last layer with weights that has `until_layer_rule`, Flat if None; or
            its name.
        bn_layer_rule: of norms; None: their own, `norm_rules.BatchNorm`.
        bn_layer_fuse_mode: "one_linear" or "two_linear", as which layers a norm has this rule.
        relu: "pass", or "gradient" at ReLUs that are layers of their own.
        as_coded: with the defects of iNNvestigate 2.1.2, see `legacy`.
    """
    if rule is None:
        raise ValueError("rule=None: expected a rule, a list of rules, or pairs (condition, rule).")
    _check_relu(relu)
    if bn_layer_fuse_mode not in ("one_linear", "two_linear"):
        raise ValueError(f"bn_layer_fuse_mode={bn_layer_fuse_mode!r}: expected 'one_linear' or 'two_linear'.")
    if until_layer_idx is not None and not isinstance(until_layer_idx, str):
        until_layer_idx = whole("until_layer_idx", until_layer_idx, 0, why=", or the name of a layer, or None")
    if until_layer_idx is None and until_layer_rule is not None:
        raise ValueError("until_layer_rule is of the layers up to until_layer_idx: give that too.")

    def one(value):
        value = innvestigate.by_name(value)
        return _legacy().rule(value) if as_coded else value

    pairs: tuple = ()
    sequence = None
    if not isinstance(rule, (list, tuple)):
        pairs = ((None, one(rule)),)
    elif rule and all(isinstance(entry, (tuple, list)) for entry in rule):
        pairs = tuple((condition, one(value)) for condition, value in rule)
    else:
        sequence = tuple(one(value) for value in rule)
    first = input_layer_rule
    if isinstance(first, (tuple, list)):
        first = innvestigate.Bounded(*first)
    norm: Any = norm_rules.BatchNorm()
    if bn_layer_rule is not None:
        layer = _legacy().ScaleLayer if as_coded else norm_rules.ScaleLayer
        norm = layer(one(bn_layer_rule), bn_layer_fuse_mode == "two_linear")
    until_rule = None if until_layer_idx is None else one(until_layer_rule or "Flat")
    composite = Layered(
        pairs, sequence, norm, None if first is None else one(first), until_layer_idx, until_rule, relu
    )  # fmt: skip
    return _by_rules(composite)


def _lrp_of(rule: Any) -> Callable:
    """Of a rule for layers and norms alike; options as of "lrp"."""

    def make(
        input_layer_rule=None, until_layer_idx=None, until_layer_rule=None, bn_layer_fuse_mode="one_linear",
        relu="pass", as_coded=False,
    ):  # fmt: skip
        return _lrp(rule, input_layer_rule, until_layer_idx, until_layer_rule, rule, bn_layer_fuse_mode, relu, as_coded)

    return make


def _lrp_epsilon(epsilon: float = 1e-7, bias: bool = True, **options) -> Callable:
    return _lrp_of(innvestigate.Epsilon(epsilon, bias))(**options)


def _lrp_epsilon_without_bias(epsilon: float = 1e-7, **options) -> Callable:
    return _lrp_epsilon(epsilon, bias=False, **options)


def _lrp_alpha_beta(alpha: float | None = None, beta: float | None = None, bias: bool = True, **options) -> Callable:
    return _lrp_of(innvestigate.AlphaBeta(alpha, beta, bias))(**options)


def _preset(convolution: Any, flat: bool = False, until: bool = False) -> Callable:
    """Dense layers Epsilon, convolutions by a rule, norms AlphaBetaX2m100; options as of "lrp"."""

    def make(
        epsilon=0.1, bn_layer_rule="AlphaBetaX2m100", input_layer_rule=None, until_layer_idx=None,
        bn_layer_fuse_mode="one_linear", relu="pass", as_coded=False,
    ):  # fmt: skip
        if flat and input_layer_rule not in (None, "Flat"):
            raise ValueError(f"input_layer_rule={input_layer_rule!r}: it is 'Flat' in the presets of that name.")
        if until and until_layer_idx is None:
            raise ValueError("until_layer_idx=None: expected the number or the name of the last layer with Flat.")
        pairs = (("dense", innvestigate.Epsilon(epsilon)), ("conv", innvestigate.by_name(convolution)))
        first = "Flat" if flat else input_layer_rule
        return _lrp(pairs, first, until_layer_idx, None, bn_layer_rule, bn_layer_fuse_mode, relu, as_coded)

    return make


def _deep_taylor(linear: str = "alpha_1_beta_0_IB", relu: str = "pass") -> Callable:
    """Deep Taylor decomposition; `linear`: the rule of layers without a ReLU, or "w_square"; see `DeepTaylor`."""
    return _deep_taylor_with(None, linear, relu)


def _deep_taylor_bounded(low: Any, high: Any, linear: str = "alpha_1_beta_0_IB", relu: str = "pass") -> Callable:
    return _deep_taylor_with(innvestigate.Bounded(low, high), linear, relu)


def _deep_taylor_with(first, linear, relu):
    if linear not in LINEAR_RULES:
        raise ValueError(f"linear={linear!r}: expected one of {', '.join(LINEAR_RULES)}.")
    _check_relu(relu)
    return _by_rules(DeepTaylor(first, LINEAR_RULES[linear], relu), "positive")


def _check_relu(relu: str) -> None:
    if relu not in ("pass", "gradient"):
        raise ValueError(f"relu={relu!r}: expected 'pass' or 'gradient'.")


def _elsewhere(compute: Callable, own: Callable) -> Callable:
    """What an attributor computes: `compute(fn, params, x, ..., target=...)`."""

    def run(call):
        refuse_softmax(call.fn, call.params, call.x)
        target = "argmax" if call.target is None and call.mode != "all" else call.target
        return own(compute, call, target)

    return run


def _pattern(compute: Callable) -> Callable:
    def make(patterns, **options):
        def own(compute, call, target):
            return compute(call.fn, call.params, call.x, patterns, target=target, **options)

        return _elsewhere(compute, own)

    return make


def _deep_lift(reference_inputs: Any = 0.0, **options) -> Callable:
    def own(compute, call, target):
        baseline = attributors._baseline(reference_inputs, call.x)
        return compute(call.fn, call.params, call.x, baseline, target=target, **options)

    return _elsewhere(deeplift, own)


INNVESTIGATE: dict[str, Callable] = {
    "input": _input,
    "random": _random,
    "gradient": _gradient,
    "gradient.baseline": _gradient,
    "input_t_gradient": _input_t_gradient,
    "deconvnet": _relus(composites.deconvnet, "deconvnet"),
    "guided_backprop": _relus(composites.guided_backprop, "guided_backprop"),
    "integrated_gradients": _integrated_gradients,
    "smoothgrad": _smoothgrad,
    "lrp": _lrp,
    "lrp.z": _lrp_of(innvestigate.Z()),
    "lrp.z_IB": _lrp_of(innvestigate.Z(bias=False)),
    "lrp.epsilon": _lrp_epsilon,
    "lrp.epsilon_IB": _lrp_epsilon_without_bias,
    "lrp.w_square": _lrp_of(innvestigate.WSquare()),
    "lrp.flat": _lrp_of(innvestigate.Flat()),
    "lrp.alpha_beta": _lrp_alpha_beta,
    "lrp.alpha_2_beta_1": _lrp_of(innvestigate.AlphaBeta(2, 1)),
    "lrp.alpha_2_beta_1_IB": _lrp_of(innvestigate.AlphaBeta(2, 1, bias=False)),
    "lrp.alpha_1_beta_0": _lrp_of(innvestigate.AlphaBeta(1, 0)),
    "lrp.alpha_1_beta_0_IB": _lrp_of(innvestigate.AlphaBeta(1, 0, bias=False)),
    "lrp.z_plus": _lrp_of(innvestigate.ZPlus()),
    "lrp.z_plus_fast": _lrp_of(innvestigate.ZPlusFast()),
    "lrp.sequential_preset_a": _preset("Alpha1Beta0"),
    "lrp.sequential_preset_b": _preset("Alpha2Beta1"),
    "lrp.sequential_preset_a_flat": _preset("Alpha1Beta0", flat=True),
    "lrp.sequential_preset_b_flat": _preset("Alpha2Beta1", flat=True),
    "lrp.sequential_preset_b_flat_until_idx": _preset("Alpha2Beta1", flat=True, until=True),
    "deep_taylor": _deep_taylor,
    "deep_taylor.bounded": _deep_taylor_bounded,
    "pattern.net": _pattern(pattern_net),
    "pattern.attribution": _pattern(pattern_attribution),
    "deep_lift.wrapper": _deep_lift,
}


def _composite(make: Callable, head: str = "value", **fixed) -> Callable:
    """One of Zennit's composites; options as of the composite, and `fold_norm`."""

    def maker(fold_norm=None, **options):
        _check_options(make, options)
        return _by_rules(make(**{**fixed, **options}), head, fold_norm)

    return maker


def _rule(make: Callable, **fixed) -> Callable:
    """One of Zennit's rules for all affine operations; options as of the rule, and `fold_norm`."""

    def maker(fold_norm=None, **options):
        _check_options(make, options)
        return _by_rules(make(**{**fixed, **options}), "value", fold_norm)

    return maker


def _attributor(function: Callable, head: str = "one", clean: bool = False) -> Callable:
    """One of the attributors with Zennit's defaults; options as of the attributor."""

    def maker(**options):
        _check_options(function, options, ("fn", "params", "x", "target", "key"))

        def run(call):
            random = {"key": call.key} if "key" in inspect.signature(function).parameters else {}
            target = call.target_from(head, clean)
            return function(call.fn, call.params, call.x, target=target, **random, **options)

        return run

    return maker


def _occlusion(**options) -> Callable:
    _check_options(attributors.occlusion, options, ("fn", "params", "x", "target"))

    def run(call):
        target = call.target_from("value", clean=True)
        return attributors.occlusion(call.fn, call.params, call.x, target=target, **options)

    return run


def _check_options(function: Callable, options: dict, taken: tuple[str, ...] = ()) -> None:
    known = [name for name in inspect.signature(function).parameters if name not in taken]
    if wrong := [name for name in options if name not in known]:
        raise ValueError(f"no option {wrong[0]!r}; there are {', '.join(known) or 'none'}.")


ZENNIT: dict[str, Callable] = {
    "input": _input,
    "random": _random,
    "gradient": _attributor(attributors.gradient),
    "input_t_gradient": _attributor(lambda fn, params, x, *, target: attributors.gradient(
        fn, params, x, target=target, times_input=True)),
    "integrated_gradients": _attributor(attributors.integrated_gradients, clean=True),
    "smoothgrad": _attributor(attributors.smoothgrad, clean=True),
    "occlusion": _occlusion,
    "lrp.z": _rule(rules.Epsilon, epsilon=0.0),
    "lrp.epsilon": _rule(rules.Epsilon),
    "lrp.w_square": _rule(rules.WSquare),
    "lrp.flat": _rule(rules.Flat),
    "lrp.alpha_beta": _rule(rules.AlphaBeta),
    "lrp.alpha_2_beta_1": _rule(rules.AlphaBeta, alpha=2.0, beta=1.0),
    "lrp.alpha_1_beta_0": _rule(rules.AlphaBeta, alpha=1.0, beta=0.0),
    "lrp.z_plus": _rule(rules.ZPlus),
    "lrp.sequential_preset_a": _composite(composites.epsilon_plus, epsilon=0.1),
    "lrp.sequential_preset_b": _composite(composites.epsilon_alpha2_beta1, epsilon=0.1),
    "lrp.sequential_preset_a_flat": _composite(composites.epsilon_plus_flat, epsilon=0.1),
    "lrp.sequential_preset_b_flat": _composite(composites.epsilon_alpha2_beta1_flat, epsilon=0.1),
    **{name: _composite(make, "one" if name in ("deconvnet", "guided_backprop", "beta_smooth") else "value")
       for name, make in composites.BY_NAME.items()
        if name != "gradient"},
}  # fmt: skip
SEMANTICS = {"zennit": ZENNIT, "innvestigate": INNVESTIGATE}


def _legacy():
    """The module of defects, which nothing else needs."""
    return importlib.import_module(".legacy", __package__)
