"""Simulates one method in one environment of clients, seed after seed: accuracy over rounds and over megabytes.

Every seed has its own split, first weights, participants and batches. A run that is killed goes on from its last
checkpoint to the same numbers; seeds that have finished stand in `pieces/`.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from common import app, files, weight_files
from common.federated import clients, splits
from common.federated import simulate as federated
from common.federated.methods import Method
from common.study import parts, statistics
from common.training import supervised
from projects.stc import measures
from projects.stc.config import SimulateConfig, method_of, rounds_of, training_of
from projects.stc.tasks import TASKS


def main(settings: SimulateConfig, run: app.Run) -> dict:
    """Runs the simulations, draws what came out and returns what goes to `result.json`."""
    task, method = TASKS[settings.task], method_of(settings)
    train, test = task.load()
    model = task.model()
    seeds = {}
    with _watch(run, settings, f"{settings.task}, {method.name}") as watched:
        for place, seed in enumerate(settings.seeds):
            stage = parts.stage(run, f"seed{seed}")

            def simulate(place=place, seed=seed, stage=stage) -> dict:
                split = split_of(settings, train["y"], seed)
                return one_seed(settings, model, method, train, test, split, seed, stage, watched(place, stage))

            seeds[seed] = parts.part(run, f"seed{seed}", simulate)
            if run.is_main:
                files.remove(stage.path / "checkpoints")
            for line in doubts(seeds[seed]):
                run.log(f"seed {seed}: {line}")
    result = {
        "task": task.title,
        "method": method.name,
        "local_steps": method.local_steps,
        "rounds": rounds_of(settings),
        "iterations": rounds_of(settings) * method.local_steps,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))),
        "training_samples": len(train["y"]),
        "test_samples": len(test["y"]),
        "clients": settings.clients,
        "target": settings.target,
        **over_seeds(list(seeds.values()), settings.target, settings.clients),
        "seeds": {str(seed): one for seed, one in seeds.items()},
    }
    if run.is_main:
        _report(
            run, settings, result, splits.class_counts(split_of(settings, train["y"], settings.seeds[0]), train["y"])
        )
    return result


def split_of(settings: SimulateConfig, labels: np.ndarray, seed: int) -> splits.Split:
    """Returns which samples each client holds."""
    if settings.dirichlet is not None:
        return splits.split_dirichlet(labels, settings.clients, settings.dirichlet, gamma=settings.gamma, seed=seed)
    classes = 10 if settings.classes_per_client is None else settings.classes_per_client
    return splits.split_by_class(labels, settings.clients, classes, gamma=settings.gamma, seed=seed)


def one_seed(
    settings: SimulateConfig,
    model: federated.Model,
    method: Method,
    train: Any,
    test: Any,
    split: splits.Split,
    seed: int,
    stage: app.Run,
    on_point: Callable[[federated.Point], None],
) -> dict:
    """Returns what a simulation has come to; leaves the server's weights in the stage's folder."""
    result = federated.simulate(
        model, clients.from_split(train, split), method, rounds_of(settings), jax.random.key(seed),
        training_of(settings), test=test, per_client=True, checkpoints=stage.checkpoints, on_point=on_point,
        log=stage.log,
    )  # fmt: skip
    if stage.is_main:
        weight_files.save_tree(stage.path / "model.safetensors", result.params)
    of_clients = np.asarray(result.per_client.accuracy).tolist()
    curve, bits = measures.curve_columns(result.curve), measures.bits_by_part(result.curve[-1])
    return {
        "accuracy": curve["accuracy"][-1],
        "crossing": measures.crossing(curve, settings.target, settings.clients),
        "megabytes": {name: measures.megabytes(count["total"], settings.clients) for name, count in bits.items()},
        "bits": bits,
        "split": {
            "smallest_client": int(split.sizes.min()),
            "largest_client": int(split.sizes.max()),
            "unused_samples": len(split.remainder),
            "shortfall": split.shortfall,
        },
        "per_client": {"accuracy": of_clients, "spread": measures.spread(of_clients)},
        "in_no_round_after_the_first": sum(last == 0 for last in result.ledger.last_sync),
        "curve": curve,
    }


def doubts(one: dict) -> list[str]:
    """Returns what was not as the settings say, in words."""
    split = one["split"]
    unused = f"{split['unused_samples']} samples are with no client" if split["unused_samples"] else ""
    return [line for line in (split["shortfall"], unused) if line]


def over_seeds(seeds: list[dict], target: float, clients: int) -> dict:
    """Returns the numbers of all seeds together; those of the crossing only where every seed has one."""
    crossings = [measures.crossing(one["curve"], target, clients) for one in seeds]
    reached = [one for one in crossings if one is not None]
    names = ("iterations", "megabytes_up", "megabytes_down")
    return {
        "accuracy": statistics.over_seeds([one["accuracy"] for one in seeds])._asdict(),
        "megabytes": {
            name: statistics.over_seeds([one["megabytes"][name] for one in seeds])._asdict()
            for name in measures.DIRECTIONS
        },
        "crossing": {"reached": len(reached), "of": len(seeds)}
        | (
            {name: statistics.over_seeds([one[name] for one in reached])._asdict() for name in names}
            if len(reached) == len(seeds)
            else {}
        ),
        "bits_over_reference": {
            name: sum(one["bits"][name]["total"] for one in seeds)
            / sum(one["bits"][name]["reference"] for one in seeds)
            for name in measures.DIRECTIONS
        },
    }


@contextlib.contextmanager
def _watch(run: app.Run, settings: SimulateConfig, title: str) -> Iterator[Callable]:
    """Yields (place of a seed, its stage) -> what is called with every point: progress, metrics, the end on SIGTERM."""
    rounds, every, bar = rounds_of(settings), training_of(settings).every, None
    with supervised.Termination(alone=True) as termination, contextlib.ExitStack() as contexts:

        def watched(place: int, stage: app.Run) -> Callable[[federated.Point], None]:
            def on_point(point: federated.Point) -> None:
                nonlocal bar
                done = place * rounds + point.rounds
                if bar is None:  # what a killed run had done is no part of the rate
                    before = done - (point.rounds % every or every)
                    bar = contexts.enter_context(run.progress(rounds * len(settings.seeds), title, before))
                bar.update(done - bar.done, accuracy=point.accuracy)
                stage.metrics.write(
                    point.rounds, accuracy=point.accuracy, loss=point.loss, bits_up=point.bits_up,
                    bits_down=point.bits_down,
                )  # fmt: skip
                is_written = point.rounds == rounds or point.rounds // every % settings.save_every == 0
                if termination.after(done) and is_written:
                    raise app.Preempted(f"SIGTERM: checkpoint written after {done} rounds of {title}")

            return on_point

        yield watched


def _report(run: app.Run, settings: SimulateConfig, result: dict, counts: np.ndarray) -> None:
    """Leaves tables, the mean curve and pictures in the run directory."""
    from projects.stc import plots  # matplotlib takes seconds to import

    rows = [
        [f"seed {seed}", one["accuracy"], *_crossing_cells(one["crossing"]), *one["megabytes"].values(),
         "; ".join(doubts(one))]
        for seed, one in result["seeds"].items()
    ]  # fmt: skip
    target = f"{100 * settings.target:g} %"
    run.table(
        "seeds",
        [
            "seed",
            "test accuracy",
            f"iterations to {target}",
            "MB up to it",
            "MB down to it",
            "MB up",
            "MB down",
            "notes",
        ],
        rows,
        "Accuracy at the end, and what an average client has sent and received",
        f"The crossing of {target} is the first of the curve's points, one every {settings.every} iterations.",
    )
    first = next(iter(result["seeds"].values()))["bits"]
    run.table(
        "bits",
        ["direction", *measures.PARTS, "total", "published code's count"],
        [
            [name, *(bits[part] for part in measures.PARTS), bits["total"], bits["reference"]]
            for name, bits in first.items()
        ],
        "Bits of all clients together, first seed",
    )
    spreads = {seed: one["per_client"]["spread"] for seed, one in result["seeds"].items() if "per_client" in one}
    if spreads:  # a seed that an older version has finished has none
        run.table(
            "clients",
            ["seed", *(name.replace("_", " ") for name in next(iter(spreads.values())))],
            [[f"seed {seed}", *spread.values()] for seed, spread in spreads.items()],
            "Accuracy of the last weights on each client's own training samples, over clients",
        )
    columns = [one["curve"] for one in result["seeds"].values()]
    for place, iteration in enumerate(columns[0]["iterations"]):
        means = {name: float(np.mean([one[name][place] for one in columns])) for name in ("accuracy", "loss")}
        run.metrics.write(iteration, **means)
    plots.draw_run(run, settings, result, counts)


def _crossing_cells(crossing: dict | None) -> list:
    return ["never", None, None] if crossing is None else [
        crossing[name] for name in ("iterations", "megabytes_up", "megabytes_down")
    ]  # fmt: skip


if __name__ == "__main__":
    app.run(main, SimulateConfig)
