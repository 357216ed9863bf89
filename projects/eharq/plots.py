"""Pictures: block error rates over the ratio of signal to noise."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common import app
from common.publishing.curves import BLUE, GREEN, GREY, PURPLE, RED, picture

COLOURS = (BLUE, RED, GREEN, PURPLE, GREY)


def draw_curves(run: app.Run, name: str, curves: Mapping[str, Mapping[str, Any]], caption: str) -> None:
    """Leaves error rates of several results of `bler` with 95 % intervals; reference points beside them.

    Args:
      run: whose report shows it.
      name: of the picture.
      curves: label -> result.
      caption: below it.
    """
    with picture(run, name, caption, figsize=(6.4, 4.2)) as axis:
        for number, (label, result) in enumerate(curves.items()):
            colour, points = COLOURS[number % len(COLOURS)], result["points"]
            snr, bler, low, high = (
                np.array([point[key] for point in points]) for key in ("snr_db", "bler", "low", "high")
            )
            seen = bler > 0
            bars = np.stack([bler - low, high - bler])[:, seen]
            axis.errorbar(
                snr[seen], bler[seen], bars, color=colour, marker="o", markersize=3, capsize=2, label=f"{label}"
            )
            if (~seen).any():  # no error: the upper end alone
                axis.plot(snr[~seen], high[~seen], "v", color=colour, fillstyle="none", label="upper end, no error")
            if result["reference"]:
                places = [[point[key] for point in result["reference"]] for key in ("snr_db", "bler")]
                axis.plot(*places, "x", color="black", label=f"reference, {label}")
        axis.set(xlabel=next(iter(curves.values()))["axis"], ylabel="block error rate", yscale="log")
        axis.grid(alpha=0.2, which="both")
        axis.legend(fontsize=7)
