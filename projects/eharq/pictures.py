"""Pictures: error rates against each other, P_eff against transmissions, trajectories of reliability, latency."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common import app
from common.publishing import curves
from common.publishing.curves import BLUE, GREEN, GREY, PURPLE, RED, plt
from projects.eharq.blocks import FEATURES, Blocks
from projects.eharq.comparison import LEAST
from projects.eharq.predict_config import KINDS
from projects.eharq.rates import Roc

OCHRE, DARK = "#b8860b", "#33393f"
COLOURS = dict(zip(KINDS, (DARK, BLUE, GREEN, OCHRE, RED), strict=True))
STYLES = dict(zip(KINDS, ("--", "-", "-", "-", "-"), strict=True))
BANDS = ((0.01, 0.99), (0.1, 0.9))  # quantiles of a trajectory
POINTS = 400  # of a curve, more cannot be seen
LEAST_FPR, LEAST_SHARE = 1e-4, 1e-8  # what is below is not shown
VNR = [name for name in FEATURES if name.startswith("vnr")]


def draw_roc(run: app.Run, name: str, curves_of: Mapping[str, Roc], titles: Mapping[str, str], caption: str) -> None:
    """FNR against FPR on logarithmic axes, a line a predictor; below 10 missed blocks it is dotted.

    Args:
      run: whose report shows it.
      name: of the picture.
      curves_of: by kind, of the test blocks.
      titles: by kind.
      caption: below.
    """
    smallest = 1.0
    with curves.picture(run, name, caption, figsize=(6.4, 4.4)) as axis:
        for kind, roc in curves_of.items():
            places = _places(roc.fnr, roc.fpr)
            fnr, fpr, missed = roc.fnr[places], roc.fpr[places], roc.missed[places]
            smallest = min(smallest, fnr.min(where=missed > 0, initial=1.0))
            for some, style in (((missed < LEAST) & (missed > 0), ":"), (missed >= LEAST, STYLES[kind])):
                label = None if style == ":" else titles[kind]
                axis.plot(fpr[some], fnr[some], style, color=COLOURS[kind], linewidth=1.5, label=label)
        axis.set(
            xscale="log", yscale="log", xlim=(LEAST_FPR, 1.0), ylim=(0.7 * smallest, 1.0),
            xlabel="FPR: delivered blocks that are sent again", ylabel="FNR: lost blocks that are missed",
        )  # fmt: skip
        axis.grid(which="major", color="#000000", alpha=0.1, linewidth=0.6)
        axis.grid(which="minor", color="#000000", alpha=0.04, linewidth=0.5)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False, loc="lower left")


def _places(fnr: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """Returns places of points that are evenly far apart on logarithmic axes."""
    steps = (np.abs(np.diff(np.log(np.maximum(each, LEAST_SHARE)), prepend=0.0)) for each in (fnr, fpr))
    way = np.cumsum(sum(steps))
    return np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], 4 * POINTS)).clip(0, len(fnr) - 1))


def draw_effective(run: app.Run, name: str, result: Mapping[str, Any], target: float, caption: str) -> None:
    """P_eff against mean transmissions with intervals, a line a predictor, the operating points, and feedback without
    prediction.

    Args:
      run: whose report shows it.
      name: of the picture.
      result: of one subcode, from `findings.measure`.
      target: of P_eff.
      caption: below.
    """
    with curves.picture(run, name, caption, figsize=(6.8, 4.4)) as axis:
        lowest = [target / 5]
        for kind, row in result["predictors"].items():
            across = np.array([point["repeated"]["value"] for point in row["curve"]])
            value, low, high = (
                np.array([point["effective"][end] for point in row["curve"]]) for end in ("value", "low", "high")
            )
            order = np.argsort(across)
            shown = order[across[order] > 0]
            axis.plot(across[shown], np.maximum(value[shown], LEAST_SHARE), STYLES[kind], color=COLOURS[kind],
                      linewidth=1.6, label=row["title"])  # fmt: skip
            axis.fill_between(across[shown], np.maximum(low[shown], LEAST_SHARE), high[shown],
                              color=COLOURS[kind], alpha=0.13, linewidth=0)  # fmt: skip
            _mark(axis, row["operating_point"], "o", COLOURS[kind])
            lowest += [end for end in value if end > 0]
        for place, mark, words in (("regular", "s", "regular feedback"), ("always", "^", "always sent again")):
            _mark(axis, result["without_prediction"][place], mark, PURPLE, words)
        axis.axhline(target, color=GREY, linewidth=0.9)
        axis.annotate(f"target {target:.0e}".replace("e-0", "e-"), (1, target), xycoords=("axes fraction", "data"),
                      xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=7, color="#6b757c")  # fmt: skip
        axis.set(
            xscale="log", yscale="log", ylim=(min(lowest) / 2, None),
            xlabel="mean transmissions \u2212 1: blocks that are sent again", ylabel="effective block error rate",
        )  # fmt: skip
        axis.grid(which="major", color="#000000", alpha=0.1, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False)


def _mark(axis: plt.Axes, point: Mapping[str, Any], mark: str, colour: str, label: str | None = None) -> None:
    """Draws a point with its interval; one of which no error was seen is an arrow from its upper end."""
    across, effective = point["repeated"]["value"], point["effective"]
    value = effective["value"]
    if value > 0:
        ends = [[max(value - effective["low"], 0)], [max(effective["high"] - value, 0)]]
        axis.errorbar(across, value, ends, fmt=mark, color=colour, markersize=5.5, linewidth=1.1, capsize=2.5,
                      markeredgecolor="white", markeredgewidth=0.6, label=label, zorder=5)  # fmt: skip
    else:
        axis.plot(across, effective["high"], "v", color=colour, markersize=6, label=label, zorder=5)


def draw_trajectories(run: app.Run, name: str, blocks: Blocks, subcode: int, caption: str) -> None:
    """Reliability over iterations of lost and of delivered blocks: median and bands of 80 and of 98 % of them.

    Args:
      run: whose report shows it.
      name: of the picture.
      blocks: weighted as they are probable.
      subcode: which.
      caption: below.
    """
    with curves.picture(run, name, caption, figsize=(5.6, 3.8)) as axis:
        steps = np.arange(len(VNR))
        values = blocks.features[:, subcode, [FEATURES.index(each) for each in VNR]].astype(np.float64)
        for is_lost, colour, words in ((False, BLUE, "delivered (ACK)"), (True, RED, "lost (NACK)")):
            members = blocks.failed == is_lost
            if not members.any():
                continue
            some, weight = values[members], blocks.weight[members]
            levels = (0.5, *(level for band in BANDS for level in band))
            rows = np.array([weighted_quantiles(column, weight, levels) for column in some.T])
            for start in range(len(BANDS)):
                low, high = rows[:, 1 + 2 * start], rows[:, 2 + 2 * start]
                axis.fill_between(steps, low, high, color=colour, alpha=0.14, linewidth=0)
            axis.plot(steps, rows[:, 0], color=colour, linewidth=1.8, marker=".", label=f"{words}, {len(some):,}")
        axis.set(yscale="log", xticks=steps, xlabel="iterations on the subcode", ylabel="mean |LLR| of its bits")
        curves.set_log(axis, "y")
        axis.grid(color="#000000", alpha=0.08, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False, loc="upper left")


def weighted_quantiles(values: np.ndarray, weight: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Returns for each level the smallest value at or below which that share of the weight lies."""
    order = np.argsort(values)
    sums = np.cumsum(weight[order])
    places = np.searchsorted(sums, np.asarray(levels) * sums[-1] * (1 - 1e-12))
    return values[order][places.clip(0, len(values) - 1)]


