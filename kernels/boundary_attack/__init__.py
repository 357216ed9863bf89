"""A decision-based attack: any classifier that answers with labels only, noise of any alpha-stable law, exact counts.

result = attack(classifier.predict, x, labels, AttackConfig(alpha=1.5, budget=2000), key=0)
print(result.distance, result.queries, result.status)

One step of it by itself: `propose`, then `record` and `adapt` its outcomes.
"""

from .api import Progress, attack, run
from .arguments import Attack, Options, prepare
from .config import AttackConfig
from .noise import NOISES, RADIUS_CAP, draw_noise, image_keys, log_median, step_keys, table_log_median_length
from .result import Result, summarise
from .snapshots import restore, snapshot
from .state import ENDINGS, State, query_grid
from .step import norms, points, propose
from .step_sizes import Pace, adapt, initial_pace, record

__all__ = [
    "ENDINGS",
    "NOISES",
    "RADIUS_CAP",
    "Attack",
    "AttackConfig",
    "Options",
    "Pace",
    "Progress",
    "Result",
    "State",
    "adapt",
    "attack",
    "draw_noise",
    "image_keys",
    "initial_pace",
    "log_median",
    "table_log_median_length",
    "norms",
    "points",
    "prepare",
    "propose",
    "query_grid",
    "record",
    "restore",
    "run",
    "snapshot",
    "step_keys",
    "summarise",
]
