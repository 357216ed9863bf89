"""CoRelAy's pipelines by its names: what is written for `corelay` 1.0.0 runs here with another import.

    from projects.spray.pipelines.corelay_names import EigenDecomposition, KMeans, Parallel, SpectralClustering

    pipeline = SpectralClustering(
        embedding=EigenDecomposition(n_eigval=8, is_output=True),
        clustering=Parallel([KMeans(n_clusters=k) for k in range(2, 5)], broadcast=True, is_output=True),
    )
    (eigenvalues, embedding), labels = pipeline(rows)

A processor is a value: a name, its parameters, and flags. `semantics="corelay"` on a pipeline, or in the call of a
single processor, gives the peer's numbers with its defects (`legacy`); "paper" is the default. `io=FOLDER` keeps
results in our cache. A class below `Processor` with `Param`s and a `function` is a processor. Where the peer holds
state there is none here: `outcomes` returns every task's result, `from_checkpoint` takes them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from projects.spray.pipelines import checks
from projects.spray.pipelines.corelay_own import Param as Param
from projects.spray.pipelines.corelay_pipeline import FLOW, SEMANTICS, Pipeline, Processor, processor
from projects.spray.pipelines.corelay_tables import PARAMETERS, POSITIONAL, REQUIRED


def pipeline(semantics: str = "paper", **tasks: Processor | Callable) -> Pipeline:
    """Returns a pipeline of one's own: tasks by name, in order; a function is a processor."""
    checks.one_of("semantics", semantics, SEMANTICS)
    if not tasks:
        raise ValueError("a pipeline without tasks: expected one or more, by name")
    return Pipeline({name: _processor(name, task) for name, task in tasks.items()}, semantics)


def SpectralEmbedding(semantics: str = "paper", **tasks: Processor | Callable) -> Pipeline:  # noqa: N802  # the peer's
    """Returns the peer's pipeline of preprocessing, pairwise_distance, affinity, laplacian, embedding."""
    return _standard(EMBEDDING_TASKS, tasks, semantics)


def SpectralClustering(semantics: str = "paper", **tasks: Processor | Callable) -> Pipeline:  # noqa: N802  # the peer's
    """Returns the peer's pipeline: those of SpectralEmbedding, select_eigenvector, clustering."""
    return _standard(CLUSTERING_TASKS, tasks, semantics)


def _standard(defaults: Callable[[], dict[str, Processor]], tasks: Mapping, semantics: str) -> Pipeline:
    checks.one_of("semantics", semantics, SEMANTICS)
    standard = defaults()
    for name in tasks:
        checks.one_of("task", name, tuple(standard))
    return Pipeline(standard | {name: _processor(name, task) for name, task in tasks.items()}, semantics)


def _processor(name: str, task: Processor | Callable) -> Processor:
    if isinstance(task, Processor):
        return task
    if not callable(task):
        raise TypeError(f"{name}={task!r}: expected a processor or a function")
    return FunctionProcessor(task)


def _make(name: str) -> Callable[..., Processor]:
    """Returns what builds the processor of a name from its parameters and flags."""

    def build(
        *arguments, is_output: bool = False, is_checkpoint: bool = False, io: Any = None, **parameters
    ) -> Processor:
        defaults = PARAMETERS[name]
        names = list(defaults)
        if len(arguments) > (1 if name in POSITIONAL else 0):
            raise TypeError(f"{name}: expected {', '.join(names) or 'nothing'}, by name")
        placed = dict(zip(names, arguments, strict=False))
        for key in parameters:
            checks.one_of(f"{name}: parameter", key, tuple(names), TypeError)
            if key in placed:
                raise TypeError(f"{name}: {key} comes twice")
        values = defaults | placed | parameters
        if missing := [key for key, value in values.items() if value is REQUIRED]:
            raise TypeError(f"{name}: {', '.join(missing)} is missing")
        if "children" in values:
            values["children"] = tuple(_processor(f"child {i}", child) for i, child in enumerate(values["children"]))
        checks.parameters(name, values)
        return processor(name, values, is_output, is_checkpoint, io)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Returns the processor {name}; parameters: {', '.join(PARAMETERS[name]) or 'none'}."
    return build


FunctionProcessor, Shaper, Parallel, Sequential = map(_make, FLOW)
SciPyPDist, SparseKNN, RadialBasisFunction = map(_make, ("SciPyPDist", "SparseKNN", "RadialBasisFunction"))
SymmetricNormalLaplacian = _make("SymmetricNormalLaplacian")
RandomWalkNormalLaplacian = _make("RandomWalkNormalLaplacian")
EigenDecomposition, TSNEEmbedding = map(_make, ("EigenDecomposition", "TSNEEmbedding"))
PCAEmbedding, LLEEmbedding, UMAPEmbedding = map(_make, ("PCAEmbedding", "LLEEmbedding", "UMAPEmbedding"))
KMeans, HDBSCAN, DBSCAN = map(_make, ("KMeans", "HDBSCAN", "DBSCAN"))
AgglomerativeClustering, Dendrogram = map(_make, ("AgglomerativeClustering", "Dendrogram"))
Histogram, Resize, Rescale, Pooling = map(_make, ("Histogram", "Resize", "Rescale", "Pooling"))
Absolute, SumChannel, Normalize, Flatten = map(_make, ("Absolute", "SumChannel", "Normalize", "Flatten"))
SSIM, PCC = map(_make, ("SSIM", "PCC"))


def EMBEDDING_TASKS() -> dict[str, Processor]:  # noqa: N802  # a constant that is built
    """Returns the default tasks of SpectralEmbedding."""
    return {
        "preprocessing": FunctionProcessor(_same), "pairwise_distance": SciPyPDist(), "affinity": SparseKNN(),
        "laplacian": SymmetricNormalLaplacian(), "embedding": EigenDecomposition(is_output=True),
    }  # fmt: skip


def CLUSTERING_TASKS() -> dict[str, Processor]:  # noqa: N802
    """Returns the default tasks of SpectralClustering."""
    selected = {"select_eigenvector": FunctionProcessor(_second), "clustering": KMeans(is_output=True)}
    return EMBEDDING_TASKS() | selected


def _same(data):
    return data


def _second(data):
    return data[1]


def variant(name: str) -> dict[str, Processor]:
    """Returns `preprocessing` and `pairwise_distance` of a published variant, for maps `[n, channels, height, width]`.

    Args:
      name: "absspectral", "spectral", "fullspectral", "histogram", "ssim" or "pcc".

        SpectralClustering(**variant("absspectral"))(relevance)
    """
    checks.one_of("variant", name, tuple(VARIANTS))
    preprocessing, distance = VARIANTS[name]
    return {"preprocessing": Sequential(list(preprocessing)), "pairwise_distance": distance}


VARIANTS = {
    "absspectral": ((Absolute(), SumChannel(), Normalize(), Flatten()), SciPyPDist()),
    "spectral": ((SumChannel(), Normalize(), Flatten()), SciPyPDist()),
    "fullspectral": ((Normalize(axes=(1, 2, 3)), Flatten()), SciPyPDist()),
    "histogram": ((Normalize(axes=(1, 2, 3)), Histogram(), Flatten()), SciPyPDist()),
    "ssim": ((SumChannel(), Normalize()), SSIM()),
    "pcc": ((SumChannel(), Normalize(), Flatten()), PCC()),
}
