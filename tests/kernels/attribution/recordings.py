"""Reads what tests/peers/record_zennit.py recorded."""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "references"


def load(name: str) -> dict[str, np.ndarray]:
    """Returns the arrays of one recording by name."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}
