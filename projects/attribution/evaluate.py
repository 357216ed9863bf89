"""Which explanation is right: perturbation curves and sanity checks of methods on a trained network.

Regions of each image are perturbed in the order of their relevance (MoRF), in its opposite (LeRF) and in random orders;
what counts is how fast the score of the explained class falls (Samek et al., arXiv:1509.06321). Then the layers are
randomised from the top down: maps that stay as they were do not explain them (Adebayo et al., arXiv:1810.03292). A
method is a file that is whole or absent, so that a run that was killed goes on with the next.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from common import app, config, files
from common.models import zoo
from kernels.attribution import evaluation
from projects.attribution import explain, methods, pictures
from projects.attribution.settings import ImagesConfig

RANDOM = "random"  # the row of random orders
SHOWN = (
    "gradient", "input_times_gradient", "smoothgrad", "integrated_gradients", "guided_backprop", "deconvnet",
    "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box", "lrp.z_plus",
    "lrp.sequential_preset_a_flat",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ImagesConfig):
    """One network, some images, many methods, one way to perturb."""

    methods: tuple[str, ...] = config.field(SHOWN, "rows of the table", choices=methods.NAMES)
    region: int = config.field(4, "side of a region, pixels", minimum=1)
    regions_per_step: int = config.field(1, "regions more at each point of a curve", minimum=1)
    perturbation: str = config.field(
        "uniform", "what stands in a region then", choices=("zeros", "mean", "gaussian", "uniform", "blur", "donor")
    )
    score: str = config.field("probability", "of the explained class", choices=("logit", "probability"))
    seeds: int = config.field(5, "random orders", minimum=5)
    checked: int = config.field(20, "images of which maps are compared when layers are randomised", minimum=2)
    batch_size: int = config.field(50, "images at a time; decides the memory", minimum=1)


def main(settings: EvaluateConfig, run: app.Run) -> dict:
    """Measures every method; returns what goes to `result.json`."""
    network, samples = explain.opened(settings, run)
    measure = Measure(settings, network, samples, jax.device_put(network.params))
    random = curves_of_random(measure)
    results, refused, curves = {}, [], {RANDOM: {"morf": random.mean(0).mean(0)}}
    finished = [(run.checkpoints / f"{name}.json").is_file() for name in settings.methods]
    with run.progress(len(finished), "methods", sum(finished)) as progress:
        for name, done in zip(settings.methods, finished, strict=True):
            path = run.checkpoints / f"{name}.json"
            if not done:
                try:
                    files.write_json(path, one_method(name, measure, random))
                except methods.RefusedError as error:
                    refused.append(f"left out, {error}")
                    run.log(refused[-1])
                    continue
                finally:
                    progress.update(1)
            results[name] = files.read_json(path)
            curves[name] = {order: np.asarray(results[name]["curve"][order]) for order in ("morf", "lerf")}
    if not results:
        raise methods.RefusedError(refused[0])
    run.table("evaluation", *table(results), f"{samples.count} images; score: {settings.score} of the explained class")
    perturbed = np.asarray(measure.perturbed) / measure.perturbed[-1]
    pictures.draw_curves(run, curves, perturbed, settings.score)
    pictures.draw_randomization(run, {name: one["randomization"] for name, one in results.items()})
    doubtful = [f"{name}: {one['doubtful']} maps say nothing" for name, one in results.items() if one["doubtful"]]
    doubtful += refused
    status = {"status": {"level": "doubtful", "reasons": doubtful}} if doubtful else {}
    return {
        "network": network.name, "dataset": network.data.name, "images": samples.count,
        "perturbation": settings.perturbation, "region": settings.region, "score": settings.score,
        "random": interval(evaluation.mean_interval(measure.aopc_of(random))), "methods": results, **status,
    }  # fmt: skip


@dataclasses.dataclass
class Measure:
    """What all methods are measured with."""

    settings: EvaluateConfig
    network: zoo.Network
    samples: object
    params: object

    def __post_init__(self):
        self.x = self.samples.inputs(self.network, np.arange(self.samples.count))
        explain.check_inputs(self.x, self.samples.index)
        labels = self.samples.labels
        chunks = [
            explain.target_of(
                self.settings.target, None if labels is None else labels[part], self.network, self.params, self.x[part]
            )
            for part in self.parts()
        ]
        self.target = np.concatenate(chunks)
        self.perturbed = None

    def parts(self) -> list[slice]:
        """Returns the samples, a batch at a time."""
        size = self.settings.batch_size
        return [slice(start, min(start + size, self.samples.count)) for start in range(0, self.samples.count, size)]

    def keys(self, salt: int) -> jax.Array:
        """Returns a key for each sample; another one for another `salt`."""
        keys = explain.keys_of(self.settings.seed, np.arange(self.samples.count))
        return jax.vmap(lambda key: jax.random.fold_in(key, salt))(keys)

    def curve(self, relevance: np.ndarray | None, order: str, salt: int = 0) -> evaluation.Curve:
        """Returns the scores of all samples, `[samples, points]`; what is drawn depends on the sample and the salt."""
        settings, network = self.settings, self.network
        curve = evaluation.pixel_flipping(
            network.fn, self.params, self.x, relevance, target=self.target, order=order,
            regions=(settings.region,) * 2, axes=(1, 2), perturbation=settings.perturbation,
            value_range=(np.asarray(network.low), np.asarray(network.high)),
            regions_per_step=settings.regions_per_step, score=settings.score, key=self.keys(salt),
            batch_size=settings.batch_size,
        )  # fmt: skip
        self.perturbed = np.asarray(curve.perturbed).tolist()
        return curve

    @staticmethod
    def aopc_of(random: np.ndarray) -> np.ndarray:
        """Returns the mean over seeds of the area over random curves, `[samples]`."""
        return (random[..., :1] - random).mean(-1).mean(0)


def curves_of_random(measure: Measure) -> np.ndarray:
    """Returns the scores of random orders, `[seeds, samples, points]`."""
    return np.stack([
        np.asarray(measure.curve(None, "random", 1 + seed).scores) for seed in range(measure.settings.seeds)
    ])  # fmt: skip


def one_method(name: str, measure: Measure, random: np.ndarray) -> dict:
    """Returns what is measured of one method."""
    settings, network = measure.settings, measure.network
    method = methods.explainer(name, network, draws=settings.draws, window=settings.window, stride=settings.stride)

    def maps(params, number):
        keys = explain.keys_of(settings.seed, number)
        return np.asarray(method(params, measure.x[number], measure.target[number], keys)[1])

    numbers = np.arange(measure.samples.count)
    relevance = np.concatenate([maps(measure.params, numbers[part]) for part in measure.parts()])
    explain.check_finite(relevance, measure.samples.index)
    morf, lerf = (measure.curve(relevance, order) for order in ("morf", "lerf"))
    aopc = np.asarray(evaluation.aopc(morf))
    own, by_chance = evaluation.mean_interval(aopc), evaluation.mean_interval(measure.aopc_of(random))
    difference = evaluation.paired_interval(aopc, measure.aopc_of(random))
    return {
        "aopc": interval(own), "beyond_random": interval(difference), "apart": bool(own.is_apart(by_chance)),
        "between": interval(evaluation.mean_interval(evaluation.area_between(lerf, morf))),
        "gini": interval(evaluation.mean_interval(evaluation.gini(jnp.abs(relevance)))),
        "curve": {"morf": np.asarray(morf.scores).mean(0).tolist(), "lerf": np.asarray(lerf.scores).mean(0).tolist()},
        "randomization": randomization(measure, maps), "doubtful": int(morf.doubtful),
    }  # fmt: skip


def randomization(measure: Measure, maps) -> dict:
    """Returns rank correlations of maps before and after layers are randomised from the top, by layer."""
    count = min(measure.settings.checked, measure.samples.count)
    numbers = np.arange(count)
    names = evaluation.layers_from_top(measure.network.fn, measure.params, measure.x[:1])
    check = evaluation.randomization_check(
        lambda params, x: maps(params, numbers), measure.params, measure.x[:count], names,
        jax.random.key(measure.settings.seed),
    )  # fmt: skip
    return {
        layer: interval(evaluation.mean_interval(row)) for layer, row in zip(names, check.rank_correlation, strict=True)
    }


def interval(estimate: evaluation.Estimate) -> dict:
    """Returns a mean with its 95 % interval as JSON holds it."""
    return {name: float(getattr(estimate, name)) for name in ("mean", "low", "high")}


def text(one: dict) -> str:
    """Returns "0.41 [0.38, 0.44]"."""
    return f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def beside_random(one: dict) -> str:
    """Returns "better" or "worse" by the interval of the paired difference, and whether both intervals are apart."""
    low, high = one["beyond_random"]["low"], one["beyond_random"]["high"]
    verdict = "better" if low > 0 else "worse" if high < 0 else "not told apart"
    return f"{verdict}, intervals apart" if one["apart"] else verdict


def table(results: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows, a method each, the best first."""
    columns = [
        "method", "AOPC", "beyond random orders", "than random", "between LeRF and MoRF",
        "rank correlation, top layer randomised", "all layers", "Gini",
    ]  # fmt: skip
    rows = []
    for name, one in sorted(results.items(), key=lambda item: -item[1]["aopc"]["mean"]):
        layers = list(one["randomization"].values())
        rows.append([
            name, text(one["aopc"]), text(one["beyond_random"]), beside_random(one), text(one["between"]),
            text(layers[0]), text(layers[-1]), f"{one['gini']['mean']:.2f}",
        ])  # fmt: skip
    return columns, rows


if __name__ == "__main__":
    app.run(main, EvaluateConfig)
