"""All methods by all samples in one picture: `--checkpoint=X` and images in, a grid of maps and the cost of each out.

A method is explained a batch at a time and kept when it is whole, so that a run that was killed goes on with the next.
"""

import dataclasses
import time

import jax
import numpy as np

from common import app, config, mesh
from common.models import zoo
from kernels.attribution.report import EXPLODED, constant_maps
from projects.attribution import batches, explain, inputs, methods, pictures
from projects.attribution.settings import ImagesConfig

SHOWN = (
    "input_times_gradient", "smoothgrad", "integrated_gradients", "guided_backprop", "deconvnet", "lrp.epsilon",
    "lrp.z_plus", "lrp.alpha_2_beta_1", "lrp.sequential_preset_a_flat", "epsilon_plus_flat", "epsilon_gamma_box",
    "excitation_backprop",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(ImagesConfig):
    """One network, some images, many methods."""

    count: int | None = config.field(10, "images to explain (none: 100 of a data set, all that are named)", minimum=1)
    methods: tuple[str, ...] = config.field(SHOWN, "columns of the picture", choices=methods.NAMES)
    batch_size: int = config.field(10, "images at a time; decides the memory", minimum=1)
    cmap: str = config.field("coldnhot", "colour map of the pictures: a name or a text such as 00f,80:fff,f00")
    level: float = config.field(1.0, "contrast of the pictures", exclusive_minimum=0.0)

    def __post_init__(self):
        super().__post_init__()
        pictures.check_colormap(self.cmap)
        if not self.methods or len(set(self.methods)) != len(self.methods):
            raise ValueError(f"--methods={','.join(self.methods)}: expected at least one, each once")


def main(settings: CompareConfig, run: app.Run) -> dict:
    """Explains every image by every method; returns what goes to `result.json`."""
    network, samples = explain.opened(settings, run)
    sharding = mesh.data_sharding(local=True)
    params = mesh.on_every_device(network.params, sharding)
    x = samples.inputs(network, np.arange(samples.count))
    explain.check_inputs(x, samples.index)
    target = targets(settings, samples, network, params, sharding)
    rows, maps, refused = {}, {}, {}
    paths = {name: run.checkpoints / f"method_{name}.npz" for name in settings.methods}
    finished = sum(path.is_file() for path in paths.values())
    with run.progress(len(paths), "methods", finished) as progress:
        for name, path in paths.items():
            if not path.is_file():
                try:
                    batches.save(path, **explained(name, settings, network, params, x, target, sharding))
                except methods.RefusedError as error:
                    refused[name] = str(error)
                    run.log(f"left out, {error}")
                    continue
                finally:
                    progress.update(1)
            piece = batches.load(path)
            maps[name] = piece["relevance"]
            rows[name] = facts(piece, samples.count)
    if not rows:
        raise methods.RefusedError(next(iter(refused.values())))
    run.table("methods", *table(rows), "What each method costs, and how much of the explained outputs its maps hold")
    picture = pictures.draw_grid(run, "methods", samples, network, x, target, maps, settings)
    doubtful = [name for name, row in rows.items() if why(name, row)]
    reasons = [why(name, rows[name]) for name in doubtful] + [f"left out, {text}" for text in refused.values()]
    status = {"status": {"level": "doubtful", "reasons": reasons}}
    return {
        "network": network.name, "dataset": network.data.name, "images": samples.count, "methods": rows,
        "picture": str(picture), **(status if reasons else {}),
    }  # fmt: skip


def targets(settings, samples: inputs.Samples, network: zoo.Network, params, sharding) -> np.ndarray:
    """Returns the class of each sample that is explained, int32 `[samples]`."""
    parts = []
    for start in range(0, samples.count, settings.batch_size):
        number = np.arange(start, min(start + settings.batch_size, samples.count))
        labels = None if samples.labels is None else samples.labels[number]
        split = mesh.split_rows(samples.inputs(network, number), sharding)
        parts.append(explain.target_of(settings.target, labels, network, params, split)[: len(number)])
    return np.concatenate(parts)


def explained(name: str, settings, network: zoo.Network, params, x: np.ndarray, target: np.ndarray, sharding) -> dict:
    """Returns the maps of one method, the explained outputs, and seconds: of the first batch, and of the others."""
    method = methods.explainer(name, network, draws=settings.draws, window=settings.window, stride=settings.stride)
    outputs, relevance, seconds = [], [], []
    for start in range(0, len(x), settings.batch_size):
        number = np.arange(start, min(start + settings.batch_size, len(x)))
        split = mesh.split_rows((x[number], target[number], number), sharding)
        began = time.perf_counter()
        y, maps = jax.block_until_ready(method(params, split[0], split[1], explain.keys_of(settings.seed, split[2])))
        seconds.append(time.perf_counter() - began)
        outputs.append(np.asarray(y)[: len(number)])
        relevance.append(np.asarray(maps)[: len(number)])
    y = np.concatenate(outputs)
    return {
        "relevance": np.concatenate(relevance), "seconds": np.asarray(seconds),
        "explained": np.take_along_axis(y, target[:, None], -1)[:, 0],
    }  # fmt: skip


def facts(piece: dict[str, np.ndarray], count: int) -> dict:
    """Returns what is said of a method in the table."""
    finite = np.isfinite(piece["relevance"]).reshape(count, -1).all(axis=1)
    sums = piece["relevance"].reshape(count, -1).astype(np.float64).sum(-1)
    warm = piece["seconds"][1:] if len(piece["seconds"]) > 1 else piece["seconds"][:0]
    first, *_ = piece["seconds"]
    return {
        "seconds": float(piece["seconds"].sum()), "first_batch_s": float(first),
        "seconds_an_image": float(warm.sum() / max(1, count - count // len(piece["seconds"]))) if warm.size else None,
        "median_sum_over_output": float(np.median(sums / piece["explained"])) if finite.all() else None,
        "constant_maps": int(np.sum(constant_maps(piece["relevance"]))), "not_finite": int(np.sum(~finite)),
    }  # fmt: skip


def why(name: str, row: dict) -> str:
    """Says what is wrong with the maps of a method; nothing where nothing is."""
    parts = [f"{row['not_finite']} maps are not finite"] if row["not_finite"] else []
    parts += [f"{row['constant_maps']} maps are constant"] if row["constant_maps"] else []
    if name not in methods.GRADIENTS and abs(row["median_sum_over_output"] or 0) > EXPLODED:
        parts.append(f"relevance grows on its way to {row['median_sum_over_output']:.1g} times the output")
    return f"{name}: {' and '.join(parts)}" if parts else ""


def table(rows: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows, a method each."""
    columns = ["method", "seconds", "of it the first batch", "sum over output", "constant maps"]
    return columns, [
        [
            name, f"{row['seconds']:.1f}", f"{row['first_batch_s']:.1f}",
            "" if row["median_sum_over_output"] is None else f"{row['median_sum_over_output']:.3g}",
            str(row["constant_maps"]),
        ]
        for name, row in rows.items()
    ]  # fmt: skip


if __name__ == "__main__":
    app.run(main, CompareConfig)
