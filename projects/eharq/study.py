"""The study: blocks at three ratios of signal to noise and in rare fades, predictors of them, and curves of the code.

--scale=small is a minute on a small code. --scale=full runs what is missing in runs/: sets of blocks (for training,
calibration and test, of other seeds), a training and an evaluation on them, curves. Every piece can be killed and goes
on. --pieces=take takes what is there, --publish puts results into the project's `results/`.
"""

import dataclasses

from common import app, config, publishing
from common.study import pieces
from common.study.pieces import Piece
from projects.eharq.config import BlerConfig, GenerateConfig
from projects.eharq.page import curve_table, page, set_table
from projects.eharq.predict_config import EvaluateConfig, TrainConfig

SPLITS = ("train", "calibrate", "test")  # seeds 0, 1, 2 of each setting
SEEDS = {"train": 1_000, "calibrate": 2_000, "test": 3_000}
RARE = "rare fades"


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large a study is.

    Attributes:
      link: of all blocks and curves, as flags.
      snr_db: E_s/N_0 of the plain sets, whose retransmission meets nearly the same fading.
      blocks: by split, of a plain set.
      rare: flags of the sets in rare fades, whose retransmission meets another fading.
      rare_blocks: by split.
      train, evaluate: flags of the predictors.
      curves: name -> flags of `bler`.
    """

    link: dict
    snr_db: tuple[float, ...]
    blocks: dict[str, int]
    rare: dict
    rare_blocks: dict[str, int]
    train: dict
    evaluate: dict
    curves: dict[str, dict]


SCALES = {
    "small": Scale(
        link={"lifting": 6, "sent": 300, "subcarriers": 30, "spacing": 36e3},
        snr_db=(2.0,),
        blocks={"train": 2048, "calibrate": 2048, "test": 2048},
        rare={"es_n0_db": 12.0, "strata": (0.003, 0.03), "subcodes": (150, 250)},
        rare_blocks={"train": 2048, "calibrate": 2048, "test": 2048},
        train={"kinds": ("threshold", "logistic_regression"), "steps": 100},
        evaluate={"resamples": 100, "queue_blocks": 2000, "loads": (0.5,)},
        curves={"awgn": {"snr_db": (-4.0, -2.0), "errors": 20, "max_blocks": 1024}},
    ),
    "full": Scale(
        link={},
        snr_db=(3.0, 3.5, 4.0),
        blocks={"train": 300_000, "calibrate": 500_000, "test": 1_000_000},
        rare={
            "es_n0_db": 15.0,
            "strata": (0.001, 0.003, 0.01, 0.03, 0.1),
            "strata_shares": (1.0, 1.0, 1.0, 1.0, 1.0, 5.0),
        },
        rare_blocks={"train": 300_000, "calibrate": 1_000_000, "test": 4_000_000},
        train={},
        evaluate={},
        curves={
            "awgn": {"snr_db": (-4.0, -3.75, -3.5, -3.25, -3.0, -2.75, -2.5, -2.25, -2.0)},
            "awgn_sum_product": {
                "snr_db": (-4.5, -4.25, -4.0, -3.75, -3.5, -3.25, -3.0, -2.75, -2.5), "update": "sum_product"
            },
            "tdl_c": {"snr_db": (0.0, 2.0, 4.0, 6.0, 8.0, 10.0), "channel": "C", "iterations": 50},
        },
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(publishing.PageConfig):
    """Which size, and what to do with the pieces."""

    runs: str = config.field(
        "runs", "folder of the runs: finished ones are taken from there, missing ones made there", identity=False
    )
    pieces: str = pieces.field()


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sets of blocks of one link, by split, and what is made of them."""

    name: str
    sets: dict[str, Piece]
    training: Piece
    evaluation: Piece


def settings_of(name: str, runs: str) -> list[Setting]:
    """Returns the links of a scale, each with its pieces."""
    scale, subcodes = SCALES[name], SCALES[name].rare.get("subcodes", (900, 1500))
    links = {f"{snr:g} dB": ({"es_n0_db": snr, "subcodes": subcodes}, scale.blocks) for snr in scale.snr_db}
    links[RARE] = (scale.rare | {"retransmission": "independent"}, scale.rare_blocks)
    return [
        _setting(name, number, title, flags, counts, runs)
        for number, (title, (flags, counts)) in enumerate(links.items())
    ]


