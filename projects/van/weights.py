"""Parameters of a network, the kernel's nested dictionary of arrays: fresh ones, and those that a training has left."""

import pathlib

import jax
import jax.numpy as jnp

from common import weight_files
from common.runs.run_directory import Run
from kernels import autoregressive
from kernels.autoregressive.networks import check_parameters

FILE = "model.safetensors"  # in the run directory of a training
WIDER_FILE = "wider_{}.safetensors"  # the networks of a defended training, beside it


def fresh(network: autoregressive.Network, seed: int) -> dict:
    """Returns the parameters of an untrained network."""
    return autoregressive.init(network, jax.random.fold_in(jax.random.key(seed), 0))


def path_of(source: str | pathlib.Path) -> pathlib.Path:
    """Returns the weight file of a run directory, or the file itself."""
    path = pathlib.Path(source)
    return path / FILE if path.is_dir() else path


def load(
    network: autoregressive.Network, source: str | pathlib.Path, flag: str = "checkpoint", run: Run | None = None
) -> dict:
    """Returns the parameters in a run directory or weight file, every name and shape checked; an input of the run.

    Raises:
      FileNotFoundError: there is none.
      ValueError: they do not fit the network (PixelCNN's fit any lattice, MADE's only their own); the flag is named.
    """
    if run is not None:
        run.inputs(path_of(source))
    parameters = weight_files.load_tree(path_of(source))
    try:
        check_parameters(parameters, network)
    except ValueError as error:
        raise ValueError(f"--{flag}={source}: {error}") from None
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), parameters)
