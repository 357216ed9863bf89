"""Layer-wise relevance propagation for any JAX function, as it is: no model to rewrite, no canonizer, no hook.

y, relevance = attribute(fn, params, x, target="argmax", rules=composites.epsilon_plus_flat())   # fn(params, x)
"""

from . import composites, evaluation, rules
from .analyzers import analyzer, innvestigate, strip_softmax
from .attributors import (
    Maximisers,
    Patterns,
    bilrp,
    contrastive,
    deeplift,
    feature_ablation,
    fit_patterns,
    grad_cam,
    gradient,
    gradient_shap,
    guided_grad_cam,
    integrated_gradients,
    internal_influence,
    kernel_shap,
    layer_conductance,
    lime,
    occlusion,
    pattern_attribution,
    pattern_net,
    relevance_maximisation,
    shapley_sampling,
    smoothgrad,
)
from .engine import attribute, describe
from .heatmaps import colormap, imgify, palette
from .stabilize import Stabilizer, stabilize

__all__ = [
    "Maximisers",
    "Patterns",
    "Stabilizer",
    "analyzer",
    "attribute",
    "bilrp",
    "colormap",
    "composites",
    "contrastive",
    "deeplift",
    "describe",
    "evaluation",
    "feature_ablation",
    "fit_patterns",
    "grad_cam",
    "gradient",
    "gradient_shap",
    "guided_grad_cam",
    "imgify",
    "innvestigate",
    "integrated_gradients",
    "internal_influence",
    "kernel_shap",
    "layer_conductance",
    "lime",
    "occlusion",
    "palette",
    "pattern_attribution",
    "pattern_net",
    "relevance_maximisation",
    "rules",
    "shapley_sampling",
    "smoothgrad",
    "stabilize",
    "strip_softmax",
]
