"""Pictures: how a training went, what samples weigh, how the chain moves, lattices, and figures of the paper."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from common import app
from common.publishing.curves import BLUE, GREEN, GREY, PURPLE, RED, column, picture, plt, series, set_log, ticker
from common.publishing.numbers import formatted
from common.runs import metrics
from kernels.autoregressive import SpinEstimates, log_weights, record
from kernels.autoregressive.markov_chain import autocorrelation
from projects.van import records
from projects.van.records import NAMES

COLOUR_OF = {"trusted": "black", "doubtful": "#96600a", "not usable": "#b3261e"}
TRUTH = {"color": "black", "linewidth": 0.8}
LAGS = 200  # of an autocorrelation function, at most
CORRECTED = ("free_energy", "u", "entropy", "abs_m_site")  # quantities of the Comment's panel
METHODS = {  # name to (label, style)
    "raw": ("network", {"marker": "x", "color": GREY}),
    "nis": ("corrected (NIS)", {"marker": "o", "color": RED, "markersize": 3.5}),
    "nmcmc": ("NMCMC", {"marker": "s", "color": BLUE, "markersize": 5, "fillstyle": "none"}),
}


def draw_run(run: app.Run, estimates: SpinEstimates, spins: np.ndarray | None = None, settings=None) -> dict:
    """Leaves table and pictures of one network's estimates in the run and prints a line; returns their record.

    Args:
      run: with its metrics.csv, where there was a training.
      estimates: of the network.
      spins: samples [n, rows, columns] to show.
      settings: of the training; None draws no curves of it.
    """
    result = record(estimates)
    run.table("estimates", *records.table(result, "Estimates and the exact solution"))
    if settings is not None:
        draw_training(run, metrics.read(run.metrics.path)[1], estimates, settings)
    draw_weights(run, estimates)
    draw_chain(run, estimates)
    draw_comparison(run, estimates)
    if spins is not None:
        draw_lattices(run, spins, estimates.beta)
    print(records.line(result))
    return result


def draw_training(run: app.Run, rows: list[dict[str, str]], estimates: SpinEstimates, settings) -> None:
    """Loss over steps and the exact value, spread of the loss, effective samples."""
    caption = "Free energy, spread of the loss (0 when the network is exact), effective samples."
    (done, loss), (_, beta) = series(rows, "loss"), series(rows, "beta")
    warm = beta > 0.98 * settings.beta  # at other temperatures the loss says something else
    with picture(run, "training", caption, 3, 1, figsize=(6, 6.5), sharex=True) as (energy, spread, ess):
        if estimates.beta > 0:
            energy.plot(done[warm], loss[warm] / estimates.beta, color=BLUE, label="network, at the final beta")
            energy.set_ylabel("F/N (training samples)")
            if estimates.exact is not None:
                energy.axhline(-estimates.exact.ln_z / estimates.beta / estimates.sites, label="exact", **TRUTH)
        energy.legend(fontsize=8)
        spread.plot(*series(rows, "loss_deviation"), color=BLUE)
        spread.set_ylabel("deviation of ln q + beta E")
        set_log(spread)
        ess.plot(*series(rows, "ess"), color=RED, marker=".")
        ess.set(ylabel="ESS / n", xlabel="step", ylim=(0, 1))


def draw_weights(run: app.Run, estimates: SpinEstimates) -> None:
    """Histogram of the weights, under q and as they count."""
    log_q, energy, _ = estimates.head
    log_w = log_weights(log_q, energy, estimates.beta)
    allowed = np.isfinite(log_w)
    if not allowed.any():
        return
    corrected = estimates.corrected
    log_r = log_w[allowed] - corrected.ln_z
    low, high = np.quantile(log_r, [0.001, 1.0])
    bins, counted = np.linspace(low - 0.1, high + 0.1, 60), np.exp(log_r - log_r.max())
    title = f"ESS {corrected.ess:.3f}, heaviest of {corrected.n:,}: {corrected.largest_share:.2g} of all"
    level = corrected.status.level
    caption = "Importance weights; where the network is exact all of them are 1 (line)."
    with picture(run, "weights", caption, figsize=(5.4, 3.4)) as axis:
        axis.hist(log_r, bins, density=True, color=GREY, alpha=0.7, label="samples of the network")
        axis.hist(log_r, bins, density=True, weights=counted, histtype="step", color=RED, label="weighted")
        axis.axvline(0, **TRUTH)
        axis.set(xlabel="ln r, weight over mean weight", ylabel="density")
        axis.set_title(f"{title}\n{level}", fontsize=9, color=COLOUR_OF[level])
        axis.legend(fontsize=8)


def draw_chain(run: app.Run, estimates: SpinEstimates) -> None:
    """The first steps of the chain and its autocorrelation function."""
    energy, abs_m, _ = estimates.series
    if len(abs_m) < 2:
        return
    time = estimates.time if np.isfinite(estimates.time) else None
    caption = "Neural MCMC: its first steps, and how fast it forgets."
    with picture(run, "chain", caption, 1, 2, figsize=(8, 3.2)) as (steps, memory):
        steps.plot(abs_m[:500] / estimates.sites, color=BLUE, linewidth=0.8)
        steps.set(xlabel="step of NMCMC", ylabel="|M|/N", title=f"acceptance {estimates.acceptance:.3f}")
        memory.plot(autocorrelation(abs_m, LAGS), color=BLUE, label="|M|")
        memory.plot(autocorrelation(energy, LAGS), color=RED, label="E")
        memory.axhline(0, **TRUTH)
        memory.set(xlabel="lag (steps)", ylabel="autocorrelation")
        memory.set_title(f"integrated time of |M|: {formatted(time, '.1f')}")
        memory.set_xlim(0, LAGS if time is None else min(LAGS, max(20.0, 12 * time)))
        memory.legend(fontsize=8)


def draw_comparison(run: app.Run, estimates: SpinEstimates) -> None:
    """The Comment's panel: what the network says and what correction makes of it, beside the truth."""
    of = "NIS, as nothing is known exactly" if estimates.exact is None else "the exact value"
    of += "; |M| from Swendsen-Wang" if estimates.reference is not None and estimates.reference[1] else ""
    caption = f"Differences from {of}. Bars: one standard error; hollow: not known."
    comparison(run, "correction", caption, record(estimates)["estimates"])


