"""Fits the predictors of a data set: `--data=RUN` of generate in, `checkpoints/subcode0_KIND.npz` out.

Every predictor is fitted for every subcode. A run that is killed goes on with the next one; all of them take a minute
or two. Nothing is said of how good they are: that takes blocks that they have not seen, see `evaluate`.
"""

import pathlib

import jax
import numpy as np

from common import app
from projects.eharq import blocks, predictors
from projects.eharq.predict_config import KINDS, TrainConfig


def main(settings: TrainConfig, run: app.Run) -> dict:
    """Fits what is missing and returns what the trainings say of themselves."""
    about = opened(settings.data, "data")
    run.inputs(blocks.manifest_path(settings.data))
    rows = blocks.load(settings.data)
    key = jax.random.key(settings.seed)
    result: dict = {}
    with run.progress(len(about["subcodes"]) * len(settings.kinds), "predictors") as progress:
        for subcode, bits in enumerate(about["subcodes"]):
            for kind in settings.kinds:
                path = path_of(run.path, subcode, kind)
                if not path.is_file():
                    own = jax.random.fold_in(jax.random.fold_in(key, subcode), KINDS.index(kind))
                    fitted = predictors.fit(kind, rows, subcode, settings, own)
                    if run.is_main:
                        run.checkpoints.mkdir(exist_ok=True)
                        predictors.save(path, fitted)
                notes = predictors.load(path).notes
                result.setdefault(str(bits), {})[kind] = notes
                progress.update(1)
    run.table("predictors", *table(result), "What the trainings say of themselves")
    weighted = bool(np.ptp(rows.weight) > 0)
    return {"settings": about["settings"], "is_weighted": weighted, "subcodes": result}


def opened(folder: str, flag: str) -> dict:
    """Returns what the blocks of a folder are.

    Raises:
      ValueError: there are none, or their features are others than those that predictors know.
    """
    about = blocks.describe(folder)
    if list(about["features"]) != list(blocks.FEATURES):
        raise ValueError(
            f"--{flag}={folder} has the features {', '.join(about['features'])}, not {', '.join(blocks.FEATURES)}; "
            "generate them with --feature_iterations=5"
        )
    return about


def path_of(run: str | pathlib.Path, subcode: int, kind: str) -> pathlib.Path:
    """Returns the file of a predictor in a run directory."""
    return pathlib.Path(run) / "checkpoints" / f"subcode{subcode}_{kind}.npz"


def table(result: dict) -> tuple[list[str], list[list]]:
    """Returns a row a predictor."""
    rows = []
    for bits, kinds in result.items():
        for kind, notes in kinds.items():
            words = {"feature": "its feature: {}", "rows": "on {:,} blocks of both classes"}
            said = [text.format(notes[name]) for name, text in words.items() if name in notes]
            if kind == "isolation_forest":
                said = [f"on {notes['rows']:,} delivered blocks"]
            if "loss" in notes:
                said = [f"loss {notes['loss'][0]:.3g}, at the end {notes['loss'][-1]:.3g}"]
            if "coefficients" in notes:
                said = [", ".join(f"{name} {value:+.2f}" for name, value in notes["coefficients"].items())]
            rows.append([bits, predictors.TITLES[kind], notes["blocks"], notes["nacks"], "; ".join(said)])
    return ["subcode", "predictor", "blocks", "NACKs", "fitted"], rows


if __name__ == "__main__":
    app.run(main, TrainConfig)
