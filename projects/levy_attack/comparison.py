"""How arms are compared: at each number of queries with alpha = 2, paired over images and by medians, in four norms."""

from collections.abc import Mapping

import numpy as np

from common.study import statistics
from common.study.finished import Finished
from projects.levy_attack.arms import BASELINE, STEPS_CONTROL, Arm

NORMS = ("l2", "l1", "linf", "squared_l2_per_pixel")
Traces = dict[int, dict]  # seed -> name -> float64 [images, T]


def compare(attacks: Mapping[tuple[Arm, int], Finished]) -> dict | None:
    """Returns the grid of queries and a row for each arm; None without an attack of the baseline.

    Seeds in which an arm or the baseline is missing are left out of that arm's ratios.

    Raises:
      ValueError: the attacks are of different images.
    """
    arrays = {key: attack.arrays("attack.npz") for key, attack in attacks.items()}
    images = [content["images"] for content in arrays.values()]
    if any(not np.array_equal(images[0], other) for other in images):
        raise ValueError("the attacks in runs/ are of different images; remove those of an older victim")
    traces: dict[Arm, Traces] = {}
    for (arm, seed), content in arrays.items():
        traces.setdefault(arm, {})[seed] = content["traces"]
    if BASELINE not in traces:
        return None
    rows = [_row(arm, traces[arm], traces) for arm in sorted(traces, key=lambda arm: arm != BASELINE)]  # that first
    tests = [row["comparison"] for row in rows if row["noise"] == BASELINE.noise and "comparison" in row]
    for test, p_value in zip(tests, statistics.holm([test["p_value"] for test in tests]), strict=True):
        test["p_holm"] = p_value
    return {"grid": next(iter(arrays.values()))["grid"], "arms": rows}


def _row(arm: Arm, by_seed: Traces, traces: dict[Arm, Traces]) -> dict:
    """Medians of an arm over queries, and its ratios to the baseline in the seeds that both have."""
    values = {name: _stack(by_seed, sorted(by_seed), name) for name in (*NORMS, "realised")}
    lengths = values["realised"][..., -1]
    row = {
        **arm._asdict(),
        "title": arm.title,
        "seeds": sorted(by_seed),
        "failures": int(np.sum(~np.isfinite(values["l2"][..., -1]))),
        "median": {name: np.median(values[name], axis=(0, 1)) for name in NORMS},
        "realised": float(np.median(lengths[np.isfinite(lengths)])) if np.isfinite(lengths).any() else np.nan,
    }
    pairs = _pairs(by_seed, traces[BASELINE])
    if arm != BASELINE and pairs:
        l2 = pairs["l2"]
        row |= {
            "compared_seeds": sorted(set(by_seed) & set(traces[BASELINE])),
            "paired": {name: _paired(*pair) for name, pair in pairs.items()},
            "of_medians": {name: _named(statistics.ratio_of_medians(*pair)) for name, pair in pairs.items()},
            "comparison": statistics.compare(l2[0][..., -1], l2[1][..., -1])._asdict(),
        }
    pairs = _pairs(by_seed, traces.get(STEPS_CONTROL, {}))
    if arm.has_short_steps and arm != STEPS_CONTROL and pairs:
        row["same_steps"] = {name: _paired(*pair) for name, pair in pairs.items()}
    return row


def _pairs(ours: Traces, theirs: Traces) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Distances [seeds, images, T] of both by norm, in the seeds that both have; {} where there is none."""
    seeds = sorted(set(ours) & set(theirs))
    return {name: (_stack(ours, seeds, name), _stack(theirs, seeds, name)) for name in NORMS if seeds}


def _stack(by_seed: Traces, seeds: list[int], name: str) -> np.ndarray:
    """[seeds, images, T]."""
    return np.stack([by_seed[seed][name] for seed in seeds])


def _paired(ours: np.ndarray, theirs: np.ndarray) -> dict[str, np.ndarray]:
    """Ratios [T] of distances [seeds, images, T]: median over images of the means over seeds, with its interval."""
    values = statistics.log_ratios(ours, theirs)
    return _named(np.exp([np.median(values, axis=0), *statistics.bootstrap_median(values)]))


def _named(entries) -> dict[str, np.ndarray]:
    return dict(zip(("ratio", "low", "high"), entries, strict=True))