def draw_latency(
    run: app.Run, name: str, latencies: Mapping[str, Mapping[float, np.ndarray]], deadline_ms: float, caption: str
) -> None:
    """The share of blocks that have not arrived after a time, a panel a load, a line a feedback.

    Args:
      run: whose report shows it.
      name: of the picture.
      latencies: title of a feedback -> load -> float [blocks] in milliseconds, infinite where never.
      deadline_ms: a line.
      caption: below.
    """
    loads = list(next(iter(latencies.values())))
    colours = dict(zip(latencies, (PURPLE, RED, BLUE, GREEN, OCHRE), strict=False))
    columns = min(3, len(loads))
    rows = -(-len(loads) // columns)
    with curves.picture(
        run, name, caption, rows, columns, figsize=(3.1 * columns, 2.5 * rows), squeeze=False, sharey=True
    ) as axes:
        for axis, load in zip(axes.flat, loads, strict=False):
            longest = 2 * deadline_ms
            for title, by_load in latencies.items():
                times, above = survival(by_load[load])
                axis.step(times, above, where="post", color=colours[title], linewidth=1.5, label=title)
                longest = max(longest, 1.1 * times[:-1][above[:-1] > 1e-3].max(initial=0.0))
            axis.axvline(deadline_ms, color=GREY, linewidth=1.0, linestyle="--")
            axis.set(yscale="log", xlim=(0, min(longest, 8 * deadline_ms)), title=f"load {load:g}")
            axis.title.set_fontsize(9)
            axis.tick_params(labelsize=8)
            axis.grid(color="#000000", alpha=0.08, linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
        least = min(1 / len(values) for by_load in latencies.values() for values in by_load.values())
        axes[0, 0].set_ylim(max(0.7 * least, 1e-7), 1.3)
        for axis in axes[:, 0]:
            axis.set_ylabel("share not yet there", fontsize=8)
        for place in range(columns):
            last = axes[(len(loads) - 1 - place) // columns, place]
            last.set_xlabel("milliseconds since arrival", fontsize=8)
        for axis in axes.flat[len(loads) :]:
            axis.set_axis_off()
        axes[0, 0].legend(fontsize=7, frameon=False)


def survival(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (value, share of all above it) at some of them, beginning with 0 and going on for ever; infinite values
    stay above."""
    ordered = np.sort(values)
    above = 1 - np.arange(1, len(ordered) + 1) / len(ordered)
    finite = np.count_nonzero(np.isfinite(ordered))
    if not finite:
        return np.array([0.0, 1e9]), np.ones(2)
    places = np.searchsorted(-above[:finite], -np.geomspace(1, 0.5 / len(ordered), POINTS)).clip(0, finite - 1)
    places = np.unique(places)
    last = above[places[-1]]
    return np.concatenate([[0.0], ordered[places], [1e9]]), np.concatenate([[1.0], above[places], [last]])
