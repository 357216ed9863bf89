"""Layer-wise relevance propagation for any JAX function, as it is: no model to rewrite, no canonizer, no hook.

y, relevance = attribute(fn, params, x, target="argmax", rules=composites.epsilon_plus_flat())   # fn(params, x)
"""

from . import composites, evaluation, rules
from .attributors import gradient, integrated_gradients, occlusion, smoothgrad
from .engine import attribute, describe
from .heatmaps import colormap, imgify, palette
from .stabilize import Stabilizer, stabilize

__all__ = [
    "Stabilizer",
    "attribute",
    "colormap",
    "composites",
    "describe",
    "evaluation",
    "gradient",
    "imgify",
    "integrated_gradients",
    "occlusion",
    "palette",
    "rules",
    "smoothgrad",
    "stabilize",
]
