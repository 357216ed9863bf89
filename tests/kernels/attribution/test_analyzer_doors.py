"""What analyzers refuse, their names, and what they hand on: patterns, DeepLIFT, layers inside of a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import analyzers, composites, innvestigate
from tests.kernels.attribution import layered
from tests.kernels.attribution.test_analyzers import dense_case, double_precision, ours  # noqa: F401 (a fixture)

ERRORS = {
    "unknown": (("lrp.gamma",), {}, r"no analyzer 'lrp.gamma'; there are zennit: .*; innvestigate: .*deep_taylor"),
    "of the other": (("deep_taylor", "zennit"), {}, r"With semantics='innvestigate' there is one"),
    "semantics": (("gradient", "keras"), {}, r"semantics='keras': expected 'zennit' or 'innvestigate', or None"),
    "selection": (("gradient",), {"neuron_selection": "max"}, r"neuron_selection='max': expected one of max_act"),
    "option": (("lrp.z",), {"epsilon": 1}, r"options of 'lrp.z' in innvestigate: .*there are input_layer_rule"),
    "option of a composite": (("epsilon_plus",), {"alpha": 1}, r"no option 'alpha'; there are epsilon, stabilizer"),
    "epsilon": (("lrp.epsilon",), {"epsilon": 0}, r"epsilon=0: expected a finite number > 0"),
    "alpha": (("lrp.alpha_beta",), {"alpha": 0.5}, r"alpha=0.5: expected a finite number >= 1"),
    "beta": (("lrp.alpha_beta",), {"beta": -1}, r"beta=-1: expected a finite number >= 0"),
    "both": (("lrp.alpha_beta",), {"alpha": 2, "beta": 2}, r"expected alpha - beta = 1"),
    "neither": (("lrp.alpha_beta",), {}, r"alpha and beta are None"),
    "no rule": (("lrp",), {}, r"rule=None: expected a rule"),
    "name of a rule": (("lrp",), {"rule": "Zed"}, r"no rule 'Zed'; there are Z, ZIgnoreBias"),
    "rule by name": (("lrp",), {"rule": "AlphaBeta"}, r"needs alpha or beta"),
    "class": (("lrp",), {"rule": innvestigate.Z}, r"is no rule for layers; expected one of innvestigate.AlphaBeta"),
    "bounds": (("deep_taylor.bounded",), {"low": 2.0, "high": 1.0}, r"expected low <= high"),
    "linear": (("deep_taylor",), {"linear": "z"}, r"linear='z': expected one of alpha_1_beta_0_IB, w_square"),
    "mode": (("lrp",), {"rule": "Z", "bn_layer_fuse_mode": "x"}, r"expected 'one_linear' or 'two_linear'"),
    "relu": (("lrp.z",), {"relu": "x"}, r"relu='x': expected 'pass' or 'gradient'"),
    "until": (("lrp.sequential_preset_b_flat_until_idx",), {}, r"until_layer_idx=None: expected the number"),
    "until number": (("lrp",), {"rule": "Z", "until_layer_idx": -1}, r"until_layer_idx=-1: expected"),
    "steps": (("integrated_gradients",), {"steps": 0}, r"steps=0: expected an integer of at least 1"),
    "draws": (("smoothgrad",), {"augment_by_n": 0}, r"augment_by_n=0: expected"),
    "noise": (("smoothgrad",), {"noise_scale": -1.0}, r"noise_scale=-1.0: expected"),
    "stddev": (("random",), {"stddev": -1.0}, r"stddev=-1.0: expected"),
    "postprocess": (("gradient",), {"postprocess": "log"}, r"postprocess='log': expected None, 'abs' or 'square'"),
    "pair": (("lrp",), {"rule": "Z", "input_layer_rule": (1.0, 0.0)}, r"expected low <= high"),
}  # fmt: skip


@pytest.mark.parametrize("label", ERRORS)
def test_what_is_refused_by_name(label):
    names, options, message = ERRORS[label]
    with pytest.raises(ValueError, match=message):
        attribution.analyzer(*names, **options)


def test_targets_that_do_not_fit():
    _, fn, values, x, _ = dense_case()
    for options, message in (
        ({"neuron_selection": "index"}, "needs the number of an output"),
        ({"neuron_selection": "all", "target": 1}, "selects outputs itself"),
        ({"neuron_selection": "all", "target": "argmax"}, "leave one of them out"),
        ({"target": "last"}, "target='last': expected 'max_activation'"),
        ({"target": 4}, "target is 4; the output has 4 values"),
    ):
        for analyzer in ("lrp.z", "gradient", "deep_taylor"):
            with pytest.raises(ValueError, match=message):
                ours(analyzer, fn, values, x, **options)


def test_patterns_and_deeplift():
    """As the attributors themselves."""
    _, fn, values, x, _ = dense_case()
    nested = layered.nested(values)
    patterns = attribution.fit_patterns(fn, nested, [x, 2 * x + 1, -x])
    for name, compute in (
        ("pattern.net", attribution.pattern_net),
        ("pattern.attribution", attribution.pattern_attribution),
    ):
        for target in (None, 1):
            _, expected = compute(fn, nested, x, patterns, target="argmax" if target is None else target)
            _, explanation = ours(name, fn, values, x, target=target, patterns=patterns)
            np.testing.assert_array_equal(explanation, expected)
    _, expected = attribution.deeplift(fn, nested, x, np.full_like(x, 2), target=1)
    _, explanation = ours("deep_lift.wrapper", fn, values, x, target=1, reference_inputs=2.0)
    np.testing.assert_array_equal(explanation, expected)


def test_the_names():
    own = "input random gradient gradient.baseline input_t_gradient deconvnet guided_backprop integrated_gradients "
    own += "smoothgrad lrp lrp.z lrp.epsilon lrp.w_square lrp.flat lrp.alpha_beta lrp.alpha_2_beta_1 lrp.z_plus_fast "
    own += "lrp.alpha_2_beta_1_IB lrp.alpha_1_beta_0 lrp.alpha_1_beta_0_IB lrp.z_plus lrp.sequential_preset_a "
    own += "lrp.sequential_preset_b lrp.sequential_preset_a_flat lrp.sequential_preset_b_flat deep_taylor "
    own += "lrp.sequential_preset_b_flat_until_idx deep_taylor.bounded"
    assert set(own.split()) <= set(analyzers.SEMANTICS["innvestigate"])
    assert set(composites.NAMES) <= set(analyzers.SEMANTICS["zennit"])
    assert hash(attribution.analyzer("lrp.z")) == hash(attribution.analyzer("lrp.z"))


def test_layers_inside_of_a_loop():
    """The first layer is what the sequence goes into; the others have the rule of all."""
    draw = np.random.default_rng(5)
    params = {"x": draw.normal(size=(3, 4)), "h": draw.normal(size=(4, 4)), "out": draw.normal(size=(4, 2))}
    x = draw.normal(size=(2, 5, 3))

    def looped(p, x):
        def step(h, now):
            return jax.nn.relu(now @ p["x"] + h @ p["h"]), None

        return jax.lax.scan(step, jnp.ones((2, 4)), x.swapaxes(0, 1))[0] @ p["out"]

    def unrolled(p, x):
        h = jax.nn.relu(x[:, 0] @ p["x"] + jnp.ones((2, 4)) @ p["h"])
        for time in range(1, 5):
            h = jax.nn.relu(x[:, time] @ p["x"] + h @ p["h"])
        return h @ p["out"]

    for name, options in (("lrp.epsilon", {}), ("lrp.z_plus", {}), ("lrp.z", {"input_layer_rule": "Flat"})):
        _, expected = attribution.analyzer(name, **options)(unrolled, params, x, target=1)
        _, relevance = attribution.analyzer(name, **options)(looped, params, x, target=1)
        np.testing.assert_allclose(relevance[:, 1:], expected[:, 1:], atol=1e-5 * np.abs(expected).max())
