"""Results of a pipeline as one category of an analysis file, which ViRelAy and our explorer open.

results = pipelines.run(pipeline, maps_of_class_8)
item = pipelines.analysis_of(results, index_of_class_8)
explorer_files.write_analyses(path, {explorer_files.category_name(8): item, ...})
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from common import explorer_files
from kernels import spectral
from projects.spray.pipelines.operations import rows_of

SPECTRAL = "spectral"


def analysis_of(results: Mapping[str, Any], index: np.ndarray) -> explorer_files.Analysis:
    """Returns embeddings, views and clusterings of a run, by the names of its slots and children.

    The spectral embedding, with rows of length 1 and its eigenvalues, is "spectral"; a view is named by its child and
    has it for base; of a clustering such as "kmeans_03" k is 3.

    Args:
      results: of `run`, with "embedding", "clustering", and "views" where there are any.
      index: the samples' numbers in the data set `[n]`.

    Raises:
      KeyError: no embedding, or no clustering among the results.
      ValueError: an embedding and a view of one name.
    """
    for slot in ("embedding", "clustering"):
        if slot not in results:
            raise KeyError(f"the results have no {slot!r}: they have {', '.join(results)}; is it among the outputs?")
    embeddings = {}
    for name, value in _children(results["embedding"], SPECTRAL).items():
        eigenvalues = np.asarray(value.eigenvalues) if isinstance(value, spectral.Embedding) else None
        embeddings[name] = explorer_files.Embedding(rows_of(value), eigenvalues)
    base = SPECTRAL if SPECTRAL in embeddings else None
    for name, value in _children(results.get("views", {}), "view").items():
        if name in embeddings:
            raise ValueError(f"{name!r} is an embedding and a view: give the view another name")
        embeddings[name] = explorer_files.Embedding(np.asarray(value), base=base)
    clusterings = {
        name: explorer_files.Clustering(np.asarray(labels), base, _number_in(name))
        for name, labels in _children(results["clustering"], "clusters").items()
    }
    return explorer_files.Analysis(np.asarray(index), embeddings, clusterings)


def _children(value: Any, name: str) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {name: value}


def _number_in(name: str) -> int | None:
    match = re.search(r"_(\d+)$", name)
    return int(match.group(1)) if match else None
