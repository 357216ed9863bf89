"""What is to be compressed: the tensors of a checkpoint, with the steps and importances that files say of them."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from common import app, weight_files
from common.models import batch_norm, training_state, zoo
from kernels import entropy_coding
from kernels.entropy_coding import layer_steps
from projects.deepcabac.config import CompressConfig

TREE_BYTES = 1 << 16  # of the place of a tensor in a tree, at most


@dataclasses.dataclass(frozen=True)
class Network:
    """What is to be compressed.

    Attributes:
      tree: nested dict of arrays.
      layer_steps: name -> step of that tensor when `Rule.step` is 1, of any float tensor; empty: one step for all.
      importance: name -> weights of the squared errors, in the unit of the weights; empty: 1.
      scan, jobs, quantizer: options of the coder.
      implementation: of rate-distortion decisions, see `entropy_coding.compress_many`.
      exact: names of tensors that are stored to the bit, if at all, whatever they hold: the state of an optimiser.
    """

    tree: dict
    layer_steps: Mapping[str, float] = dataclasses.field(default_factory=dict)
    importance: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    scan: int = 0
    jobs: int | None = None
    quantizer: str | None = None
    implementation: str | None = None
    exact: frozenset[str] = frozenset()

    @property
    def flat(self) -> dict[str, np.ndarray]:
        """Name -> tensor."""
        return weight_files.flatten(self.tree)

    @property
    def limits(self) -> dict:
        """Options of a decoder of its file: more than it decodes to, with integers for every weight."""
        tensors = self.flat.values()
        size = sum(max(tensor.nbytes, 4 * tensor.size) + TREE_BYTES for tensor in tensors) + TREE_BYTES
        return {"max_output_bytes": size, "jobs": self.jobs}

    def decode(self, data: bytes) -> dict:
        """Returns the tree of a file of this network."""
        return entropy_coding.decompress(data, **self.limits)


def load_network(settings: CompressConfig, run: app.Run) -> tuple[dict, Network]:
    """Returns the tensors of a checkpoint as they are and what is to be compressed of them; notes the files in the run.

    The first are those of the network alone: the state of an optimiser beside them is left out or stored exactly.

    Raises:
      ValueError: the checkpoint holds no tensors, or what a file says does not fit them.
    """
    importance = importance_file(settings)
    run.inputs(*([importance] if importance else []), checkpoint_file(settings.checkpoint))
    everything = read_weights(settings.checkpoint)
    optimizer = training_state.names(everything)
    original = training_state.without(everything, optimizer)
    if not weight_files.flatten(original):
        raise ValueError(f"{settings.checkpoint} holds no tensors: there is nothing to compress")
    is_stored = settings.training_state == "exact"
    if optimizer:
        more = f" and {len(optimizer) - 1} more" if len(optimizer) > 1 else ""
        what = "stored exactly" if is_stored else "left out (--training_state=exact keeps them)"
        run.log(f"the optimiser's state is {what}: {optimizer[0]}{more}")
    network = with_importance(settings, everything if is_stored else original, importance)
    return original, dataclasses.replace(network, exact=frozenset(optimizer))


def checkpoint_file(checkpoint: str) -> pathlib.Path:
    """Returns where the weights of `--checkpoint` lie."""
    return zoo.published_file(checkpoint) if checkpoint in zoo.PUBLISHED else pathlib.Path(checkpoint)


def read_weights(checkpoint: str) -> dict:
    """Returns the tree of `--checkpoint`, published weights under our names."""
    if checkpoint in zoo.PUBLISHED:
        return zoo.open_network(checkpoint).params
    return weight_files.load_tree(checkpoint)


def importance_file(settings: CompressConfig) -> pathlib.Path | None:
    """Returns the file of importances: that of the flag, or the run's own for DC-v1."""
    if settings.importance:
        return pathlib.Path(settings.importance)
    if settings.search != "dc_v1":
        return None
    if settings.importance_is != "sigma":
        raise ValueError(f"--importance_is={settings.importance_is} needs a file: give --importance")
    beside = pathlib.Path(settings.checkpoint) / "sigma.safetensors"
    if not beside.is_file():
        raise ValueError(
            "--search=dc_v1 needs posterior standard deviations: give --importance, or a run directory with "
            f"sigma.safetensors, which train --method=sparse_vd writes ({beside} is not there)"
        )
    return beside


def with_importance(settings: CompressConfig, tree: dict, importance: pathlib.Path | None) -> Network:
    """Returns a tree with the steps and importances that follow from a file, as the settings mean it."""
    if settings.fold_batch_norm is not None:
        tree = batch_norm.fold_statistics(tree, settings.fold_batch_norm)
    options = {name: getattr(settings, name) for name in ("scan", "jobs", "quantizer", "implementation")}
    network = Network(tree, **options)
    if importance is None:
        return network
    values = weight_files.flatten(weight_files.load_tree(importance))
    check_names(network.flat, values, str(importance))
    if settings.importance_is == "layers":
        return dataclasses.replace(network, layer_steps=layer_steps.equal_price(network.flat, values))
    if settings.importance_is == "weights":
        weights = {name: np.asarray(array, np.float64) for name, array in values.items()}
        return dataclasses.replace(network, importance=weights)
    steps = layer_steps.dc_v1(network.flat, values) if settings.search == "dc_v1" else {}
    return dataclasses.replace(network, layer_steps=steps, importance=layer_steps.inverse_variance(values))


def check_names(tensors: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], source: str) -> None:
    """Raises ValueError unless every name of `values` is a tensor of the checkpoint, of the same shape."""
    for name, array in values.items():
        if name not in tensors:
            raise ValueError(
                f"{source} holds {name!r}, which is no tensor of the checkpoint ({', '.join(list(tensors)[:4])} ...)"
            )
        shape, own = list(np.shape(array)), list(tensors[name].shape)
        if shape != own:
            raise ValueError(f"{source}: {name!r} has shape {shape}, in the checkpoint it is {own}")
