"""Pictures: how a training went, what samples weigh, how the chain moves, lattices, and figures of the paper."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np

from common import app
from common.publishing import curves
from common.runs import metrics
from kernels.autoregressive import SpinEstimates, log_weights, record
from projects.van import records
from projects.van.records import NAMES

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend first: no display is needed)

BLUE, RED, GREY, GREEN, PURPLE = "#1f5f8b", "#c8553d", "#8a8a8a", "#3f8f5b", "#7a4fa3"
COLOUR_OF = {"trusted": "black", "doubtful": "#96600a", "not usable": "#b3261e"}
LAGS = 200  # of an autocorrelation function, at most


def draw_run(run: app.Run, estimates: SpinEstimates, spins: np.ndarray | None = None, settings=None) -> None:
    """Writes the pictures of one network's estimates to `run.plots`.

    Args:
      run: with its metrics.csv, where there was a training.
      estimates: of the network.
      spins: samples [n, rows, columns] to show.
      settings: of the training; None draws no curves of it.
    """
    if settings is not None:
        draw_training(run, metrics.read(run.metrics.path)[1], estimates, settings)
    draw_weights(run, estimates)
    draw_chain(run, estimates)
    draw_comparison(run, estimates)
    if spins is not None:
        draw_lattices(run, spins, estimates.beta)


def draw_training(run: app.Run, rows: list[dict[str, str]], estimates: SpinEstimates, settings) -> None:
    """Loss over steps and the exact value, spread of the loss, effective samples."""
    figure, axes = plt.subplots(3, 1, figsize=(6, 6.5), sharex=True, layout="constrained")
    done, loss = curves.series(rows, "loss")
    _, beta = curves.series(rows, "beta")
    warm = beta > 0.98 * settings.beta  # at other temperatures the loss says something else
    if estimates.beta > 0:
        axes[0].plot(done[warm], loss[warm] / estimates.beta, color=BLUE, label="network, at the final beta")
        axes[0].set_ylabel("F/N (training samples)")
    if estimates.exact is not None and estimates.beta > 0:
        axes[0].axhline(
            -estimates.exact.ln_z / estimates.beta / estimates.sites, color="black", linewidth=0.8, label="exact"
        )
    axes[0].legend(fontsize=8)
    done, spread = curves.series(rows, "loss_deviation")
    axes[1].plot(done, spread, color=BLUE)
    axes[1].set_ylabel("deviation of ln q + beta E")
    curves.set_log(axes[1])
    done, ess = curves.series(rows, "ess")
    axes[2].plot(done, ess, color=RED, marker=".")
    axes[2].set(ylabel="ESS / n", xlabel="step", ylim=(0, 1))
    run.plot("training", figure, "Free energy, spread of the loss (0 when the network is exact), effective samples.")
    plt.close(figure)


def draw_weights(run: app.Run, estimates: SpinEstimates) -> None:
    """Histogram of the weights, under q and as they count."""
    log_q, energy, _ = estimates.head
    log_w = log_weights(log_q, energy, estimates.beta)
    allowed = np.isfinite(log_w)
    if not allowed.any():
        return
    log_r = log_w[allowed] - estimates.corrected.ln_z
    figure, axis = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
    low, high = np.quantile(log_r, [0.001, 1.0])
    bins = np.linspace(low - 0.1, high + 0.1, 60)
    axis.hist(log_r, bins, density=True, color=GREY, alpha=0.7, label="samples of the network")
    axis.hist(
        log_r, bins, density=True, weights=np.exp(log_r - log_r.max()), histtype="step", color=RED, label="weighted"
    )
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel="ln r, weight over mean weight", ylabel="density")
    share = estimates.corrected.largest_share
    title = f"ESS {estimates.corrected.ess:.3f}, heaviest of {estimates.corrected.n:,}: {share:.2g} of all"
    axis.set_title(
        f"{title}\n{estimates.corrected.status.level}", fontsize=9, color=COLOUR_OF[estimates.corrected.status.level]
    )
    axis.legend(fontsize=8)
    run.plot("weights", figure, "Importance weights; where the network is exact all of them are 1 (line).")
    plt.close(figure)


def draw_chain(run: app.Run, estimates: SpinEstimates) -> None:
    """The first steps of the chain and its autocorrelation function."""
    energy, abs_m, _ = estimates.series
    if len(abs_m) < 2:
        return
    time = estimates.time if np.isfinite(estimates.time) else None
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    steps = min(len(abs_m), 500)
    left.plot(abs_m[:steps] / estimates.sites, color=BLUE, linewidth=0.8)
    left.set(xlabel="step of NMCMC", ylabel="|M|/N", title=f"acceptance {estimates.acceptance:.3f}")
    for series, label, colour in ((abs_m, "|M|", BLUE), (energy, "E", RED)):
        rho = autocorrelation(series, LAGS)
        right.plot(rho, color=colour, label=label)
    right.axhline(0, color="black", linewidth=0.8)
    right.set(
        xlabel="lag (steps)",
        ylabel="autocorrelation",
        title=f"integrated time of |M|: {records.UNKNOWN if time is None else f'{time:.1f}'}",
    )
    right.set_xlim(0, LAGS if time is None else min(LAGS, max(20.0, 12 * time)))
    right.legend(fontsize=8)
    run.plot("chain", figure, "Neural MCMC: its first steps, and how fast it forgets.")
    plt.close(figure)


def autocorrelation(series: np.ndarray, lags: int) -> np.ndarray:
    """Returns rho(t) for t = 0 to `lags` (as far as there are steps); 1 and zeros of a constant."""
    centred = series - series.mean()
    lags = min(lags, len(series) - 1)
    spectrum = np.fft.rfft(centred, 2 * len(series))
    covariance = np.fft.irfft(np.square(np.abs(spectrum)))[: lags + 1] / (len(series) - np.arange(lags + 1))
    return covariance / covariance[0] if covariance[0] > 0 else np.eye(1, lags + 1)[0]


def draw_comparison(run: app.Run, estimates: SpinEstimates) -> None:
    """The Comment's panel: what the network says and what correction makes of it, beside the truth."""
    figure = comparison(record(estimates)["estimates"])
    of = "NIS, as nothing is known exactly" if estimates.exact is None else "the exact value"
    of += "; |M| from Swendsen-Wang" if estimates.reference is not None and estimates.reference[1] else ""
    caption = f"Differences from {of}. Bars: one standard error; hollow: not known."
    run.plot("correction", figure, caption)
    plt.close(figure)


