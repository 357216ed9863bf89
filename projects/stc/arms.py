"""What is compared: methods (arms) in environments of clients; an arm in an environment is a piece with all its seeds.

The base environment is the paper's: 100 clients, 10 of them a round, batches of 20, equal sizes. Others differ from it
in one number each.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from common.study.pieces import Piece
from projects.stc.config import SimulateConfig, iterations_of

ARMS: Mapping[str, Mapping[str, Any]] = {
    "fed_sgd": {"method": "fed_sgd"},
    "stc25": {"method": "stc", "p": 0.04},
    "stc100": {"method": "stc", "p": 0.01},
    "stc400": {"method": "stc", "p": 0.0025},
    "top_k100": {"method": "top_k", "p": 0.01},
    "fed_avg25": {"method": "fed_avg", "local_steps": 25},
    "fed_avg100": {"method": "fed_avg", "local_steps": 100},
    "fed_avg400": {"method": "fed_avg", "local_steps": 400},
    "sign_sgd": {"method": "sign_sgd"},
}
LEAD = "stc100"  # what the others are compared with
FOUR = ("stc100", "fed_sgd", "fed_avg100", "sign_sgd")
NON_IID, SMALL_BATCHES, FEW = "non-iid data", "small batches", "many clients, few a round"  # where the paper sees gains
IID = "iid data, medium batches"


@dataclasses.dataclass(frozen=True)
class Environment:
    """Attributes: name, of its pieces; title; changes, of the study's settings; arms, in the order in which they run;
    claim, which one of the paper it is about, or nothing."""

    name: str
    title: str
    changes: Mapping[str, Any]
    arms: tuple[str, ...] = tuple(ARMS)
    claim: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """Environments of one task.

    Attributes:
      title: as the page has it.
      settings: that all pieces have in common.
      environments: in order of importance.
      seeds: how many at most.
      near: how far STC may stay below FedSGD, a share.
      ahead: how far it has to be ahead of FedAvg-100 in the base environments of few classes, a share; None: no bar.
      changes: of arms in this study, by arm.
    """

    title: str
    settings: SimulateConfig
    environments: tuple[Environment, ...]
    seeds: int
    near: float = 0.03
    ahead: float | None = None
    changes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def pieces(self, seeds: Sequence[int], runs: str) -> dict[tuple[str, str], Piece]:
        """Returns the simulations by (environment, arm), all seeds of an arm in one.

        Args:
          seeds: of the study; the first `self.seeds` of them are taken.
          runs: folder of the run directories.
        """
        return {
            (place.name, arm): self._piece(place, arm, tuple(seeds)[: self.seeds], runs)
            for place in self.environments
            for arm in place.arms
        }

    def _piece(self, place: Environment, arm: str, seeds: tuple[int, ...], runs: str) -> Piece:
        changes = dict(ARMS[arm]) | dict(self.changes.get(arm, {})) | dict(place.changes)
        settings = dataclasses.replace(self.settings, **changes, seeds=seeds)
        gradients = iterations_of(settings) * settings.per_round * settings.batch_size * len(seeds)
        return Piece(f"{settings.task}_{place.name}_{arm}", "stc.simulate", settings, runs=runs, cost=gradients)


def _classes_text(classes: int) -> str:
    return "all classes a client" if classes == 10 else f"{classes} {'class' if classes == 1 else 'classes'} a client"


def base(classes: int, arms: tuple[str, ...] = tuple(ARMS)) -> Environment:
    """Returns the base environment with so many classes a client."""
    claim = IID if classes == 10 else NON_IID
    return Environment(f"classes{classes}", _classes_text(classes), {"classes_per_client": classes}, arms, claim)


def axis(flag: str, value: float, classes: int, title: str, arms: tuple[str, ...], claim: str = "") -> Environment:
    """Returns the base environment with another value of one flag."""
    return Environment(
        f"classes{classes}_{flag}{value:g}", f"{_classes_text(classes)}, {title}",
        {"classes_per_client": classes, flag: value}, arms, claim,
    )  # fmt: skip


FIVE = ("stc100", "fed_sgd", "fed_avg25", "fed_avg100", "sign_sgd")
AXES = (  # flag, value, in words, claim; all pieces together are an hour of a core
    ("batch_size", 1, "batches of 1", SMALL_BATCHES),
    ("batch_size", 100, "batches of 100", ""),
    ("per_round", 2, "2 clients a round", FEW),
    ("per_round", 20, "20 clients a round", ""),
    ("gamma", 0.9, "gamma 0.9", ""),
    ("clients", 400, "400 clients", FEW),
)
MNIST = Study(
    "Logistic regression, MNIST",
    SimulateConfig(task="mnist", iterations=2000),
    (
        *(base(classes) for classes in (2, 10, 1)),
        *(axis(flag, value, classes, title, FIVE, claim) for classes in (2, 10) for flag, value, title, claim in AXES),
    ),
    seeds=5,
    near=0.01,
    ahead=0.05,
)


def _two_splits(title: str, changes: Mapping[str, Any], seeds: int) -> Study:
    """Returns four methods where clients hold two classes, and all of them."""
    return Study(title, SimulateConfig(**changes), (base(2, FOUR), base(10, FOUR)), seeds)


SMALL = Study(  # shows it all in a minute
    "Logistic regression, scikit-learn's digits",
    SimulateConfig(task="small", iterations=100, clients=20, per_round=5, batch_size=8, every=25, target=0.8),
    (base(2, ("stc100", "fed_sgd", "fed_avg100", "sign_sgd")), base(10, ("stc100", "fed_avg100"))),
    seeds=2,
    changes={"stc100": {"p": 0.1}, "fed_avg100": {"local_steps": 25}, "sign_sgd": {"step": 0.01}},
)
STUDIES = {
    "mnist": MNIST,
    "digits_cnn": _two_splits("CNN, spoken digits", {"task": "digits_cnn", "iterations": 1000, "target": 0.8}, 3),
    "digits_lstm": _two_splits("LSTM, spoken digits", {"task": "digits_lstm", "iterations": 1000, "target": 0.8}, 3),
    "cifar10": Study(
        "VGG11*, CIFAR-10 (JPEG)",
        SimulateConfig(task="cifar10", iterations=1000, every=50, save_every=1, target=0.3),
        (base(2, FOUR[:3]),),
        seeds=1,
    ),
}
