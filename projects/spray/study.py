"""Are planted artifacts found, and is a network without one left in peace? Networks of several seeds and shares.

Each network is trained with an artifact in a share of one class, explained, analysed and ranked: four pieces, which are
taken where they are there. Shares of 0 are the clean runs: a class that stands out there is a false alarm.
--scale=small takes one small network on scikit-learn's digits. --publish puts results into `results/`.
"""

import dataclasses
import math

import numpy as np

from common import app, config, publishing
from common.study import pieces, statistics
from common.study.pieces import Piece
from projects.spray import analyze, planted, rank, ranking
from projects.spray.analyze import AnalyzeConfig
from projects.spray.explain import ExplainConfig
from projects.spray.page import page, planted_table
from projects.spray.rank import RankConfig
from projects.spray.report import ReportConfig
from projects.spray.train import TrainConfig

STUDIES = {  # data set, class and the network's training
    "digits": TrainConfig(dataset="digits", model="mnist_cnn", width=0.25, epochs=6, batch_size=64, planted_class=8),
    "mnist": TrainConfig(dataset="mnist", planted_class=8, width=0.25, epochs=2),
    "fashion": TrainConfig(dataset="fashion_mnist", planted_class=6, width=0.25, epochs=2),
}

SHOWABLE = ("fashion", "digits")  # whose images may be passed on: MIT, and part of scikit-learn


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(publishing.StudyConfig):
    """Which networks, how many seeds, which shares."""

    studies: tuple[str, ...] = config.field(("fashion", "mnist"), "with --scale=full", choices=tuple(STUDIES))
    shares: tuple[float, ...] = config.field((0.1, 0.2, 0.5), "of the class that carry the artifact")
    clean: int = config.field(20, "runs without an artifact, one a seed", minimum=0)
    method: str = config.field("epsilon_plus", "of explanation")
    per_class: int = config.field(500, "maps of each class", minimum=50)
    pieces: str = pieces.field()


@dataclasses.dataclass(frozen=True)
class Arm:
    """One network from training to ranking."""

    share: float
    seed: int
    train: Piece
    explain: Piece
    analyze: Piece
    rank: Piece
    report: Piece | None = None

    @property
    def all(self) -> tuple[Piece, ...]:
        """Its pieces in order."""
        return tuple(
            piece
            for piece in (self.train, self.explain, self.analyze, self.rank, self.report)
            if isinstance(piece, Piece)
        )


def arms_of(study: str, settings: StudyConfig) -> list[Arm]:
    """Returns the networks of a study: every share with every seed, and the clean runs."""
    small = settings.scale == "small"
    shares = (0.5,) if small else settings.shares
    seeds = tuple(settings.seeds)[:1] if small else tuple(settings.seeds)
    pairs = [(share, seed) for share in shares for seed in seeds]
    pairs += [(0.0, seed) for seed in range(0 if small else settings.clean)]
    return [arm_of(study, settings, share, seed) for share, seed in pairs]


def arm_of(study: str, settings: StudyConfig, share: float, seed: int) -> Arm:
    """Returns the pieces of one network."""
    name = f"{study}_share{share:g}_seed{seed}"
    runs = settings.runs
    training = dataclasses.replace(STUDIES[study], share=share, seed=seed, artifact_seed=seed)
    train = Piece(name, "spray.train", training, runs=runs)
    per_class = 40 if settings.scale == "small" else settings.per_class
    name = f"{name}_{settings.method}_{per_class}"
    explaining = ExplainConfig(checkpoint=str(train.path), method=settings.method, per_class=per_class)
    explain = Piece(name, "spray.explain", explaining, needs=(train,), runs=runs)
    looking = AnalyzeConfig(attribution=str(explain.path / "attribution.h5"), seed=seed)
    look = Piece(name, "spray.analyze", looking, needs=(explain,), runs=runs)
    ranked = Piece(name, "spray.rank", RankConfig(analysis=str(look.path), seed=seed), needs=(look,), runs=runs)
    arm = Arm(share, seed, train, explain, look, ranked)
    if settings.scale == "small" or (share, seed) != (max(settings.shares), settings.seeds[0]):
        return arm
    carrying = str(explain.path / "planted.npy")
    shown = ReportConfig(analysis=str(look.path), ranking=str(ranked.path), planted=carrying, shown_clusters=2)
    return dataclasses.replace(arm, report=Piece(name, "spray.report", shown, needs=(ranked,), runs=runs))