def comparison(
    rows: Mapping[str, Mapping[str, float]], names: Sequence[str] = ("free_energy", "u", "entropy", "abs_m_site")
) -> plt.Figure:
    """Returns a panel a quantity: network, importance weights, neural MCMC, each with its error.

    Args:
      rows: name to estimates, as in `record`.
      names: of NAMES.
    """
    names = [name for name in names if rows.get(name, {}).get("nis") is not None]
    figure, axes = plt.subplots(1, len(names), figsize=(2.3 * len(names), 3), layout="constrained", squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        row = rows[name]
        truth = row.get("exact", row.get("reference"))
        centre = row["nis"] if truth is None else truth
        methods = [("network", "raw", GREY), ("NIS", "nis", RED), ("NMCMC", "nmcmc", BLUE)]
        methods = [entry for entry in methods if row.get(entry[1]) is not None]
        for place, (_, method, colour) in enumerate(methods):
            error = row[f"{method}_error"]
            style = {"markerfacecolor": "white"} if error is None else {}
            axis.errorbar(place, row[method] - centre, error, fmt="o", color=colour, capsize=4, **style)
        if row.get("reference_error"):
            axis.axhspan(-row["reference_error"], row["reference_error"], color="black", alpha=0.15)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(methods)), [label for label, *_ in methods], fontsize=8)
        axis.set_xlim(-0.5, len(methods) - 0.5)
        axis.tick_params(axis="y", labelsize=7)
        axis.set_title(f"{NAMES[name]} - {'NIS' if truth is None else 'exact'}", fontsize=9)
    return figure


