"""Explanations beside relevance by rules: gradients, differences, games between inputs, patterns, concepts."""

from .concepts import Maximisers, relevance_maximisation
from .contrasts import bilrp, contrastive
from .deeplift import deeplift
from .expectations import gradient_shap
from .gradients import gradient, integrated_gradients, occlusion, smoothgrad
from .layers import grad_cam, guided_grad_cam, internal_influence, layer_conductance
from .lime import lime
from .patterns import Patterns, fit_patterns, pattern_attribution, pattern_net
from .shapley import feature_ablation, kernel_shap, shapley_sampling

__all__ = [
    "Maximisers",
    "Patterns",
    "bilrp",
    "contrastive",
    "deeplift",
    "feature_ablation",
    "fit_patterns",
    "grad_cam",
    "gradient",
    "gradient_shap",
    "guided_grad_cam",
    "integrated_gradients",
    "internal_influence",
    "kernel_shap",
    "layer_conductance",
    "lime",
    "occlusion",
    "pattern_attribution",
    "pattern_net",
    "relevance_maximisation",
    "shapley_sampling",
    "smoothgrad",
]
