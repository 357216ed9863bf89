"""Layer-wise relevance propagation for any JAX function, as it is: no model to rewrite, no canonizer, no hook.

y, relevance = attribute(fn, params, x, target="argmax", rules=composites.epsilon_plus_flat())   # fn(params, x)
"""

from . import composites, rules
from .engine import attribute, describe
from .registry import register, unregister
from .stabilize import Stabilizer, stabilize

__all__ = ["Stabilizer", "attribute", "composites", "describe", "register", "rules", "stabilize", "unregister"]