def draw_lattices(run: app.Run, spins: np.ndarray, beta: float) -> None:
    """Samples as pictures."""
    count = min(len(spins), 8)
    flat = spins.shape[1] == 1
    figure, axes = plt.subplots(
        1 if flat else 2, 1 if flat else 4, figsize=(6, 2.2 if flat else 3.2), squeeze=False, layout="constrained"
    )
    if flat:
        axes[0, 0].imshow(spins[:, 0], cmap="Greys", vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
        axes[0, 0].set(xlabel="spin", ylabel="sample")
    else:
        for axis, lattice in zip(axes.flat, spins[:count], strict=False):
            axis.imshow(lattice, cmap="Greys", vmin=-1, vmax=1, interpolation="nearest")
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
    run.plot("samples", figure, f"Samples of the network, beta {beta:g}; black is up.")
    plt.close(figure)


def draw_difference(axis: plt.Axes, points: Sequence[Mapping]) -> None:
    """ln Z of the network and as corrected, minus the exact one, over beta; linear near 0, logarithmic beyond."""
    betas = [point["beta"] for point in points]
    rows = [point["estimates"]["ln_z"] for point in points]
    exact = np.array([row["exact"] for row in rows])
    axis.plot(betas, _numbers(row["raw"] for row in rows) - exact, "x", color=GREY, label="network")
    alone = [
        (point["beta"], point["network_nis_ln_z"] - truth)
        for point, truth in zip(points, exact, strict=True)
        if point.get("network_nis_ln_z") is not None
    ]
    if alone:
        axis.plot(*zip(*alone, strict=True), "1", color=PURPLE, label="network, weighted")
    errors = _numbers(row["nis_error"] for row in rows)
    axis.errorbar(
        betas, _numbers(row["nis"] for row in rows) - exact, errors, fmt="o", color=RED, markersize=3.5, capsize=3,
        label="corrected (NIS)",
    )  # fmt: skip
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_yscale(
        "symlog", linthresh=max(4 * float(np.nanmedian(errors)) if np.isfinite(errors).any() else 0.0, 1e-5)
    )
    axis.set_title("ln Z - exact")
    axis.legend(fontsize=7)


def against_beta(
    points: Sequence[Mapping],
    exact: Mapping[str, tuple],
    title: str,
    names: Sequence[str],
    bulk: Mapping[str, tuple] | None = None,
) -> plt.Figure:
    """Returns a panel a quantity over beta: exact curve, network and corrected estimates with error bars.

    Args:
      points: with beta and, by name, rows as `record` gives them.
      exact: name to (betas, values) of a curve.
      title: of the picture.
      names: of NAMES.
      bulk: name to (betas, values, label) of a curve for the infinite lattice.
    """
    columns = 2 if len(names) in (2, 4) else min(len(names), 3)
    height = -(-len(names) // columns)
    figure, axes = plt.subplots(
        height, columns, figsize=(3.4 * columns, 2.9 * height), squeeze=False, layout="constrained"
    )
    betas = [point["beta"] for point in points]
    for axis, name in zip(axes.flat, names, strict=False):
        if name == "difference":
            draw_difference(axis, points)
        elif name == "ess":
            draw_weights_against_beta(axis, points)
        else:
            draw_quantity(axis, betas, [point["estimates"][name] for point in points], exact.get(name))
            if bulk and name in bulk:
                *curve, label = bulk[name]
                axis.plot(*curve, color=GREY, linewidth=0.9, linestyle="--", label=label)
            axis.set_title(NAMES[name])
            axis.legend(fontsize=7)
        axis.set_xlabel("beta")
    for axis in list(axes.flat)[len(names) :]:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=10)
    return figure


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    """Returns numbers with nan for those that are not known, which are then not drawn."""
    return np.array([np.nan if value is None else value for value in values])


def draw_quantity(axis: plt.Axes, betas: Sequence[float], rows: Sequence[Mapping], curve: tuple | None) -> None:
    """One quantity over beta by every method, each point with its error, and the exact curve or what stands for it."""
    if curve is None and all("exact" in row for row in rows):
        curve = betas, [row["exact"] for row in rows]
    if curve is not None:
        axis.plot(*curve, color="black", linewidth=0.9, label="exact")

    def points(method, label, **style):
        if all(method in row for row in rows):
            values, errors = (_numbers(row[key] for row in rows) for key in (method, f"{method}_error"))
            axis.errorbar(betas, values, errors, label=label, linestyle="none", capsize=3, **style)

    points("raw", "network", marker="x", color=GREY)
    points("nis", "corrected (NIS)", marker="o", color=RED, markersize=3.5)
    points("nmcmc", "NMCMC", marker="s", color=BLUE, markersize=5, fillstyle="none")
    sampled = any(row.get("reference_error") for row in rows)
    points("reference", "Swendsen-Wang" if sampled else "exact", marker="+", color="black", markersize=8)


def draw_weights_against_beta(axis: plt.Axes, points: Sequence[Mapping]) -> None:
    """Effective samples and acceptance over beta; of the network alone, where the estimates are of a mixture."""
    betas = [point["beta"] for point in points]
    axis.plot(betas, _numbers(point["ess"] for point in points), "o-", color=RED, markersize=4, label="ESS")
    axis.plot(betas, [point["acceptance"] for point in points], "s--", color=BLUE, markersize=4, label="acceptance")
    alone = [(point["beta"], point["network_ess"]) for point in points if point.get("network_ess") is not None]
    if alone:
        axis.plot(*zip(*alone, strict=True), "1", color=PURPLE, label="ESS of the network alone")
    axis.set(ylim=(0, 1.02), title="effective samples, acceptance")
    axis.legend(fontsize=7)


def overlaps(by_beta: Mapping[float, np.ndarray]) -> plt.Figure:
    """Returns a panel a temperature with the overlaps [n, 2] of samples with two patterns."""
    figure, axes = plt.subplots(1, len(by_beta), figsize=(3.4 * len(by_beta), 3.4), squeeze=False, layout="constrained")
    for axis, (beta, points) in zip(axes[0], by_beta.items(), strict=True):
        axis.scatter(*points.T, s=5, color=BLUE, alpha=0.3, linewidths=0)
        axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", title=f"beta {beta:g}")
        axis.set(xlabel="overlap with pattern 1", ylabel="overlap with pattern 2")
    return figure


def inverse(rows: Sequence[Mapping[str, float]], baselines: Sequence[str]) -> plt.Figure:
    """Returns errors of couplings over beta: the network's and the baselines'."""
    figure, axis = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
    betas = [row["beta"] for row in rows]
    for name, colour in zip(baselines, (GREY, GREEN, PURPLE), strict=True):
        axis.plot(betas, [row[name] for row in rows], "s--", color=colour, markersize=3, linewidth=0.9, label=name)
    axis.plot(betas, [row["network"] for row in rows], "o-", color=RED, markersize=4, label="network")
    curves.set_log(axis)
    axis.set(xlabel="beta", ylabel="error of J (root mean square)")
    axis.legend(fontsize=8)
    return figure
