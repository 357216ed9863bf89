"""Shapes of tails by ArviZ, times by emcee, on request: .venv-peers/arviz/bin/python tests/peers/arviz_server.py"""

import importlib.metadata
import warnings

import line_server
import numpy as np

warnings.simplefilter("ignore")  # of its coming versions

import arviz  # noqa: E402
import emcee  # noqa: E402


def k_hat(log_w: str) -> dict:
    """Returns the shape of each row of an array [sets, n] of log-weights, as `psislw` reports it."""
    rows = np.load(log_w, allow_pickle=False)
    return {"k_hat": [float(arviz.psislw(row.copy())[1]) for row in rows]}


def integrated_time(series: str) -> dict:
    """Returns, of each row [series, n], emcee's time and whether it raises that the series is too short for it."""
    times, raised = [], []
    for row in np.load(series, allow_pickle=False):
        times.append(float(emcee.autocorr.integrated_time(row, tol=0)[0]))
        try:
            emcee.autocorr.integrated_time(row)
            raised.append(False)
        except emcee.autocorr.AutocorrError:
            raised.append(True)
    return {"times": times, "raised": raised}


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("arviz", "emcee", "numpy")}


if __name__ == "__main__":
    line_server.serve({"k_hat": k_hat, "integrated_time": integrated_time, "version": version})
