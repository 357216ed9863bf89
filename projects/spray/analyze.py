"""Finds the strategies behind relevance maps, class by class: `--attribution=FILE` in, `analysis.h5` out.

A class is a file that is whole or absent, so that a run that was killed goes on with the next. `analysis.h5` and
`project.yaml` open in ViRelAy 1.0.0.
"""

import dataclasses
import pathlib

import numpy as np

from common import app, config, explorer_files, files
from projects.spray import maps_files, pictures, strategies
from projects.spray.strategies import StrategiesConfig

REFUSE, LEAVE_OUT = "refuse", "leave_out"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalyzeConfig(StrategiesConfig):
    """One file of maps."""

    attribution: str = config.field(help="maps: .h5 from spray.explain or attribution.explain, or .npy [n, h, w(, c)]")
    labels: str | None = config.field(None, "for .npy: classes that the maps were made for, an .npy of integers [n]")
    images: str | None = config.field(None, "data set .h5 of the samples (none: dataset.h5 beside the maps, if there)")
    classes: tuple[int, ...] = config.field((), "numbers of classes to look at (none: all)")
    most_maps: int = config.field(20000, "of a class, the first ones", minimum=strategies.LEAST)
    zero_maps: str = config.field(REFUSE, "maps without any relevance", choices=(REFUSE, LEAVE_OUT))


def main(settings: AnalyzeConfig, run: app.Run) -> dict:
    """Analyses every class and returns what goes to `result.json`."""
    maps = maps_files.read(settings.attribution, settings.labels, run)
    check_finite(maps)
    check_grid(maps, settings)
    counts = {int(c): int(n) for c, n in zip(*np.unique(maps.labels, return_counts=True), strict=True)}
    absent = sorted(set(settings.classes) - set(counts))
    if absent:
        raise ValueError(f"--classes: no map is of class {absent[0]}; there are {', '.join(map(str, counts))}")
    numbers = settings.classes or tuple(counts)
    rows, notes = {}, []
    with run.progress(len(numbers), "classes") as progress:
        for number in numbers:
            members, left_out = members_of(maps, number, settings)
            notes += [f"class {number}: {text}" for text in left_out]
            if len(members) < strategies.LEAST:
                notes.append(f"class {number} left out: {len(members)} maps, expected {strategies.LEAST} or more")
            else:
                path = run.checkpoints / f"class_{number:08d}.npz"
                if not path.is_file():
                    result = strategies.strategies_of(maps.relevance[members], settings)
                    save(path, result, maps.index[members], members)
                rows[number] = describe(load(path))
            progress.update(1)
    if not rows:
        raise ValueError(f"no class has {strategies.LEAST} maps: {'; '.join(notes[:3])}")
    write(settings, run, rows, maps.strategy)
    run.table("classes", *table(rows), "Strategies by class, and the most separable cluster of any number of clusters")
    for number in rows:
        pictures.draw_class(run, number, load(run.checkpoints / f"class_{number:08d}.npz").strategies)
    reasons = notes + [f"class {number}: {text}" for number, row in rows.items() for text in row["doubts"]]
    status = {"status": {"level": "doubtful", "reasons": reasons}} if reasons else {}
    return {"maps": len(maps.labels), "classes": {str(number): row for number, row in rows.items()}, **status}


def check_finite(maps: maps_files.Maps) -> None:
    """Raises ValueError for maps with NaN or infinite values, by their numbers, and for none at all."""
    if not maps.relevance.size:
        raise ValueError(f"there are no maps: {maps.relevance.shape}; expected [n, height, width, channels], n >= 1")
    bad = np.flatnonzero(~np.isfinite(maps.relevance).reshape(len(maps.relevance), -1).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(maps.relevance)} maps have NaN or infinite values: samples "
            f"{', '.join(map(str, maps.index[bad][:8]))}{' ...' if len(bad) > 8 else ''}; make them again, or take "
            "them out"
        )


def check_grid(maps: maps_files.Maps, settings: StrategiesConfig) -> None:
    """Raises ValueError for a grid finer than the maps, which may have their channels first."""
    height, width, channels = maps.relevance.shape[1:]
    if settings.grid > min(height, width):
        first = "" if channels <= 4 or height > 4 else "; if these are channels, height, width, put channels last"
        raise ValueError(
            f"--grid={settings.grid}: the maps have {height} x {width} pixels; take --grid={min(height, width)}, or 0 "
            f"for pixels as they are{first}"
        )


def members_of(maps: maps_files.Maps, number: int, settings: AnalyzeConfig) -> tuple[np.ndarray, list[str]]:
    """Returns the rows of a class that are analysed, and what is left out of them, as texts.

    Raises:
      ValueError: maps of zeros only, with --zero_maps=refuse.
    """
    members = np.flatnonzero(maps.labels == number)
    notes = []
    if len(members) > settings.most_maps:
        notes.append(f"the first {settings.most_maps} of {len(members)} maps")
        members = members[: settings.most_maps]
    if wrong := int(maps.is_wrong[members].sum()):
        notes.append(f"{wrong} of {len(members)} maps are of samples that the network takes for others")
    zero = ~(maps.relevance[members] != 0).reshape(len(members), -1).any(axis=1)
    if zero.any():
        named = f"samples {', '.join(map(str, maps.index[members[zero]][:8]))}{' ...' if zero.sum() > 8 else ''}"
        if settings.zero_maps == REFUSE:
            raise ValueError(
                f"{zero.sum()} maps of class {number} have no relevance at all ({named}): mend them, or take "
                f"--zero_maps={LEAVE_OUT}, which lists them in the result"
            )
        notes.append(f"{zero.sum()} maps without any relevance left out ({named})")
        members = members[~zero]
    return members, notes


