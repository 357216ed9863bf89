"""How good the explanations of trained networks are: runs of `evaluate` and `compare` as pieces of the study."""

import pathlib
from collections.abc import Mapping

from common import app
from common.models import zoo
from common.publishing.origin import Results
from common.study import pieces
from common.study.pieces import Piece
from common.training import checkpoint
from projects.attribution import evaluate
from projects.attribution.compare import CompareConfig
from projects.attribution.evaluate import EvaluateConfig

BETTER = ("epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box")  # composites with a bar
SHOWABLE = ("Fashion-MNIST", "digits")  # data sets whose images may be passed on: MIT, and part of scikit-learn
SMALL = {"count": 8, "checked": 2, "region": 7, "batch_size": 8, "methods": ("gradient", "epsilon_plus")}


def pieces_of(settings, run: app.Run) -> list[Piece]:
    """Returns an evaluation for each network; with --scale=small of one that is not trained, in the run directory."""
    if settings.scale == "small":
        return [untrained(run)]
    return [
        Piece(
            pathlib.Path(source).name, "attribution.evaluate",
            EvaluateConfig(checkpoint=source, count=settings.images), runs=settings.runs,
        )
        for source in settings.networks
    ]  # fmt: skip


def grids_of(settings) -> list[Piece]:
    """Returns a grid of all methods by ten images for each network, with --scale=full."""
    return [
        Piece(
            pathlib.Path(source).name, "attribution.compare", CompareConfig(checkpoint=source, target="label"),
            runs=settings.runs,
        )
        for source in (settings.networks if settings.scale == "full" else ())
    ]  # fmt: skip


def untrained(run: app.Run) -> Piece:
    """Returns the evaluation of a small network as it begins."""
    from common import models

    config = zoo.NetworkConfig(model="mnist_cnn", dataset="digits", width=0.25)
    path = run.path / "untrained.npz"
    network = zoo.create_network(config.model, zoo.load_dataset(config.dataset), width=config.width)
    checkpoint.save_tree(path, models.to_tree(network))
    settings = EvaluateConfig(checkpoint=str(path), model=config.model, dataset=config.dataset, width=0.25, **SMALL)
    return Piece("untrained", "attribution.evaluate", settings, runs=str(run.path / "runs"))


def measure(settings, run: app.Run, page, stamp) -> dict[str, dict]:
    """Runs or takes the evaluations, writes tables, publishes; returns their results by network."""
    evaluations = pieces_of(settings, run)
    gathered = pieces.gather(evaluations, run, settings)
    if gathered.is_partial:
        return {}
    results = {}
    for piece in evaluations:
        if piece not in gathered:
            continue
        result = gathered[piece].result
        results[f"quality_{piece.name}"] = result
        run.table(f"quality_{piece.name}", *evaluate.table(result["methods"]), title(result))
        if settings.publish and run.is_main:
            own = result | {"provenance": gathered.provenance(stamp, piece)}
            pictures = {f"_{name}": piece.path / "plots" / f"{name}.png" for name in ("curves", "randomization")}
            page.write(f"quality_{piece.name}", own, pictures)
    return results


def compare(settings, run: app.Run, page, stamp) -> dict[str, dict]:
    """Runs or takes the grids, publishes those of images that may be shown; returns their results by network."""
    grids = grids_of(settings)
    if not grids:
        return {}
    gathered = pieces.gather(grids, run, settings)
    if gathered.is_partial:
        return {}
    results = {}
    for piece in grids:
        if piece not in gathered:
            continue
        name = f"grid_{piece.name}"
        results[name] = {key: value for key, value in gathered[piece].result.items() if key != "picture"}
        if settings.publish and run.is_main and results[name]["dataset"] in SHOWABLE:
            own = results[name] | {"provenance": gathered.provenance(stamp, piece)}
            page.write(name, own, piece.path / "plots" / "methods.png")
    return results


def title(result: Mapping) -> str:
    """Returns what was measured."""
    return (
        f"{result['network']} on {result['dataset']}: {result['images']} test images, regions of {result['region']} x "
        f"{result['region']} pixels replaced ({result['perturbation']}), {result['score']} of the explained class"
    )


def sections(results: Results) -> list:
    """Returns a table for each network, and whether the bar of its composites holds."""
    parts: list = []
    for result in results.values():
        parts += [f"{title(result)}.", evaluate.table(result["methods"]), verdict(result)]
    return parts


def verdict(result: Mapping) -> str:
    """Says which composites are better than random orders with disjoint intervals, and which are not."""
    composites = {name: one for name, one in result["methods"].items() if name in BETTER}
    better = [name for name, one in composites.items() if evaluate.beside_random(one) == "better, intervals apart"]
    worse = [name for name in composites if name not in better]
    random = evaluate.text(result["random"])
    text = f"Random orders have an AOPC of {random}. Better, with 95 % intervals apart: {', '.join(better) or 'none'}"
    return f"{text}; not: {', '.join(worse)}." if worse else f"{text}."
