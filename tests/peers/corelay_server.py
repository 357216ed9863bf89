"""CoRelAy on request, under its own Python: .venv-peers/spray/bin/python tests/peers/corelay_server.py

A processor is {"name", "parameters", "children"}; data come as .npy and results go back as .npz, nested tuples by names
such as "0/1". The processors that its published example adds (sums of channels, norms, similarities) are written here.
"""

import importlib.metadata
import warnings

import h5py
import line_server
import numpy as np
import scipy.sparse
from corelay.io.storage import HashedHDF5, HDF5Storage
from corelay.pipeline.spectral import SpectralClustering, SpectralEmbedding
from corelay.processor import affinity, clustering, distance, embedding, flow, laplacian, preprocessing
from corelay.processor.base import FunctionProcessor
from scipy.spatial.distance import pdist, squareform
from skimage.metrics import structural_similarity

MODULES = (affinity, clustering, distance, embedding, flow, laplacian, preprocessing)
POOLS = {"sum": np.sum, "max": np.max, "mean": np.mean}


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("corelay", "numpy", "scipy", "scikit-learn")}


def process(processor: dict, x: str, answer: str) -> dict:
    """Writes what a processor gives for the array of `x` to the .npz `answer`; dense where it is sparse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(answer, make(processor)(load(x)))
    return {}


def cluster(tasks: dict, x: str, answer: str, pipeline: str = "SpectralClustering") -> dict:
    """Writes what a standard pipeline with these tasks gives."""
    kind = {"SpectralClustering": SpectralClustering, "SpectralEmbedding": SpectralEmbedding}[pipeline]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(answer, kind(**{name: make(task) for name, task in tasks.items()})(load(x)))
    return {}


def cache(processors: list, x: str, path: str) -> dict:
    """Runs processors one after the other with a HashedHDF5 in the file `path`."""
    data = load(x)
    with h5py.File(path, "w") as file:
        for processor in processors:
            data = make(processor, io=HashedHDF5(file.require_group("cache")))(data)
    return {}


def store(path: str, x: str) -> dict:
    """Writes the array, a tuple, a mapping and a text to an HDF5Storage."""
    data = load(x)
    with HDF5Storage(path, mode="w") as storage:
        storage["array"] = data
        storage["tuple"] = tuple(data[: i + 1] for i in range(12))
        storage["mapping"] = {"first": data[0], "number": 3}
        storage["text"] = "name"
    return {}


def load(path: str):
    """Returns an array, or the only one of an .npz as a sparse matrix."""
    content = np.load(path, allow_pickle=False)
    return scipy.sparse.csr_matrix(content["sparse"]) if hasattr(content, "files") else content


def write(path: str, value) -> None:
    """Writes nested tuples of arrays."""
    arrays: dict[str, np.ndarray] = {}
    collect("", value, arrays)
    np.savez(path, **arrays)


def collect(prefix: str, value, arrays: dict) -> None:
    """Puts arrays under their places."""
    if isinstance(value, (tuple, list)):
        for number, item in enumerate(value):
            collect(f"{prefix}/{number}" if prefix else str(number), item, arrays)
    else:
        arrays[prefix or "0"] = value.toarray() if scipy.sparse.issparse(value) else np.asarray(value)


def make(processor: dict, **more):
    """Returns a processor from its description."""
    name, parameters = processor["name"], dict(processor.get("parameters", {}))
    if name in EXAMPLE:
        return FunctionProcessor(
            lambda data: EXAMPLE[name](data, **parameters), is_output=parameters.pop("is_output", False)
        )
    if "children" in processor:
        parameters["children"] = [make(child) for child in processor["children"]]
    for key in ("index", "stride", "indices"):
        if key in parameters:
            parameters[key] = tuple(slice(*i) if isinstance(i, list) and key == "index" else i for i in parameters[key])
    if "pooling_function" in parameters:
        parameters["pooling_function"] = POOLS[parameters["pooling_function"]]
    (kind,) = {getattr(module, name) for module in MODULES if hasattr(module, name)}
    return kind(**parameters, **more)


def similarity(data: np.ndarray, measure) -> np.ndarray:
    """A similarity of pairs of maps in the place of a distance, as the published variants have it."""
    rows = data.reshape(len(data), -1)
    shape = data.shape[1:]
    return squareform(pdist(rows, lambda a, b: measure(a.reshape(shape), b.reshape(shape))))


EXAMPLE = {
    "Absolute": np.abs, "SumChannel": lambda data: data.sum(1), "Flatten": lambda data: data.reshape(len(data), -1),
    "Normalize": lambda data, axes=(1, 2): data / data.sum(tuple(axes), keepdims=True),
    "SSIM": lambda data, data_range=2.0: similarity(
        data, lambda a, b: structural_similarity(a, b, data_range=data_range)
    ),
    "PCC": lambda data: similarity(data, lambda a, b: np.corrcoef(a, b)[0, 1]),
}  # fmt: skip


if __name__ == "__main__":
    commands = (version, process, cluster, cache, store)
    line_server.serve({command.__name__: command for command in commands})
