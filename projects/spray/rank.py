"""Ranks classes by how separable their strategies are: `--analysis=RUN` in, tau, its null and p-values out.

The class above the others is the one to look at first; see `ranking` for what the two p-values mean. With 20 draws no
p-value is below 1/21. `suspicious_CLASS.npy` has the numbers of the samples in clusters beyond what the other classes
predict.
"""

import dataclasses
import pathlib

import jax
import numpy as np

from common import app, config, files
from common.study import parts
from kernels import spectral
from projects.spray import analyze, pictures, ranking, strategies

TITLE = "The most separable class first"
NOTE = (
    "tau: Fisher separability of the best cluster; p, null: of maps without clusters, at least 1/(draws + 1); t and p "
    "beside others: of ln(tau / (1 - tau)) beside the classes below; suspicious maps: in clusters beyond what the "
    "others predict"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankConfig:
    """One analysis."""

    analysis: str = config.field(help="run directory of spray.analyze")
    draws: int = config.field(20, "of the null, a class", minimum=20)
    null: str = config.field(
        "gaussian",
        "maps without clusters: normal ones of the same covariance, or permuted along principal axes or pixel by pixel",
        choices=("gaussian", "principal", "columns"),
    )
    seed: int = config.field(0, "of the draws", minimum=0)


def main(settings: RankConfig, run: app.Run) -> dict:
    """Draws the null of every class and returns the ranking."""
    classes = classes_of(settings.analysis)
    run.inputs(*classes.values())
    how = config.read_flagfile(pathlib.Path(settings.analysis) / "flags.txt", analyze.AnalyzeConfig)
    nulls = {}
    with run.progress(len(classes), "classes") as progress:
        for number, path in classes.items():
            nulls[number] = parts.part(run, f"class_{number}", lambda path=path: null_of(path, settings, how))
            progress.update(1)
    beside = ranking.beside_others([row["tau"] for row in nulls.values()])
    rows = {}
    for (number, row), other in zip(nulls.items(), beside, strict=True):
        one = analyze.load(classes[number]).strategies
        flagged = ranking.suspicious(one.labels, one.separability, other.limit) if np.isfinite(other.limit) else None
        if not row["p_null"] <= ranking.LEVEL:  # what a null does as well is nobody's strategy
            flagged, other = None, other._replace(p=1.0)
        if flagged is not None and run.is_main:
            save_numbers(run.path / f"suspicious_{number}.npy", analyze.load(classes[number]).index[flagged])
        rows[number] = row | {"t": other.t, "p_beside_others": other.p, "limit": other.limit} | {
            "suspicious_maps": None if flagged is None else int(flagged.sum())
        }  # fmt: skip
    order = sorted(rows, key=lambda number: -np.nan_to_num(rows[number]["tau"], nan=-1))
    rows = {number: rows[number] for number in order}
    run.table("ranking", *table(rows), TITLE, NOTE)
    pictures.draw_ranking(run, rows)
    accused = [number for number, row in rows.items() if row["p_beside_others"] <= ranking.LEVEL]
    doubts = [f"class {number}: {text}" for number, row in rows.items() for text in row["doubts"] if "copies" in text]
    few = len(rows) < ranking.LEAST_CLASSES
    text = f"{len(rows)} classes: beside one another {ranking.LEAST_CLASSES} or more can be ranked with a p-value"
    reasons = other_pipeline(how) + doubts + ([text] if few else [])
    status = {"status": {"level": "doubtful", "reasons": reasons}} if reasons else {}
    return {"ranking": {str(n): row for n, row in rows.items()}, "first": order[0], "suspicious": accused, **status}


def classes_of(analysis: str) -> dict[int, pathlib.Path]:
    """Returns class number -> file of a finished analysis.

    Raises:
      ValueError: it is not one.
    """
    folder = pathlib.Path(analysis)
    paths = sorted((folder / "checkpoints").glob("class_*.npz"))
    if not paths or not (folder / "result.json").is_file():
        raise ValueError(f"--analysis={analysis}: expected the run directory of a finished spray.analyze")
    return {int(path.stem.rpartition("_")[2]): path for path in paths}


def null_of(path: pathlib.Path, settings: RankConfig, how: dict) -> dict:
    """Returns tau of a class, its null and the p-value against it."""
    one = analyze.load(path).strategies
    number = int(path.stem.rpartition("_")[2])
    key = jax.random.fold_in(jax.random.key(settings.seed), number)
    options = {
        "k": min(how.get("neighbors", 10), len(one.features) - 1),
        "q": strategies.SEEN,
        "clusters": tuple(how.get("clusters", range(2, 9))),
    }
    null = spectral.separability_null(one.features, key, draws=settings.draws, null=settings.null, **options)
    draws = np.asarray(null.draws)
    tau = strategies.highest(one)[0]
    return {
        "tau": tau, "null_median": float(np.median(draws)), "above_null": tau - float(np.median(draws)),
        "p_null": p_of(tau, draws), "draws": draws.tolist(),
        "maps": len(one.features), "strategies": one.k, "doubts": list(one.doubts),
    }  # fmt: skip


def p_of(tau: float, draws: np.ndarray) -> float:
    """Returns (1 + draws at or above tau) / (1 + draws); NaN for a class without a tau."""
    return float((1 + (~(draws < tau)).sum()) / (1 + len(draws))) if np.isfinite(tau) else float("nan")


def other_pipeline(how: dict) -> list[str]:
    """Returns what an analysis did otherwise than the null, which has Euclidean neighbours in a mean, binary graph."""
    plain = {"metric": (None, "euclidean"), "symmetrize": ("mean",), "weights": ("binary",)}
    others = [f"--{name}={how[name]}" for name, usual in plain.items() if name in how and how[name] not in usual]
    others += [f"--variant={how['variant']}"] if how.get("variant") in ("ssim", "pcc") else []
    if not others:
        return []
    return [f"the null is not of the analysis's pipeline, which has {', '.join(others)}: p, null cannot be trusted"]


def save_numbers(path: pathlib.Path, numbers: np.ndarray) -> None:
    """Writes sample numbers whole or not at all."""
    with files.beside(path) as temporary, temporary.open("wb") as file:
        np.save(file, numbers)


def table(rows: dict) -> tuple[list[str], list[list]]:
    """Returns a row a class."""
    columns = [
        "class",
        "maps",
        "strategies",
        "tau",
        "tau - null",
        "p, null",
        "t",
        "p, beside others",
        "suspicious maps",
    ]
    names = ("maps", "strategies", "tau", "above_null", "p_null", "t", "p_beside_others", "suspicious_maps")
    return columns, [[number, *(row[name] for name in names)] for number, row in rows.items()]


if __name__ == "__main__":
    app.run(main, RankConfig)
