"""Explains a trained network: `--checkpoint=X` and images in, heatmaps out, as PNG, NumPy and HDF5 for ViRelAy.

Images are those of the network's data set, picture files, or an .npy array. Samples are explained a batch at a time and
each batch is kept, so that a run that was killed goes on where it was.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, explorer_files, mesh
from common.models import zoo
from projects.attribution import batches, inputs, methods, pictures
from projects.attribution.settings import ImagesConfig

FORMATS = ("png", "npy", "hdf5")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainConfig(ImagesConfig):
    """One network, one method, many images."""

    method: str = config.field("epsilon_plus_flat", "how", choices=methods.NAMES)
    zero_bias: bool = config.field(False, "biases count as zero inside the rules and keep no relevance (composites)")
    batch_size: int = config.field(32, "images at a time; decides the memory", minimum=1)
    output: str | None = config.field(None, "folder for the heatmaps (none: in the run directory)")
    formats: tuple[str, ...] = config.field(FORMATS, "what is written", choices=FORMATS)
    cmap: str = config.field("coldnhot", "colour map of the pictures: a name or a text such as 00f,80:fff,f00")
    level: float = config.field(1.0, "contrast of the pictures", exclusive_minimum=0.0)
    pictures: int = config.field(64, "most PNG files that are written", minimum=0)

    def __post_init__(self):
        super().__post_init__()
        pictures.check_colormap(self.cmap)


def main(settings: ExplainConfig, run: app.Run) -> dict:
    """Explains every image and returns what goes to `result.json`."""
    network, samples = opened(settings, run)
    paths = explain_all(settings, run, network, samples)
    output = pathlib.Path(settings.output) if settings.output else run.path / "heatmaps"
    outputs = write(settings, output, paths, samples, network)
    facts = batches.summarise(paths, samples.labels is not None)
    pictures.draw(run, settings, paths, samples, network)
    if settings.output:
        run.outputs(*outputs)
    return {
        "network": network.name, "dataset": network.data.name, "method": settings.method, "images": samples.count,
        **facts, **doubts(settings.method, facts["constant_maps"], samples.count),
        "written": [str(path) for path in outputs[:8]],
    }  # fmt: skip


def opened(settings: ImagesConfig, run: app.Run) -> tuple[zoo.Network, inputs.Samples]:
    """Returns the network and the images that the flags name."""
    if settings.checkpoint not in zoo.PUBLISHED:
        run.inputs(settings.checkpoint)
    network = zoo.open_network(
        settings.checkpoint, model=settings.model, width=settings.width, dataset=settings.dataset
    )
    return network, inputs.gather(settings.images, settings.first, settings.count, network.data, settings.target)


def doubts(method: str, constant: int, count: int) -> dict:
    """Returns a status for the result where maps are constant and tell nothing, {} elsewhere."""
    if not constant:
        return {}
    why = "; Flat does that to a dense first layer: take --method=epsilon_plus" if method.endswith("_flat") else ""
    reason = f"{constant} of {count} maps are constant: every input has the same relevance{why}"
    return {"status": {"level": "not usable" if constant == count else "doubtful", "reasons": [reason]}}


def explain_all(settings, run: app.Run, network: zoo.Network, samples: inputs.Samples) -> list[pathlib.Path]:
    """Returns the files of all batches, in order; those of an earlier start are taken as they are."""
    explain = methods.explainer(
        settings.method,
        network,
        draws=settings.draws,
        window=settings.window,
        stride=settings.stride,
        zero_bias=settings.zero_bias,
    )
    starts = range(0, samples.count, settings.batch_size)
    paths = [run.checkpoints / f"piece_{start:08d}.npz" for start in starts]
    missing = [(start, path) for start, path in zip(starts, paths, strict=True) if not path.is_file()]
    sharding = mesh.data_sharding(local=True)
    params = mesh.on_every_device(network.params, sharding)
    with run.progress(len(paths), settings.method, len(paths) - len(missing)) as progress:
        for start, path in missing:
            number = np.arange(start, min(start + settings.batch_size, samples.count))
            x = samples.inputs(network, number)
            check_inputs(x, samples.index[number])
            labels = None if samples.labels is None else samples.labels[number]
            split_x, split_number = mesh.split_rows((x, number), sharding)
            target = target_of(settings.target, labels, network, params, split_x)[: len(number)]
            split_target = mesh.split_rows(target, sharding)
            explanations = explain(params, split_x, split_target, keys_of(settings.seed, split_number))
            y, relevance = (np.asarray(values)[: len(number)] for values in explanations)
            check_finite(relevance, samples.index[number])
            labels = np.argmax(np.asarray(y), -1) if labels is None else labels  # ViRelAy wants one
            batches.save(
                path, x=x, relevance=relevance, prediction=y, target=target, label=labels, index=samples.index[number]
            )
            progress.update(1)
    return paths


def keys_of(seed: int, number: np.ndarray) -> jax.Array:
    """Returns a key for each sample, whatever batch it is in."""
    return jax.vmap(lambda n: jax.random.fold_in(jax.random.key(seed), n))(jnp.asarray(number))


def check_inputs(x: np.ndarray, index: np.ndarray) -> None:
    """Raises ValueError for inputs with NaN or infinite values: rules that do not look at them would hide it."""
    bad = ~np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(x)} inputs have NaN or infinite values, image {index[bad][0]} first: mend them."
        )


def check_finite(relevance, index: np.ndarray) -> None:
    """Raises ValueError for a map with NaN or infinite values; compiled calls do not look themselves."""
    bad = ~np.isfinite(np.asarray(relevance)).reshape(len(index), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"the maps of {int(bad.sum())} of {len(index)} images are not finite, image {index[bad][0]} first: "
            "the network's weights, or its outputs for these images, are not."
        )


def target_of(target: str, labels: np.ndarray | None, network: zoo.Network, params, x) -> np.ndarray:
    """Returns one class for each sample, int32 `[batch]`."""
    if target == "label":
        return labels.astype(np.int32)
    if target == "prediction":
        return np.argmax(np.asarray(predict(network.fn, params, x)), axis=-1).astype(np.int32)
    if int(target) >= len(network.classes):
        raise ValueError(f"--target={target}: {network.name} has classes 0 to {len(network.classes) - 1}")
    return np.full(len(x), int(target), np.int32)


_predict = jax.jit(lambda fn, params, x: fn(params, x), static_argnums=0)


def predict(fn, params, x):
    """Returns the outputs, compiled once for each network."""
    return _predict(fn, params, x)


def write(settings, output: pathlib.Path, paths, samples: inputs.Samples, network) -> list[pathlib.Path]:
    """Writes what was asked for; returns the files."""
    output.mkdir(parents=True, exist_ok=True)
    outputs = []
    if "hdf5" in settings.formats:
        about = {"network": network.name, "method": settings.method, "target": settings.target}
        about |= {} if samples.labels is not None else {"labels": "there are none: the predicted classes"}
        path = output / "attribution.h5"
        explorer_files.write_attribution_pieces(path, batches.numbered(paths), samples.count, **about)
        outputs.append(path)
        if samples.images is not None:
            outputs.append(output / "dataset.h5")
            labels = batches.column(paths, "label")
            explorer_files.write_dataset(outputs[-1], samples.images, labels, name=network.data.name)
    if "npy" in settings.formats:
        outputs.append(output / "relevance.npy")
        batches.write_relevance(outputs[-1], paths, samples.count)
    if "png" in settings.formats and settings.pictures:
        outputs += pictures.save_heatmaps(output, paths, settings)
    return outputs


if __name__ == "__main__":
    app.run(main, ExplainConfig)
