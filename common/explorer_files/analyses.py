"""Embeddings and clusterings of the samples of each category, as ViRelAy 1.0.0 reads them.

`<category>/index` [n] uint32, the samples' numbers; `<category>/embedding/<name>` [n, q] float32 with the attributes
`eigenvalue` [q], `embedding` (the base's name) and `index` (the columns used); `<category>/cluster/<name>` [n]
integers, -1 noise, with `embedding`, `k`, `index`. The reader offers the names of the first category for all of them:
every category must have the same. It shows a class's name where the category is its `word_net_id`: see `category_name`.
"""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from common import files


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding:
    """Where the samples lie.

    Attributes:
      values: `[n, q]`, two columns or more.
      eigenvalues: `[q]` of a spectral embedding, else None.
      base: the name of the embedding that it was made of, None of the maps themselves.
      columns: which columns of the base were used.
    """

    values: np.ndarray
    eigenvalues: np.ndarray | None = None
    base: str | None = None
    columns: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Clustering:
    """Which samples belong together.

    Attributes:
      labels: integers `[n]`, -1 noise.
      embedding: the name of the embedding that was clustered.
      k: the number of clusters that was asked for.
      columns: which columns of the embedding were used.
    """

    labels: np.ndarray
    embedding: str | None = None
    k: int | None = None
    columns: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
    """One category: the samples' numbers `[n]`, embeddings and clusterings of them by name."""

    index: np.ndarray
    embeddings: Mapping[str, Embedding]
    clusterings: Mapping[str, Clustering]


def category_name(label: int) -> str:
    """Returns the category of a class without a WordNet number: eight digits, which `write_project` writes too."""
    return f"{label:08d}"


def write_analyses(path: str | os.PathLike, categories: Mapping[str, Analysis], **attributes: str | float) -> None:
    """Writes the analyses of several categories as one file.

    Args:
      path: of the file.
      categories: by name.
      **attributes: texts and numbers that are kept as attributes of the file.

    Raises:
      ValueError: no category, other names in one category than in another, or arrays that do not fit; it says which.
    """
    import h5py

    if not categories:
        raise ValueError("categories: none; expected one or more")
    categories = {
        name: _checked(name, item.index, item.embeddings, item.clusterings) for name, item in categories.items()
    }
    _check_names(categories)
    with files.beside(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(attributes)
        for name, analysis in categories.items():
            _write_category(file.create_group(name), analysis)


def write_analysis(
    path: str | os.PathLike,
    category: str,
    index: np.ndarray,
    embeddings: Mapping[str, Embedding | np.ndarray],
    clusterings: Mapping[str, Clustering | np.ndarray],
) -> None:
    """Writes one category, beside those that the file has already; one of the same name is replaced.

    Args:
      path: of the file, which need not be there yet.
      category: its name, `category_name` of a class's number.
      index: the samples' numbers in the data set, integers `[n]`.
      embeddings: by name, `Embedding` or an array `[n, q]`.
      clusterings: by name, `Clustering` or labels `[n]`.

    Raises:
      ValueError: other names than in the file's categories, or arrays that do not fit; the file stays as it was.
    """
    import h5py

    analysis = _checked(category, index, embeddings, clusterings)
    path = pathlib.Path(path)
    with files.beside(path) as temporary:
        if path.exists():
            shutil.copyfile(path, temporary)
        with h5py.File(temporary, "a") as file:
            if category in file:
                del file[category]
            others = {name: _names(file[name]) for name in file}
            for other, names in others.items():
                _check_equal(other, names, category, _names_of(analysis))
            _write_category(file.create_group(category), analysis)


def read_analysis(path: str | os.PathLike, category: str) -> Analysis:
    """Returns one category of a file.

    Raises:
      KeyError: no such category; the text lists those there are.
      ValueError: the file has another layout, or lengths that differ.
    """
    import h5py

    with h5py.File(path, "r") as file:
        if category not in file:
            raise KeyError(f"{path} has no category {category!r}: expected one of {', '.join(sorted(file))}")
        return _read_category(path, category, file[category])


def read_analyses(path: str | os.PathLike) -> dict[str, Analysis]:
    """Returns all categories of a file by name; see `read_analysis`."""
    import h5py

    with h5py.File(path, "r") as file:
        return {name: _read_category(path, name, file[name]) for name in file}


def _write_category(group, analysis: Analysis) -> None:
    group["index"] = np.asarray(analysis.index, np.uint32)
    for name, embedding in analysis.embeddings.items():
        dataset = group.create_dataset(f"embedding/{name}", data=np.asarray(embedding.values, np.float32))
        _annotate(dataset, eigenvalue=embedding.eigenvalues, embedding=embedding.base, index=embedding.columns)
    for name, clustering in analysis.clusterings.items():
        dataset = group.create_dataset(f"cluster/{name}", data=np.asarray(clustering.labels, np.int32))
        _annotate(dataset, embedding=clustering.embedding, k=clustering.k, index=clustering.columns)


def _annotate(dataset, **attributes: Any) -> None:
    types = {"eigenvalue": np.float32, "index": np.uint32}
    for name, value in attributes.items():
        if value is not None:
            dataset.attrs[name] = np.asarray(value, types[name]) if name in types else value


def _read_category(path, category: str, group) -> Analysis:
    missing = [name for name in ("index", "embedding", "cluster") if name not in group]
    if missing:
        raise ValueError(f"{path}: the category {category!r} has no {' and no '.join(missing)}")
    embeddings = {
        name: Embedding(item[()], item.attrs.get("eigenvalue"), item.attrs.get("embedding"), item.attrs.get("index"))
        for name, item in group["embedding"].items()
    }
    clusterings = {
        name: Clustering(item[()], item.attrs.get("embedding"), _number(item.attrs.get("k")), item.attrs.get("index"))
        for name, item in group["cluster"].items()
    }
    analysis = Analysis(group["index"][()].astype(np.int64), embeddings, clusterings)
    lengths = {f"embedding/{name}": len(item.values) for name, item in embeddings.items()}
    lengths |= {f"cluster/{name}": len(item.labels) for name, item in clusterings.items()}
    for name, length in lengths.items():
        if length != len(analysis.index):
            raise ValueError(f"{path}: {category}/{name} has {length} rows, index has {len(analysis.index)}")
    return analysis


def _number(value) -> int | None:
    return None if value is None else int(value)


def _checked(
    category: str,
    index: np.ndarray,
    arrays: Mapping[str, Embedding] | Mapping[str, Embedding | np.ndarray],
    labels: Mapping[str, Clustering] | Mapping[str, Clustering | np.ndarray],
) -> Analysis:
    """Returns an analysis of `Embedding`s and `Clustering`s whose shapes are right."""
    _check_name("category", category)
    index = np.asarray(index)
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer) or len(index) == 0 or index.min() < 0:
        raise ValueError(f"{category}: index is {index.dtype} {index.shape}: expected numbers from 0, [n], n >= 1")
    if len(np.unique(index)) < len(index):
        raise ValueError(f"{category}: index names a sample twice")
    if not arrays or not labels:
        raise ValueError(f"{category}: expected one embedding and one clustering or more: the reader shows pairs")
    embeddings = {name: _embedding(category, name, item, len(index)) for name, item in arrays.items()}
    clusterings = {name: _clustering(category, name, item, len(index)) for name, item in labels.items()}
    for name, embedding in embeddings.items():
        if embedding.base is not None and embedding.base not in embeddings:
            raise ValueError(f"{category}: the embedding {name!r} has the base {embedding.base!r}, which is not there")
    for name, clustering in clusterings.items():
        if clustering.embedding is not None and clustering.embedding not in embeddings:
            raise ValueError(f"{category}: the clustering {name!r} is of {clustering.embedding!r}, which is not there")
    return Analysis(index, embeddings, clusterings)