def main(settings: StudyConfig, run: app.Run) -> dict:
    """Runs or takes the pieces; returns what was found by study and share."""
    if settings.render_readme:
        return {"readme_changed": page.render()}
    stamp = page.stamp() if settings.publish else None
    studies = ("digits",) if settings.scale == "small" else settings.studies
    arms = {study: arms_of(study, settings) for study in studies}
    gathered = pieces.gather([piece for row in arms.values() for arm in row for piece in arm.all], run, settings)
    if gathered.is_partial:
        return gathered.summary()
    result = gathered.summary()
    for study, row in arms.items():
        complete = [arm for arm in row if all(piece in gathered for piece in arm.all)]
        if not complete:
            continue
        result[study] = summary(study, complete, gathered, settings)
        run.table(
            study, *planted_table({study: result[study]}), "Planted artifacts: means over seeds with 95 % intervals"
        )
        if settings.publish and run.is_main:
            own = [piece for arm in row for piece in arm.all]
            page.write(
                study, result[study] | {"provenance": gathered.provenance(stamp, *own)}, pictures_of(study, complete)
            )
    return result


def summary(study: str, arms: list[Arm], gathered, settings: StudyConfig) -> dict:
    """Returns means over seeds for every share, and the false alarms of the clean runs."""
    training = STUDIES[study]
    shares = {}
    for share in sorted({arm.share for arm in arms} - {0.0}):
        scores = [score(arm, gathered, training.planted_class) for arm in arms if arm.share == share]
        shares[f"{share:g}"] = {
            name: statistics.over_seeds([one[name] for one in scores])._asdict() for name in scores[0]
        } | {"seeds": len(scores)}
    clean = [gathered[arm.rank].result for arm in arms if arm.share == 0]
    alarms = sum(bool(one["suspicious"]) for one in clean)
    against_null = [sum(row["p_null"] <= ranking.LEVEL for row in one["ranking"].values()) for one in clean]
    first = gathered[arms[0].explain].result
    return {
        "dataset": first["dataset"], "network": first["network"], "width": training.width, "epochs": training.epochs,
        "method": settings.method, "artifact": training.artifact, "artifact_size": training.artifact_size,
        "planted_class": training.planted_class, "maps_per_class": settings.per_class, "shares": shares,
        "clean": {
            "runs": len(clean), "runs_with_an_alarm": alarms,
            "interval": list(statistics.share_interval(alarms, len(clean))) if clean else [0.0, 1.0],
            "classes_beyond_their_null": sum(against_null), "classes": sum(len(one["ranking"]) for one in clean),
        },
    }  # fmt: skip


def score(arm: Arm, gathered, planted_class: int) -> dict[str, float]:
    """Returns how well the carriers of one network were found.

    `suspicious_f1` takes the better side of what the suspicious clusters separate: which side has the artifact,
    somebody has to see.
    """
    trained, ranked = gathered[arm.train].result, gathered[arm.rank].result
    row = ranked["ranking"][str(planted_class)]
    one = analyze.load(rank.classes_of(str(arm.analyze.path))[planted_class])
    carrying = np.load(arm.explain.path / "planted.npy", allow_pickle=False)[one.rows]
    limit = row["limit"] if row["limit"] is not None else math.inf
    flagged = ranking.suspicious(one.strategies.labels, one.strategies.separability, limit)
    order = list(ranked["ranking"])
    sides = max(planted.f1(flagged, carrying), planted.f1(~flagged, carrying))
    best = planted.best_cluster(one.strategies.labels, carrying)
    return {
        "taken_with_artifact": trained["taken_for_planted_class"]["planted"],
        "best_f1": best.f1, "best_auroc": best.auroc, "suspicious_f1": sides if flagged.any() else 0.0,
        "place": 1.0 + order.index(str(planted_class)), "tau": row["tau"], "above_null": row["above_null"],
        "accused": float(planted_class in ranked["suspicious"]),
        "others_accused": float(len(set(ranked["suspicious"]) - {planted_class})),
    }  # fmt: skip


def pictures_of(study: str, arms: list[Arm]) -> dict:
    """Returns the ranking of the network with the largest share, and the planted class in two clusters: points, and
    images where they may be shown."""
    shown = [arm.report.path / "plots" for arm in arms if arm.report is not None]
    if not shown:
        return {}
    number = STUDIES[study].planted_class
    names = {"_ranking": "ranking", "_points": f"class_{number:03d}"}
    names |= {"_clusters": f"clusters_{number:03d}"} if study in SHOWABLE else {}
    return {suffix: shown[0] / f"{name}.png" for suffix, name in names.items()}


if __name__ == "__main__":
    app.run(main, StudyConfig, transient=lambda flags: publishing.only_renders(flags) or pieces.only_looks(flags))
