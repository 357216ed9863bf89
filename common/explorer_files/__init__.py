"""Data sets, attributions, analyses and projects in the files that ViRelAy 1.0.0 opens (arXiv:2106.13200).

    from common import explorer_files

    explorer_files.write_dataset("images.h5", images, labels)                        # uint8 [n, height, width, 1 or 3]
    explorer_files.write_attribution("lrp.h5", relevance, labels, predictions)       # [n, height, width, 1 or 3]
    explorer_files.write_analysis("spray.h5", "00000008", index, {"spectral": embedding}, {"kmeans": labels})
    explorer_files.write_project("project.yaml", "Digits", "LeNet5", class_names, dataset="images.h5",
                                 attributions=["lrp.h5"], analyses={"spray": ["spray.h5"]})
    explorer_files.validate("project.yaml")                                          # [] or what is wrong, all at once

What its loader wants is stricter than what its description says: each file of this folder names the rules it keeps.
Readers take what the loader takes: groups instead of arrays, n-hot labels, a missing `index`, channels on either side.

`writers` (data sets, attributions), `analyses` (embeddings and clusterings by category), `readers`, `project` (YAML and
label map), `validation`. HDF5 and YAML are imported on first use.
"""

from common.explorer_files.analyses import (
    Analysis,
    Clustering,
    Embedding,
    category_name,
    read_analyses,
    read_analysis,
    write_analyses,
    write_analysis,
)
from common.explorer_files.project import Dataset, Project, read_project, write_project
from common.explorer_files.readers import Attributions, Samples, read_attribution, read_dataset
from common.explorer_files.validation import Problem, validate
from common.explorer_files.writers import write_attribution, write_attribution_pieces, write_dataset

__all__ = [
    "Analysis", "Attributions", "Clustering", "Dataset", "Embedding", "Problem", "Project", "Samples", "category_name",
    "read_analyses", "read_analysis", "read_attribution", "read_dataset", "read_project", "validate", "write_analyses",
    "write_analysis", "write_attribution", "write_attribution_pieces", "write_dataset", "write_project",
]  # fmt: skip
