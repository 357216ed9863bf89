"""Compresses a trained network into one file: `--checkpoint=X --output=model.dcb` and one way to choose its quality.

--step or --qp fix it; --target_bytes asks for the best quality in so many bytes, --target_snr for the smallest file of
such a quality; --search=dc_v1 or dc_v2 for the smallest file whose accuracy, on images kept apart, stays within
--tolerance. The file is decoded again and compared before it gets its name.
"""

import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from common import app, config, files, weight_files
from common.training import checkpoint
from kernels import entropy_coding
from projects.deepcabac import config as train_config
from projects.deepcabac import evaluation, outcomes, parts, quantization, targets
from projects.deepcabac.outcomes import Outcome
from projects.deepcabac.quantization import Network, Rule
from projects.deepcabac.search import STEP_OCTAVES, Candidate, Search

WAYS = ("step", "qp", "target_bytes", "target_snr", "search")
BALANCE = math.log(2) / 6  # -dD/dR of a uniform quantiser at high rate, in squared steps a bit
SMALL_BY_DEFAULT = 1 / 64  # small_relative_step with a target: about 47 dB, hardly seen in the outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """One compression. Steps are in the unit of the weights."""

    checkpoint: str = config.field(
        help="weights: a run directory of train, an Orbax directory, a .safetensors or .npz file"
    )
    output: str = config.field(help="the file to write, such as model.dcb")

    step: float | None = config.field(None, "quantisation step of tensors with two or more axes", exclusive_minimum=0.0)
    qp: int | None = config.field(None, "the same as an NNC quantisation parameter: -32 is 2^-8, four more double it")
    target_bytes: int | None = config.field(None, "best quality that fits into so many bytes", minimum=1)
    target_snr: float | None = config.field(None, "smallest file with this signal-to-noise ratio of the weights, dB")
    search: str | None = config.field(
        None,
        "smallest file within --tolerance and --caution: dc_v1 takes steps and importances from posterior deviations, "
        "dc_v2 one step",
        choices=("dc_v1", "dc_v2"),
    )

    small_step: float | None = config.field(
        None,
        "step of floats with fewer than two axes (biases, scales, statistics); none: lossless",
        exclusive_minimum=0.0,
    )
    small_qp: int | None = config.field(None, "the same as an NNC quantisation parameter")
    small_relative_step: float | None = config.field(
        None, "the same as a share of each tensor's root mean square; 1/64 with a target, searched for with --search",
        exclusive_minimum=0.0,
    )  # fmt: skip
    rate_weight: float | None = config.field(
        None, "price of a bit in squared steps: 0 rounds to nearest; --search chooses it (none: 0, but with "
        "--quantizer=rdo 0.1155, the balance of a uniform quantiser; 0.32 is that of the trellis)", minimum=0.0,
    )  # fmt: skip
    quantizer: str | None = config.field(
        None, "uniform: nearest level; rdo: greedy rate-distortion decision; trellis: dependent quantisation on a grid "
        "of --step, half the distance of levels (none: uniform, or rdo where --rate_weight is above 0)",
        choices=("uniform", "rdo", "trellis"),
    )  # fmt: skip
    importance: str | None = config.field(
        None,
        "weights of the squared errors, by tensor: a file as for --checkpoint (dc_v1: the run's sigma.safetensors)",
    )
    importance_is: str = config.field(
        "sigma", "sigma: posterior deviations, 1/sigma^2 weighs; weights: the weights themselves; layers: only means "
        "over tensors count, and give each its own step (for the output of sensitivity)",
        choices=("sigma", "weights", "layers"),
    )  # fmt: skip
    fold_batch_norm: float | None = config.field(
        None, "fold running statistics into scale and bias; the value is the network's epsilon (evaluation only)",
        exclusive_minimum=0.0,
    )  # fmt: skip
    training_state: str = config.field(
        "leave_out", "states of an optimiser beside the weights of a checkpoint: left out, or stored exactly",
        choices=("leave_out", "exact"),
    )  # fmt: skip
    scan: int = config.field(0, "order of coding: 0 rows, 1 to 4 blocks of 8, 16, 32, 64", choices=(0, 1, 2, 3, 4))
    jobs: int | None = config.field(None, "threads (none: one a core)", minimum=1, identity=False)

    model: str | None = config.field(
        None,
        "network, to measure accuracy (none: the run directory's)",
        choices=(*train_config.MODELS, "efficientnet_lite0"),
    )
    dataset: str | None = config.field(
        None, "images to measure accuracy on (none: the run directory's)",
        choices=("mnist", "fashion_mnist", "cifar10", "digits", "imagenet_samples"),
    )  # fmt: skip
    width: float | None = config.field(
        None, "factor on channels (none: the run directory's, or 1)", exclusive_minimum=0.0
    )
    tolerance: float = config.field(
        0.005, "with --search: accuracy that may be lost on the images kept apart, as a share", minimum=0.0, maximum=1.0
    )
    caution: float = config.field(
        0.0,
        "with --search: standard errors of the loss (paired by image) that are added to it; above 0, the luck of the "
        "best among many candidates is discounted too",
        minimum=0.0,
    )
    views: int = config.field(
        1, "with --search on imagenet_samples: judge on so many views, moved and mirrored, of each photograph",
        minimum=1, maximum=len(evaluation.VIEWS),
    )  # fmt: skip
    candidates_at_once: int = config.field(
        1, "with --search: candidates evaluated in one call, over the devices that there are", minimum=1
    )
    step_octaves: tuple[float, float] | None = config.field(
        None, "with --search: log2 of the finest and coarsest step of the first grid, over the root mean square of the "
        "nonzero weights (dc_v2: -4,1) or over the layer's Delta at S = 0 (dc_v1: -1,4)",
    )  # fmt: skip
    rate_weights: tuple[float, ...] = config.field(
        (0.0, 0.01, 0.03, 0.1, 0.3), "with --search: rate weights of the first grid", minimum=0.0
    )

    def __post_init__(self):
        given = [way for way in WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            ways = ", ".join(f"--{way}" for way in WAYS)
            raise ValueError(f"give one of {ways}" + (f", not {' and '.join(given)}" if given else ""))
        small = [name for name in ("small_step", "small_qp", "small_relative_step") if getattr(self, name) is not None]
        if len(small) > 1 or (small and self.search):
            raise ValueError(
                "--search chooses small steps itself" if self.search else f"give one of {', '.join(small)}"
            )
        if self.search and self.rate_weight:
            raise ValueError("--search chooses the rate weight itself: give --rate_weights for its grid")
        if self.quantizer == "uniform" and self.rate_weight:
            raise ValueError(f"--quantizer=uniform knows no price of a bit, --rate_weight={self.rate_weight}: take rdo")
        if self.search and self.quantizer == "uniform" and any(self.rate_weights):
            raise ValueError("--quantizer=uniform knows no price of a bit: give --rate_weights=0 for the search")
        if not self.search and self.importance and not self.price and self.importance_is != "layers":
            raise ValueError("--importance weighs errors against bits: it needs a --rate_weight above 0")

    @property
    def price(self) -> float:
        """The rate weight that the flags ask for."""
        if self.rate_weight is None:
            return BALANCE if self.quantizer == "rdo" else 0.0
        return self.rate_weight


def main(config: CompressConfig, run: app.Run) -> dict:
    """Compresses, verifies, writes the file and plots; returns what goes to `result.json`."""
    output = pathlib.Path(config.output)
    if output.is_dir():
        raise ValueError(f"--output={output} is a directory; give the name of a file")
    importance = importance_path(config)
    run.inputs(config.checkpoint, *([importance] if importance else []))
    whole = checkpoint.load_tree(config.checkpoint)
    training = parts.of_training(whole)
    original = parts.without(whole, training)
    if not weight_files.flatten(original):
        raise ValueError(f"{config.checkpoint} holds no tensors: there is nothing to compress")
    stored = whole if config.training_state == "exact" else original
    network = make_network(config, stored, importance)
    network = dataclasses.replace(network, exact=frozenset(training if stored is whole else ()))
    if training:
        names = f"{training[0]} and {len(training) - 1} more" if len(training) > 1 else training[0]
        what = "stored exactly" if stored is whole else "left out (--training_state=exact keeps them)"
        run.log(f"the optimiser's state is {what}: {names}")
    judge = make_evaluator(config)
    if judge is not None:
        judge.check(original)
        if judge.data.notice:
            run.log(judge.data.notice)
    outcome = compress(config, network, judge, run)
    result = outcomes.describe(config, stored, network, outcome, judge)
    if training:
        result["training_state"] = {"tensors": len(training), "is": config.training_state}
    if zeroed := result.get("zeroed"):
        names = ", ".join(zeroed[:4]) + (f" and {len(zeroed) - 4} more" if len(zeroed) > 4 else "")
        run.log(f"warning: nothing but zeros is left of {names}: their values lie far below the step")
    for name, reason in result.get("stored_exactly", {}).items():
        run.log(f"{name} is stored to the bit: {reason}")
    outcomes.draw(config, run, original, network, outcome)
    files.write_atomically(output, outcome.data)
    run.outputs(output)
    return {"output": str(output)} | result


def compress(config: CompressConfig, network: Network, judge: evaluation.Evaluator | None, run: app.Run) -> Outcome:
    """Returns the verified file that the config asks for."""
    small = config.small_relative_step
    if (
        small is None
        and (config.target_bytes or config.target_snr is not None)
        and config.small_step is None
        and config.small_qp is None
    ):
        small = SMALL_BY_DEFAULT
    small_step = entropy_coding.qp_to_step(config.small_qp) if config.small_qp is not None else config.small_step
    rule = Rule(1.0, config.price, small_step, small)
    search = None
    if config.search:
        search = make_search(config, network, judge, run)
        rule = smallest(config, search).rule
        data = None
    elif config.target_bytes is not None:
        data, rule = targets.fit_bytes(network, rule, config.target_bytes, run.log)
    elif config.target_snr is not None:
        data, rule = targets.reach_snr(network, rule, config.target_snr, run.log)
    else:
        step = config.step if config.step is not None else entropy_coding.qp_to_step(config.qp)
        rule = dataclasses.replace(rule, step=step)
        data = None
    written = quantization.encode(network, rule, check=True)
    if data is not None and written != data:
        raise RuntimeError("the same network and steps gave two files: this is a defect, please report it")
    return Outcome(written, rule, quantization.verify(network, rule, written), search)


def make_search(config: CompressConfig, network: Network, judge: evaluation.Evaluator | None, run: app.Run) -> Search:
    """Returns the search of a config, with what an earlier start of the run has found."""
    if judge is None:
        raise ValueError("--search measures accuracy: give --model and --dataset, or a run directory of train")
    return Search(
        network,
        lambda trees: judge.correct_many(trees, "validation"),
        run.checkpoints / "candidates.jsonl",
        run,
        f"{config.search} on {len(judge.validation.images) // judge.views} images kept apart",
        judge.views,
        config.candidates_at_once,
    )


def smallest(config: CompressConfig, search: Search) -> Candidate:
    """Returns the smallest candidate within the tolerance of a config, from its grid."""
    octaves = config.step_octaves or STEP_OCTAVES[config.search]
    return search.smallest(config.tolerance, config.caution, octaves, config.rate_weights)


def importance_path(config: CompressConfig) -> pathlib.Path | None:
    """Returns the file of importances: as given, or the run's own for DC-v1."""
    if config.importance:
        return pathlib.Path(config.importance)
    if config.search != "dc_v1":
        return None
    if config.importance_is != "sigma":
        raise ValueError(f"--importance_is={config.importance_is} needs a file: give --importance")
    beside = pathlib.Path(config.checkpoint) / "sigma.safetensors"
    if not beside.is_file():
        raise ValueError(
            "--search=dc_v1 needs posterior standard deviations: give --importance, or a run directory with "
            f"sigma.safetensors, which train --method=sparse_vd writes ({beside} is not there)"
        )
    return beside


def make_network(config: CompressConfig, tree: dict, importance: pathlib.Path | None) -> Network:
    """Returns the tree with the steps and importances that the config takes from files."""
    if config.fold_batch_norm is not None:
        tree = quantization.fold_batch_norm(tree, config.fold_batch_norm)
    options: dict[str, Any] = {"scan": config.scan, "jobs": config.jobs, "quantizer": config.quantizer}
    if importance is not None:
        values = weight_files.flatten(checkpoint.load_tree(importance))
        quantization.check_names(tree, values, str(importance))
        if config.importance_is == "layers":
            options["layer_steps"] = quantization.equal_price_steps(tree, values)
        elif config.importance_is == "sigma":
            options["importance"] = quantization.importance_from_sigma(values)
            if config.search == "dc_v1":
                options["layer_steps"] = quantization.dc_v1_steps(tree, values)
        else:
            options["importance"] = {name: np.asarray(array, np.float64) for name, array in values.items()}
    return Network(tree, **options)


def make_evaluator(config: CompressConfig) -> evaluation.Evaluator | None:
    """Returns the evaluator of the config or of the run directory it names; None where neither says."""
    settings = evaluation.settings_of(pathlib.Path(config.checkpoint))
    settings |= {
        name: getattr(config, name) for name in ("model", "dataset", "width") if getattr(config, name) is not None
    }
    if "model" not in settings or "dataset" not in settings:
        return None
    return evaluation.create(**settings, views=config.views)


if __name__ == "__main__":
    app.run(main, CompressConfig)
