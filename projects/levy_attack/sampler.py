"""How well the noise's sampler keeps its law: log-moments, characteristic function, tails, and densities on log axes.

For each alpha of the grid draws are compared with the closed forms, in units of what chance does to them (five is far),
and their histogram over ten decades with the exact density of `kernels.alpha_stable`.
"""

import dataclasses

import jax
import numpy as np

from common import app, config
from common.publishing.curves import plt
from kernels import alpha_stable

ALPHAS = (0.2, 0.5, 0.8, 1.0, 1.2, 1.5, 1.8, 2.0)
PANELS = (0.5, 1.0, 1.5, 1.8, 2.0)
PLACES = (0.1, 0.5, 1.0, 2.0, 5.0)
COLUMNS = (
    *("alpha", "mean ln|X|, sigmas off", "Var ln|X|, % off", "cf, largest error x sqrt(n)", "signs, sigmas off"),
    *("tail beyond 1e-3, % off", "alpha by likelihood of 10,000"),
)
log_pdf, log_survival = jax.jit(alpha_stable.sas_log_pdf), jax.jit(alpha_stable.sas_log_survival)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How many draws."""

    draws: int = config.field(1_000_000, "of each alpha; 30,000,000 take minutes", minimum=10_000)
    seed: int = config.field(0, "of the draws", minimum=0)


def main(settings: SamplerConfig, run: app.Run) -> dict:
    """Writes the table and the picture into the run's directory and returns the numbers by alpha."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(3 * len(PANELS), 3.4), sharex=True, sharey=True)
    result, rows = {}, []
    for number, alpha in enumerate(ALPHAS):
        key = jax.random.fold_in(jax.random.key(settings.seed), number)
        sign, log_abs = (np.asarray(part, np.float64) for part in alpha_stable.sas_log(key, alpha, (settings.draws,)))
        errors = result[f"{alpha:g}"] = measure(alpha, sign, log_abs)
        fit = f"{errors['fit']:.3f} ± {errors['fit_error']:.3f}"
        rows.append([f"{alpha:g}", *(f"{errors[name]:.2f}" for name in list(errors)[:-2]), fit])
        if alpha in PANELS:
            draw(axes[PANELS.index(alpha)], alpha, log_abs)
    run.table("sampler", COLUMNS, rows, f"{settings.draws:,} draws of each law beside its closed forms")
    axes[0].set_ylabel("density of |X|")
    figure.tight_layout()
    run.plot("sampler", figure, "Histograms of the draws (dots) on the exact densities (lines), both axes logarithmic.")
    plt.close(figure)
    return result


def measure(alpha: float, sign: np.ndarray, log_abs: np.ndarray) -> dict[str, float]:
    """Returns how far the draws are from the closed forms, in the order of the table's columns."""
    count = len(log_abs)
    mean, variance = (float(value) for value in alpha_stable.log_moments(alpha))
    x = sign * np.exp(log_abs)
    errors = [abs(np.exp(1j * t * x).mean() - np.exp(-(t**alpha))) * np.sqrt(count) for t in PLACES]
    # The place beyond which the exact law has 1e-3 on both sides: its survival falls along a grid.
    grid = np.linspace(-5, 60, 2001)
    outside = np.log(2) + np.asarray(log_survival(np.exp(grid), np.float32(alpha)), np.float64)
    low = np.interp(-np.log(1e-3), -outside, grid)
    fit = alpha_stable.fit_sas(x[:10_000])
    return {
        "mean": abs(log_abs.mean() - mean) / np.sqrt(variance / count),
        "variance": 100 * abs(log_abs.var() / variance - 1),
        "characteristic_function": max(errors),
        "signs": abs(sign.sum()) / np.sqrt(count),
        "tail": 100 * abs((log_abs > low).mean() / 1e-3 - 1),
        "fit": float(fit.alpha),
        "fit_error": float(fit.errors[0]),
    }


def draw(axis, alpha: float, log_abs: np.ndarray) -> None:
    """A histogram of |X| over equal steps of its logarithm, and the exact density."""
    edges = np.linspace(np.log(1e-3), np.log(1e7), 61)
    counts, _ = np.histogram(log_abs, edges)
    density = counts / len(log_abs) / np.diff(np.exp(edges))
    centres = np.exp((edges[1:] + edges[:-1]) / 2)
    is_hit = counts > 0
    axis.loglog(centres[is_hit], density[is_hit], ".", color="#c8553d", markersize=4, label="draws")
    x = np.geomspace(1e-3, 1e7, 400)
    exact = 2 * np.exp(np.asarray(log_pdf(x, np.float32(alpha)), np.float64))
    axis.loglog(x, exact, color="#1f5f8b", linewidth=1, label="exact")
    axis.set(title=f"alpha = {alpha:g}", xlabel="|X|", ylim=(1e-14, 10))
    axis.legend()


if __name__ == "__main__":
    app.run(main, SamplerConfig)
