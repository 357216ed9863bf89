"""The old name of a step of `boundary_attack`, whose room it has moved to; the names and numbers are the same."""

from .boundary_attack import (
    NOISES,
    RADIUS_CAP,
    Pace,
    adapt,
    draw_noise,
    image_keys,
    initial_pace,
    log_median,
    propose,
    record,
    step_keys,
    table_log_median_length,
)

__all__ = [
    "NOISES",
    "RADIUS_CAP",
    "Pace",
    "adapt",
    "draw_noise",
    "image_keys",
    "initial_pace",
    "log_median",
    "table_log_median_length",
    "propose",
    "record",
    "step_keys",
]
