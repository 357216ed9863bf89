"""The version of the code that computes here: of this folder and of the kernels it leans on."""

import functools
import pathlib

import kernels
from projects.spray.pipelines import digests


@functools.cache
def of_pipelines() -> str:
    """Returns a digest of the sources of this folder and of `kernels/spectral`."""
    room = pathlib.Path(kernels.__file__).parent / "spectral"
    return digests.digest((digests.folder_digest(pathlib.Path(__file__).parent), digests.folder_digest(room)))
