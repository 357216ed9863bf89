"""Networks and analyzers that tests of iNNvestigate's semantics share: oracle and live peer look at the same ones."""

import importlib.util

import numpy as np

from tests.kernels.attribution import layered
from tests.kernels.attribution.layered import activation, conv, dense, norm, pool, residual

# name -> (plan, shape of one input)
NETWORKS = {
    "dense": (
        [dense("fc1", 7, 9, activation="relu"), dense("fc2", 9, 8, activation="relu"), dense("fc3", 8, 4)], (7,),
    ),
    "dense norms": (
        [dense("fc1", 5, 6, bias=False), norm("n1", 6), activation(), dense("fc2", 6, 5, activation="relu"),
         dense("fc3", 5, 3)], (5,),
    ),
    "convolutions": (
        [conv("c1", 2, 4, 3, padding="same", activation="relu"), pool("max_pool"),
         conv("c2", 4, 5, 3, stride=2, padding="same"), activation(), layered.FLATTEN, dense("fc", 20, 3)],
        (8, 8, 2),
    ),
    "norms": (
        [conv("c1", 2, 3, 3, bias=False), norm("n1", 3), activation(), pool("avg_pool"),
         conv("c2", 3, 4, 2), norm("n2", 4), activation(), layered.GLOBAL_AVERAGE, dense("fc", 4, 3)],
        (8, 8, 2),
    ),
    "branches": (
        [conv("c1", 2, 4, 3, padding="same", activation="relu"),
         residual([conv("c2", 4, 4, 3, padding="same", activation="relu"), conv("c3", 4, 4, 1)],
                  [conv("c4", 4, 4, 1, bias=False)]),
         activation(), layered.concat([conv("c5", 4, 2, 3, activation="relu")], [conv("c6", 4, 3, 3, dilation=1)]),
         layered.GLOBAL_AVERAGE, dense("fc1", 5, 6, activation="relu"), dense("fc2", 6, 3)],
        (6, 6, 2),
    ),
    "grouped": (
        [conv("c1", 4, 6, 3, groups=2, padding="same", stride=2), norm("n1", 6), activation(),
         conv("c2", 6, 4, 2, dilation=2, activation="tanh"), layered.FLATTEN, dense("fc", 4, 3)],
        (6, 6, 4),
    ),
    "depthwise": (
        [conv("c1", 3, 3, 3, groups=3, padding="same", activation="relu"), conv("c2", 3, 4, 1, activation="relu"),
         pool("max_pool"), layered.FLATTEN, dense("fc", 36, 3)],
        (6, 6, 3),
    ),
}  # fmt: skip
REFUSED = ("depthwise", "grouped")  # its LRP stops at depthwise convolutions, TensorFlow at grouped ones on a CPU
RECORDED = tuple(name for name in NETWORKS if name not in REFUSED)  # by tests/peers/record_innvestigate.py
SAMPLES = 2  # of each, there
LOW, HIGH = -4.0, 4.5
# label -> (analyzer, options)
ANALYZERS = {
    "gradient": ("gradient", {}),
    "gradient abs": ("gradient", {"postprocess": "abs"}),
    "gradient.baseline": ("gradient.baseline", {"postprocess": "square"}),
    "input_t_gradient": ("input_t_gradient", {}),
    "deconvnet": ("deconvnet", {}),
    "guided_backprop": ("guided_backprop", {}),
    "integrated_gradients": ("integrated_gradients", {"steps": 6}),
    "integrated_gradients square": ("integrated_gradients", {"steps": 5, "postprocess": "square"}),
    "lrp.z": ("lrp.z", {}),
    "lrp.epsilon": ("lrp.epsilon", {}),
    "lrp.epsilon 0.2": ("lrp.epsilon", {"epsilon": 0.2, "bias": False}),
    "lrp.w_square": ("lrp.w_square", {}),
    "lrp.flat": ("lrp.flat", {}),
    "lrp.alpha_beta": ("lrp.alpha_beta", {"alpha": 3}),
    "lrp.alpha_2_beta_1": ("lrp.alpha_2_beta_1", {}),
    "lrp.alpha_2_beta_1_IB": ("lrp.alpha_2_beta_1_IB", {}),
    "lrp.alpha_1_beta_0": ("lrp.alpha_1_beta_0", {}),
    "lrp.alpha_1_beta_0_IB": ("lrp.alpha_1_beta_0_IB", {}),
    "lrp.z_plus": ("lrp.z_plus", {}),
    "lrp.z_plus_fast": ("lrp.z_plus_fast", {}),
    "lrp.sequential_preset_a": ("lrp.sequential_preset_a", {}),
    "lrp.sequential_preset_b": ("lrp.sequential_preset_b", {"epsilon": 0.25}),
    "lrp.sequential_preset_a_flat": ("lrp.sequential_preset_a_flat", {}),
    "lrp.sequential_preset_b_flat": ("lrp.sequential_preset_b_flat", {}),
    "lrp bounded input": ("lrp", {"rule": "Alpha1Beta0", "input_layer_rule": [LOW, HIGH]}),
    "lrp ignoring biases": ("lrp", {"rule": "AlphaBetaX1000"}),
    "deep_taylor": ("deep_taylor", {}),
    "deep_taylor.bounded": ("deep_taylor.bounded", {"low": LOW, "high": HIGH}),
    "input": ("input", {}),
}


def case(name: str, seed: int = 0, samples: int = 3):
    """Returns (plan, function or None without JAX, flat parameters, x) of a network; inputs of both signs."""
    plan, shape = NETWORKS[name]
    values = layered.parameters(plan, seed)
    x = np.random.default_rng([5, seed]).normal(size=(samples, *shape))
    has_jax = importlib.util.find_spec("jax") is not None
    return plan, layered.function(plan) if has_jax else None, values, x