def _setting(name: str, number: int, title: str, flags: dict, counts: dict[str, int], runs: str) -> Setting:
    scale, stem = SCALES[name], f"{name}_{title.replace(' ', '_')}"
    sets = {
        split: Piece(
            f"{stem}_{split}",
            "eharq.generate",
            GenerateConfig(**scale.link | flags, blocks=counts[split], seed=SEEDS[split] + number),
            runs=runs,
            cost=counts[split],
        )
        for split in SPLITS
    }
    training = Piece(
        stem, "eharq.train", TrainConfig(data=str(sets["train"].path), **scale.train), (sets["train"],), runs=runs
    )
    evaluation = Piece(
        stem,
        "eharq.evaluate",
        EvaluateConfig(
            predictors=str(training.path), calibrate=str(sets["calibrate"].path), test=str(sets["test"].path),
            **scale.evaluate,
        ),
        (training, sets["calibrate"], sets["test"]),
        runs=runs,
    )  # fmt: skip
    return Setting(title, sets, training, evaluation)


def curves_of(name: str, runs: str) -> dict[str, Piece]:
    """Returns the curves of a scale."""
    scale = SCALES[name]
    return {
        curve: Piece(f"{name}_{curve}", "eharq.bler", BlerConfig(**scale.link | flags), runs=runs)
        for curve, flags in scale.curves.items()
    }


def main(settings: StudyConfig, run: app.Run) -> dict:
    """Runs or takes the pieces, writes tables and pictures, and returns the error rates and what was found."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    stamp = page.stamp() if settings.publish else None
    runs = str(run.path / "runs") if settings.scale == "small" else settings.runs
    links, curves = settings_of(settings.scale, runs), curves_of(settings.scale, runs)
    everything = [piece for link in links for piece in (*link.sets.values(), link.training, link.evaluation)]
    gathered = pieces.gather([*curves.values(), *everything], run, settings)
    if gathered.is_partial:
        return gathered.summary()
    sets = {
        f"{link.name}, {split}": gathered[piece].result | rate_of(gathered[piece].meta)
        for link in links
        for split, piece in link.sets.items()
        if piece in gathered
    }
    points = {name: gathered[piece].result for name, piece in curves.items() if piece in gathered}
    evaluations = {link.name: gathered[link.evaluation] for link in links if link.evaluation in gathered}
    run.table("sets", *set_table(sets), "Sets of blocks")
    for name, result in points.items():
        run.table(f"curve_{name}", *curve_table(result), result["code"])
    if points:
        from projects.eharq import plots  # matplotlib takes seconds to import

        plots.draw_curves(run, "curves", points, "Block error rates with 95 % intervals.")
    if settings.publish and run.is_main:
        publish(run, stamp, gathered, links, curves, sets, points)
    best = {
        f"{name}, {bits} bits": one["best"]
        for name, evaluation in evaluations.items()
        for bits, one in evaluation.result["subcodes"].items()
    }
    return {"sets": sets, "best": best} | gathered.summary()


def rate_of(meta: dict) -> dict:
    """Returns how many blocks a second a set was made at, where its last call made some."""
    return {"blocks_per_second": meta["blocks_per_second"]} if "blocks_per_second" in meta else {}


def publish(run: app.Run, stamp, gathered: pieces.Gathered, links, curves, sets, points) -> None:
    """Puts sets, curves and evaluations into `results/`, each with where it comes from."""
    provenance = gathered.provenance(stamp, *(piece for link in links for piece in link.sets.values()))
    page.write("blocks", {"sets": sets, "provenance": provenance})
    picture = run.plots / "curves.png"
    provenance = gathered.provenance(stamp, *curves.values())
    page.write("curves", {"curves": points, "provenance": provenance}, {"": picture} if picture.is_file() else None)
    for link in links:
        if link.evaluation in gathered:
            finished = gathered[link.evaluation]
            pictures = {f"_{path.stem}": path for path in sorted((finished.path / "plots").glob("*.png"))}
            result = finished.result | {"title": link.name, "provenance": gathered.provenance(stamp, link.evaluation)}
            page.write(f"evaluation_{link.name.replace(' ', '_')}", result, pictures)


if __name__ == "__main__":
    app.run(main, StudyConfig, transient=lambda flags: publishing.only_renders(flags) or pieces.only_looks(flags))