def save(path: pathlib.Path, one: strategies.Strategies, index: np.ndarray, rows: np.ndarray) -> None:
    """Writes the strategies of a class whole or not at all."""
    arrays = {name: value for name, value in one._asdict().items() if isinstance(value, (np.ndarray, int))}
    arrays |= {f"labels_{k}": labels for k, labels in one.labels.items()}
    arrays |= {f"separability_{k}": tau for k, tau in one.separability.items()}
    arrays |= {f"silhouette_{k}": np.float64(value) for k, value in one.silhouette.items()}
    with files.beside(path) as temporary, temporary.open("wb") as file:
        np.savez(file, index=index, rows=rows, doubts=np.array(one.doubts, "U200"), **arrays)


@dataclasses.dataclass(frozen=True)
class ClassFile:
    """The strategies of a class as they were saved: sample numbers and rows of the maps beside them, `[n]`."""

    strategies: strategies.Strategies
    index: np.ndarray
    rows: np.ndarray


def load(path: pathlib.Path) -> ClassFile:
    """Returns what `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    by_k = {
        name: {int(key.rpartition("_")[2]): value for key, value in arrays.items() if key.startswith(f"{name}_")}
        for name in ("labels", "separability", "silhouette")
    }
    by_k["silhouette"] = {k: float(value) for k, value in by_k["silhouette"].items()}
    plain = {name: arrays[name] for name in ("features", "eigenvalues", "vectors", "residuals", "gaps", "view")}
    numbers = {name: int(arrays[name]) for name in ("components", "k")}
    result = strategies.Strategies(**plain, **numbers, **by_k, doubts=tuple(arrays["doubts"].tolist()))
    return ClassFile(result, arrays["index"], arrays["rows"])


def describe(one: ClassFile) -> dict:
    """Returns the numbers of a class for the result."""
    result = one.strategies
    tau, k, cluster = strategies.highest(result)
    order = np.argsort(-result.gaps, kind="stable")[:3]
    return {
        "maps": len(one.index), "strategies": result.k, "components": result.components,
        "eigenvalues": result.eigenvalues[:9].tolist(),
        "gaps": {str(place + 1): float(result.gaps[place]) for place in order},
        "relative_gap": float(result.gaps[result.k - 1] / max(result.eigenvalues[result.k - 1], 1 / len(one.index))),
        "sizes": np.bincount(result.labels[result.k]).tolist() if result.k in result.labels else [len(one.index)],
        "silhouette": result.silhouette.get(result.k),
        "separability": tau, "separable_clusters": k,
        "separable_size": int((result.labels[k] == cluster).sum()) if k else 0,
        "doubts": list(result.doubts),
    }  # fmt: skip


def table(rows: dict) -> tuple[list[str], list[list]]:
    """Returns a row a class."""
    columns = ["class", "maps", "components", "strategies", "gap", "sizes", "silhouette", "tau", "of", "its size"]
    body = [
        [
            number, row["maps"], row["components"], row["strategies"], max(row["gaps"].values()),
            ", ".join(map(str, row["sizes"])), row["silhouette"], row["separability"],
            f"{row['separable_clusters']} clusters", row["separable_size"],
        ]
        for number, row in rows.items()
    ]  # fmt: skip
    return columns, body


def write(settings: AnalyzeConfig, run: app.Run, rows: dict, strategy: str) -> None:
    """Writes `analysis.h5` and, where there are images, `project.yaml` for ViRelAy."""
    if not run.is_main:
        return
    files_of = {number: load(run.checkpoints / f"class_{number:08d}.npz") for number in rows}
    shared = [k for k in settings.clusters if all(k in one.strategies.labels for one in files_of.values())]
    categories = {}
    for number, one in files_of.items():
        result = one.strategies
        embeddings = {
            "spectral": explorer_files.Embedding(result.vectors, result.eigenvalues),
            "tsne": explorer_files.Embedding(result.view, None, "spectral"),
        }
        by_gap = result.labels.get(result.k, np.zeros(len(one.index), np.int64))
        clusterings = {"eigengap": explorer_files.Clustering(by_gap, "spectral", result.k)}
        clusterings |= {f"kmeans{k}": explorer_files.Clustering(result.labels[k], "spectral", k) for k in shared}
        categories[explorer_files.category_name(number)] = explorer_files.Analysis(one.index, embeddings, clusterings)
    explorer_files.write_analyses(run.path / "analysis.h5", categories, variant=settings.variant)
    images = images_of(settings)
    if images is None or not settings.attribution.endswith((".h5", ".hdf5")):
        run.log("no project.yaml for ViRelAy: it wants maps and images as .h5, see common/explorer_files")
    else:
        explorer_files.write_project(
            run.path / "project.yaml", f"SpRAy {run.path.name}", "network", class_names(max(rows) + 1),
            images.resolve(), [pathlib.Path(settings.attribution).resolve()], {"spray": [run.path / "analysis.h5"]},
            attribution_strategy=strategy,
        )  # fmt: skip


def class_names(count: int) -> list[str]:
    """Returns names for classes that have numbers only."""
    return [f"class {number}" for number in range(count)]


def images_of(settings: AnalyzeConfig) -> pathlib.Path | None:
    """Returns the file with the samples' images: the one named, else `dataset.h5` beside the maps; None without any."""
    if settings.images is not None:
        if not pathlib.Path(settings.images).is_file():
            raise ValueError(f"--images={settings.images}: no such file; expected a data set as .h5")
        return pathlib.Path(settings.images)
    beside = pathlib.Path(settings.attribution).with_name("dataset.h5")
    return beside if beside.is_file() else None


if __name__ == "__main__":
    app.run(main, AnalyzeConfig)
