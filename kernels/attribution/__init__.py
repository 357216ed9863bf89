"""Layer-wise relevance propagation for any JAX function, as it is: no model to rewrite, no canonizer, no hook.

y, relevance = attribute(fn, params, x, target="argmax", rules=composites.epsilon_plus_flat())   # fn(params, x)
"""

from . import composites, innvestigate, rules
from .analyzers import analyzer
from .attributors import gradient, integrated_gradients, occlusion, smoothgrad
from .engine import attribute, describe
from .heatmaps import colormap, imgify, palette
from .softmax_head import strip_softmax
from .stabilize import Stabilizer, stabilize

__all__ = [
    "Stabilizer",
    "analyzer",
    "attribute",
    "colormap",
    "composites",
    "describe",
    "gradient",
    "imgify",
    "innvestigate",
    "integrated_gradients",
    "occlusion",
    "palette",
    "rules",
    "smoothgrad",
    "stabilize",
    "strip_softmax",
]
