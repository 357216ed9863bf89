"""ViRelAy on request, under its own Python: .venv-peers/spray/bin/python tests/peers/virelay_server.py

Opens a project file with its loader and tells what it sees, as JSON and .npz; renders heatmaps; asks its web
application.
"""

import importlib.metadata

import line_server
import numpy as np
from virelay import model
from virelay.server import Server

COLOR_MAPS = (
    "gray-red", "black-green", "black-fire-red", "black-yellow", "blue-white-red", "afm-hot", "jet", "seismic"
)  # fmt: skip
projects: list[model.Project] = []


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("virelay", "numpy", "h5py")}


def open_project(path: str) -> dict:
    """Opens a project; returns its number, its names and the number of its samples."""
    project = model.Project(path)
    projects.append(project)
    methods = {}
    for method in project.get_analysis_methods():
        methods[method] = {
            "categories": {item.name: item.human_readable_name for item in project.get_analysis_categories(method)},
            "clusterings": project.get_analysis_clustering_names(method),
            "embeddings": project.get_analysis_embedding_names(method),
        }
    about = {
        "project": len(projects) - 1,
        "name": project.name,
        "model": project.model,
        "samples": len(project.dataset),
    }
    return about | {"methods": methods}


def sample(project: int, index: int, answer: str) -> dict:
    """Writes a sample's picture to the .npy `answer`; returns the names of its labels."""
    item = projects[project].get_sample(index)
    np.save(answer, item.data)
    return {"labels": [label.name for label in item.labels]}


def attribution(project: int, index: int, answer: str) -> dict:
    """Writes a sample's relevance, prediction and heatmaps to the .npz `answer`; returns its labels."""
    item = projects[project].get_attribution(index)
    heatmaps = {f"heatmap/{name}": item.render_heatmap(name) for name in COLOR_MAPS}
    picture = projects[project].get_sample(index).data
    overlays = {f"overlay/{name}": item.render_heatmap(name, picture) for name in COLOR_MAPS}
    np.savez(answer, relevance=item.data, prediction=item.prediction, **heatmaps, **overlays)
    return {"labels": [label.name for label in item.labels]}


def analysis(project: int, method: str, category: str, clustering: str, embedding: str, answer: str) -> dict:
    """Writes one analysis to the .npz `answer`; returns the category's name for people."""
    item = projects[project].get_analysis(method, category, clustering, embedding)
    eigenvalues = np.zeros(0) if item.eigenvalues is None else item.eigenvalues
    np.savez(
        answer,
        labels=item.clustering,
        embedding=item.embedding,
        index=item.attribution_indices,
        eigenvalues=eigenvalues,
    )
    return {"name": item.human_readable_category_name}


def get(paths: list, project_files: list) -> dict:
    """Returns the status of each path of the web application over project files."""
    workspace = model.Workspace()
    for path in project_files:
        workspace.add_project(path)
    client = Server(workspace).app.test_client()
    return {"status": [client.get(path).status_code for path in paths]}


if __name__ == "__main__":
    commands = (version, open_project, sample, attribution, analysis, get)
    line_server.serve({command.__name__: command for command in commands})
