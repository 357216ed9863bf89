"""How good an explanation is: perturbation analysis, sanity checks, robustness, sparseness, localisation, faithfulness.

curve = pixel_flipping(fn, params, x, relevance, target="argmax"); mean_interval(aopc(curve))
"""

from .faithfulness import faithfulness_correlation, infidelity, monotonicity
from .flipping import Comparison, compare_to_random, pixel_flipping
from .localization import (
    attribution_localization,
    box_mask,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    top_k_intersection,
)
from .randomization import (
    Randomization,
    layers_from_top,
    map_correlation,
    randomization_check,
    randomize_top_layers,
    rank_correlation,
)
from .robustness import avg_sensitivity, local_lipschitz, max_sensitivity
from .sparseness import complexity, effective_complexity, gini
from .statistics import Curve, Estimate, aopc, area_between, mean_interval, paired_interval

__all__ = [
    "Comparison",
    "Curve",
    "Estimate",
    "Randomization",
    "aopc",
    "area_between",
    "attribution_localization",
    "avg_sensitivity",
    "box_mask",
    "compare_to_random",
    "complexity",
    "effective_complexity",
    "faithfulness_correlation",
    "gini",
    "infidelity",
    "layers_from_top",
    "local_lipschitz",
    "map_correlation",
    "max_sensitivity",
    "mean_interval",
    "monotonicity",
    "paired_interval",
    "pixel_flipping",
    "pointing_game",
    "randomization_check",
    "randomize_top_layers",
    "rank_correlation",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "top_k_intersection",
]