def _embedding(category: str, name: str, item: Embedding | np.ndarray, count: int) -> Embedding:
    _check_name("embedding", name)
    embedding = item if isinstance(item, Embedding) else Embedding(np.asarray(item))
    values = np.asarray(embedding.values)
    if values.ndim != 2 or len(values) != count or values.shape[1] < 2:
        raise ValueError(f"{category}: the embedding {name!r} is {values.shape}: expected [{count}, q], q >= 2")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(f"{category}: the embedding {name!r} is not finite in rows {bad[:8].tolist()}")
    if embedding.eigenvalues is not None and np.shape(embedding.eigenvalues) != values.shape[1:]:
        shape = np.shape(embedding.eigenvalues)
        raise ValueError(f"{category}: {name!r} has eigenvalues {shape}: expected one a column, ({values.shape[1]},)")
    return embedding


def _clustering(category: str, name: str, item: Clustering | np.ndarray, count: int) -> Clustering:
    _check_name("clustering", name)
    clustering = item if isinstance(item, Clustering) else Clustering(np.asarray(item))
    labels = np.asarray(clustering.labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{category}: the clustering {name!r} is {labels.dtype} {labels.shape}, not integers [{count}]"
        )
    if labels.min() < -1:
        raise ValueError(f"{category}: the clustering {name!r} has {labels.min()}: expected -1 or more")
    return clustering


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
        raise ValueError(f"{what} {name!r}: expected a name without a slash")


def _check_names(categories: Mapping[str, Analysis]) -> None:
    first = next(iter(categories))
    for name, analysis in categories.items():
        _check_equal(first, _names_of(categories[first]), name, _names_of(analysis))


def _check_equal(first: str, expected: dict[str, set[str]], name: str, actual: dict[str, set[str]]) -> None:
    for what, names in expected.items():
        if names != actual[what]:
            lacks = ", ".join(sorted(names - actual[what])) or "none"
            extra = ", ".join(sorted(actual[what] - names)) or "none"
            raise ValueError(
                f"the {what}s of the category {name!r} are not those of {first!r} (lacking: {lacks}; more: {extra}): "
                "the reader takes the first category's names for all, so each must have the same"
            )


def _names_of(analysis: Analysis) -> dict[str, set[str]]:
    return {"embedding": set(analysis.embeddings), "clustering": set(analysis.clusterings)}


def _names(group) -> dict[str, set[str]]:
    return {"embedding": set(group["embedding"]), "clustering": set(group["cluster"])}