def comparison(run: app.Run, picture_name: str, caption: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Draws a panel a quantity: network, importance weights, neural MCMC, each with its error.

    Args:
      run, picture_name, caption: of the picture.
      rows: name to estimates, as in `record`.
    """
    names = [name for name in CORRECTED if rows.get(name, {}).get("nis") is not None]
    size = {"figsize": (2.3 * len(names), 3), "squeeze": False}
    with picture(run, picture_name, caption, 1, len(names), **size) as axes:
        for axis, name in zip(axes[0], names, strict=True):
            draw_differences(axis, name, rows[name])


def draw_differences(axis: plt.Axes, name: str, row: Mapping[str, float]) -> None:
    """One quantity by every method, minus the truth."""
    truth = row.get("exact", row.get("reference"))
    centre = row["nis"] if truth is None else truth
    labels = {"raw": "network", "nis": "NIS", "nmcmc": "NMCMC"}
    methods = [method for method in labels if row.get(method) is not None]
    for place, method in enumerate(methods):
        error, colour = row[f"{method}_error"], METHODS[method][1]["color"]
        style = {"markerfacecolor": "white"} if error is None else {}
        axis.errorbar(place, row[method] - centre, error, fmt="o", color=colour, capsize=4, **style)
    if row.get("reference_error"):
        axis.axhspan(-row["reference_error"], row["reference_error"], color="black", alpha=0.15)
    axis.axhline(0, **TRUTH)
    axis.set_xticks(range(len(methods)), [labels[method] for method in methods], fontsize=8)
    axis.set_xlim(-0.5, len(methods) - 0.5)
    axis.tick_params(axis="y", labelsize=7)
    axis.set_title(f"{NAMES[name]} - {'NIS' if truth is None else 'exact'}", fontsize=9)


def draw_lattices(run: app.Run, spins: np.ndarray, beta: float) -> None:
    """Samples as pictures, or as rows of one."""
    flat = spins.shape[1] == 1
    grid, size, images = ((1, 1), (6, 2.2), [spins[:, 0]]) if flat else ((2, 4), (6, 3.2), spins)
    caption = f"Samples of the network, beta {beta:g}; black is up."
    with picture(run, "samples", caption, *grid, figsize=size, squeeze=False) as axes:
        for axis, image in zip(axes.flat, images, strict=False):
            shape = "auto" if flat else "equal"
            axis.imshow(image, aspect=shape, cmap="Greys", vmin=-1, vmax=1, interpolation="nearest")
        for axis in axes.flat:
            axis.set(xlabel="spin", ylabel="sample") if flat else axis.set(xticks=[], yticks=[])


def against_beta(
    run: app.Run,
    picture_name: str,
    caption: str,
    points: Sequence[Mapping],
    title: str,
    names: Sequence[str],
    curves: Mapping[str, Sequence[tuple]],
) -> None:
    """Draws a panel a quantity over beta: exact curve, network and corrected estimates with error bars.

    Args:
      run, picture_name, caption: of the picture.
      points: with beta and, by name, rows as `record` gives them.
      title: of the picture.
      names: of NAMES, "difference" or "ess".
      curves: name to (betas, values, label) of curves beside the points, the exact one first.
    """
    columns = 2 if len(names) in (2, 4) else min(len(names), 3)
    height = -(-len(names) // columns)
    size = {"figsize": (3.4 * columns, 2.9 * height), "squeeze": False}
    with picture(run, picture_name, caption, height, columns, **size) as axes:
        for axis, name in zip(axes.flat, names, strict=False):
            if name == "difference":
                draw_difference(axis, points)
            elif name == "ess":
                draw_weights_against_beta(axis, points)
            else:
                draw_quantity(axis, points, name, curves.get(name, ()))
            axis.set_xlabel("beta")
            axis.legend(fontsize=7)
        for axis in list(axes.flat)[len(names) :]:
            axis.set_axis_off()
        axes[0, 0].figure.suptitle(title, fontsize=10)


def draw_difference(axis: plt.Axes, points: Sequence[Mapping]) -> None:
    """ln Z of the network and as corrected, minus the exact one, over beta; linear near 0, logarithmic beyond."""
    betas, rows = column(points, "beta"), [point["estimates"]["ln_z"] for point in points]
    exact, errors = column(rows, "exact"), column(rows, "nis_error")
    axis.plot(betas, column(rows, "raw") - exact, "x", color=GREY, label="network")
    alone = column(points, "network_nis_ln_z") - exact
    if np.isfinite(alone).any():
        axis.plot(betas, alone, "1", color=PURPLE, label="network, weighted")
    label, style = METHODS["nis"]
    axis.errorbar(betas, column(rows, "nis") - exact, errors, label=label, linestyle="none", capsize=3, **style)
    axis.axhline(0, **TRUTH)
    least = 4 * float(np.nanmedian(errors)) if np.isfinite(errors).any() else 0.0
    threshold = max(least, 1e-5)
    axis.set_yscale("symlog", linthresh=threshold)
    axis.set_yticks(symmetric_ticks(threshold, *axis.get_ylim()))
    axis.yaxis.set_minor_locator(ticker.NullLocator())
    axis.set_title("ln Z - exact")


def symmetric_ticks(threshold: float, low: float, high: float) -> list[float]:
    """Returns 0 and up to three powers of ten on either side, none so near to 0 that the labels lie on each other."""
    last = math.floor(math.log10(max(abs(low), abs(high), threshold)))
    first = min(math.ceil(math.log10(3 * threshold)), last)
    powers = [10.0**k for k in range(first, last + 1, -(-(last - first + 1) // 3))]
    ticks = [*(-power for power in reversed(powers)), 0.0, *powers]
    return [tick for tick in ticks if low <= tick <= high]


def draw_quantity(axis: plt.Axes, points: Sequence[Mapping], name: str, curves: Sequence[tuple]) -> None:
    """One quantity over beta by every method, each point with its error, and the exact curve or what stands for it."""
    betas, rows = column(points, "beta"), [point["estimates"][name] for point in points]
    if all("exact" in row for row in rows) and "exact" not in (label for *_, label in curves):
        curves = [(betas, column(rows, "exact"), "exact"), *curves]
    for *curve, label in curves:
        style = {"color": "black"} if label == "exact" else {"color": GREY, "linestyle": "--"}
        axis.plot(*curve, label=label, linewidth=0.9, **style)
    sampled = any(row.get("reference_error") for row in rows)
    reference = "Swendsen-Wang" if sampled else "exact", {"marker": "+", "color": "black", "markersize": 8}
    for method, (label, style) in (METHODS | {"reference": reference}).items():
        if all(method in row for row in rows):
            values, errors = column(rows, method), column(rows, f"{method}_error")
            axis.errorbar(betas, values, errors, label=label, linestyle="none", capsize=3, **style)
    axis.set_title(NAMES[name])


def draw_weights_against_beta(axis: plt.Axes, points: Sequence[Mapping]) -> None:
    """Effective samples and acceptance over beta; of the network alone, where the estimates are of a mixture."""
    betas, alone = column(points, "beta"), column(points, "network_ess")
    axis.plot(betas, column(points, "ess"), "o-", color=RED, markersize=4, label="ESS")
    axis.plot(betas, column(points, "acceptance"), "s--", color=BLUE, markersize=4, label="acceptance")
    if np.isfinite(alone).any():
        axis.plot(betas, alone, "1", color=PURPLE, label="ESS of the network alone")
    axis.set(ylim=(0, 1.02), title="effective samples, acceptance")


def overlaps(run: app.Run, by_beta: Mapping[float, np.ndarray]) -> None:
    """Draws a panel a temperature with the overlaps [n, 2] of samples with two patterns."""
    caption = "Overlaps of samples with the two patterns: disordered at high temperature, four ordered phases at low."
    size = {"figsize": (3.4 * len(by_beta), 3.4), "squeeze": False}
    with picture(run, "overlaps", caption, 1, len(by_beta), **size) as axes:
        for axis, (beta, points) in zip(axes[0], by_beta.items(), strict=True):
            axis.scatter(*points.T, s=5, color=BLUE, alpha=0.3, linewidths=0)
            axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", title=f"beta {beta:g}")
            axis.set(xlabel="overlap with pattern 1", ylabel="overlap with pattern 2")


def inverse(run: app.Run, rows: Sequence[Mapping[str, float]], baselines: Sequence[str]) -> None:
    """Draws errors of couplings over beta: the network's and the baselines'."""
    betas = column(rows, "beta")
    with picture(run, "inverse", "Error of the couplings, over temperature.", figsize=(5.4, 3.6)) as axis:
        for name, colour in zip(baselines, (GREY, GREEN, PURPLE), strict=True):
            axis.plot(betas, column(rows, name), "s--", color=colour, markersize=3, linewidth=0.9, label=name)
        axis.plot(betas, column(rows, "network"), "o-", color=RED, markersize=4, label="network")
        set_log(axis)
        axis.set(xlabel="beta", ylabel="error of J (root mean square)")
        axis.legend(fontsize=8)
