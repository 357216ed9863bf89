"""Pipelines of spectral relevance analysis: slots, branches, a cache, and CoRelAy's pipelines by their names.

    from projects.spray import pipelines

    pipeline = pipelines.spectral_clustering("absspectral", grid=16)
    results = pipelines.run(pipeline, relevance)                    # [n, height, width, channels], one class
    results["select"].k, results["clustering"]["eigengap"], results["views"]["tsne"]

`pipeline` (what a pipeline is), `analysis` (its results as a file that viewers open), `operations`
(what can stand in its slots), `results` (what a step may give), `standard` (SpRAy's), `estimators` (scikit-learn's and
umap-learn's), `quality`, `cache` and `digests`; `corelay_names`, `corelay_pipeline`, `corelay_own`, `corelay_tables`,
`corelay_processors` and `resampling` (CoRelAy's names, done right), `legacy` (its defects), and `corelay_files` (its
cache files); `checks`, `versions`.
"""

from projects.spray.pipelines.analysis import analysis_of
from projects.spray.pipelines.operations import OPERATIONS, SLOTS, Selection, rows_of
from projects.spray.pipelines.pipeline import Pipeline, Step, needed, resume_from, run, step
from projects.spray.pipelines.quality import Scores, Stability, of_pipeline, scores, stability
from projects.spray.pipelines.standard import preprocessing, spectral_clustering

__all__ = [
    "OPERATIONS", "SLOTS", "Pipeline", "Scores", "Selection", "Stability", "Step", "analysis_of", "needed",
    "of_pipeline", "preprocessing", "resume_from", "rows_of", "run", "scores", "spectral_clustering", "stability",
    "step",
]  # fmt: skip
