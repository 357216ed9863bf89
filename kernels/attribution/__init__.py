"""Layer-wise relevance propagation for any JAX function, as it is: no model to rewrite, no canonizer, no hook.

y, relevance = attribute(fn, params, x, target="argmax", rules=composites.epsilon_plus_flat())   # fn(params, x)
"""

from . import composites, rules
from .attributors import gradient, integrated_gradients, occlusion, smoothgrad
from .deeplift import deeplift
from .engine import attribute, describe
from .expectations import gradient_shap
from .heatmaps import colormap, imgify, palette
from .patterns import Patterns, fit_patterns, pattern_attribution, pattern_net
from .shapley import feature_ablation, kernel_shap, shapley_sampling
from .stabilize import Stabilizer, stabilize

__all__ = [
    "Patterns",
    "Stabilizer",
    "attribute",
    "colormap",
    "composites",
    "deeplift",
    "describe",
    "feature_ablation",
    "fit_patterns",
    "gradient",
    "gradient_shap",
    "imgify",
    "integrated_gradients",
    "kernel_shap",
    "occlusion",
    "palette",
    "pattern_attribution",
    "pattern_net",
    "rules",
    "shapley_sampling",
    "smoothgrad",
    "stabilize",
]
