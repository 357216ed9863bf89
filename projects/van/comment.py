"""The Comment's panel: a network that was trained too little, what it says, and what correction makes of it.

A network of a few steps on 8 x 8 goes on for a few more on 16 x 16, near the critical point. Its own error bars are far
too small; importance weights and neural MCMC repair both. Nicoli et al., arXiv:1903.11048.
"""

import dataclasses

from common import app
from projects.van import figures, plots, records
from projects.van.ladder import Ladder, climb, final, pair_of, summary

BETA = 0.44


def ladders(scale: str) -> list[Ladder]:
    """Returns the small lattice and the one of the panel."""
    if scale == "small":
        tiny = dataclasses.replace(figures.TINY, rows=4, averaging=0.0)
        return [Ladder("undertrained4", tiny, (BETA,), 60, 60, 20_000, 2000)]
    settings = dataclasses.replace(figures.PIXELCNN, schedule="constant", averaging=0.95)
    return [
        Ladder("undertrained8", dataclasses.replace(settings, rows=8), (BETA,), 1000, 1000, 2000, 1000),
        Ladder("undertrained16", dataclasses.replace(settings, rows=16), (BETA,), 400, 400, 100_000, 500),
    ]


def make(scale: str, run: app.Run) -> tuple[dict, dict]:
    """Returns (result, pictures) of the panel."""
    start, row = None, None
    for ladder in ladders(scale):
        (row,) = climb(ladder, run, start)
        start = final(ladder, run)
    figure = plots.comparison(row["estimates"])
    caption = f"{row['steps']} steps, ESS {row['ess']:.3f}: differences from the exact value. Bars: one standard error."
    picture = run.plot("comment", figure, caption)
    columns = [
        "quantity", "exact", "network", "its error", "sigmas off", "NIS", "error", "sigmas off", "status", "NMCMC",
        "error", "status",
    ]  # fmt: skip
    cells = []
    for name, label in records.NAMES.items():
        values = row["estimates"].get(name, {})
        truth = values.get("exact", values.get("reference"))
        if truth is None or "raw" not in values:
            continue
        cells.append([label, truth])
        for method in ("raw", "nis"):
            value, error = pair_of(values, method)
            cells[-1] += [value, error, (value - truth) / error if error else None]
        cells[-1] += [values.get("nis_status"), *pair_of(values, "nmcmc"), values.get("nmcmc_status")]
    run.table("comment", columns, cells, "Before and after correction")
    print(f"beta {row['beta']:g}: {summary(row)}")
    return {
        "status": records.status_of(row), "rows": {ladders(scale)[-1].name: [row]},
        "panel": {"columns": columns, "rows": cells},
    }, {"": picture}  # fmt: skip
