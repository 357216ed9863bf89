"""Layer-wise relevance propagation for any JAX function, as it is: no model to rewrite, no canonizer, no hook.

y, relevance = attribute(fn, params, x, target="argmax", rules=composites.epsilon_plus_flat())   # fn(params, x)
"""

from . import composites, evaluation, innvestigate, rules
from .analyzers import analyzer
from .attributors import gradient, integrated_gradients, occlusion, smoothgrad
from .concepts import Maximisers, relevance_maximisation
from .contrasts import bilrp, contrastive
from .deeplift import deeplift
from .engine import attribute, describe
from .expectations import gradient_shap
from .heatmaps import colormap, imgify, palette
from .layers import grad_cam, guided_grad_cam, internal_influence, layer_conductance
from .patterns import Patterns, fit_patterns, pattern_attribution, pattern_net
from .shapley import feature_ablation, kernel_shap, shapley_sampling
from .softmax_head import strip_softmax
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
