"""The flags of `simulate`: a task, an environment of clients, a method, and seeds."""

import dataclasses
from typing import Any

from common import config
from common.federated import methods
from common.federated import simulate as federated
from projects.stc.tasks import TASKS

METHODS = {  # -> what makes it, and the flags that it has
    "stc": (methods.stc, ("p", "p_down", "scope", "down", "residuals")),
    "top_k": (methods.top_k, ("p", "p_down", "down", "residuals")),
    "fed_sgd": (methods.fed_sgd, ()),
    "fed_avg": (methods.fed_avg, ("local_steps",)),
    "sign_sgd": (methods.sign_sgd, ("step", "zeros")),
    "tern_grad": (methods.tern_grad, ()),
    "qsgd": (methods.qsgd, ("levels",)),
    "coded": (methods.coded, ("step", "down")),
}
# Where a method has a flag that is not set. The step of a sign is the paper's base environment; that of coded floats
# is a part of what is sent, in the root mean square.
DEFAULTS = {
    "p": 0.01, "p_down": None, "scope": "global", "down": "same", "residuals": True, "local_steps": 100,
    "zeros": "zero", "levels": 15,
}  # fmt: skip
STEPS = {"sign_sgd": 0.0002, "coded": 0.5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """One method in one environment, a simulation a seed."""

    task: str = config.field("mnist", "network and data", choices=tuple(TASKS))
    method: str = config.field("stc", "what is sent", choices=tuple(METHODS))
    p: float | None = config.field(
        None, "of stc, top_k: share of the weights that a client sends (none: 0.01)", exclusive_minimum=0.0, maximum=1.0
    )
    p_down: float | None = config.field(
        None, "of stc, top_k: share that the server sends (none: that of the clients)", exclusive_minimum=0.0,
        maximum=1.0,
    )  # fmt: skip
    scope: str | None = config.field(
        None, "of stc: what p is a share of, all weights or every tensor (none: global)",
        choices=("global", "per_tensor"),
    )  # fmt: skip
    down: str | None = config.field(
        None, "of stc, top_k, coded: what comes down, sent as what goes up or as floats (none: same)",
        choices=("same", "floats"),
    )  # fmt: skip
    residuals: bool | None = config.field(
        None, "of stc, top_k: whether what is not sent waits for the next time (none: true)"
    )  # fmt: skip
    local_steps: int | None = config.field(None, "of fed_avg: steps a client takes in a round (none: 100)", minimum=1)
    step: float | None = config.field(
        None, "of sign_sgd: what a weight moves in a round (none: 0.0002); of coded: step over the root mean square of "
        "what is sent (none: 0.5)",
        exclusive_minimum=0.0,
    )  # fmt: skip
    zeros: str | None = config.field(
        None, "of sign_sgd: what a tie becomes (none: zero)", choices=("zero", "random")
    )  # fmt: skip
    levels: int | None = config.field(None, "of qsgd: steps from 0 to the norm (none: 15)", minimum=1)
    clients: int = config.field(100, "how many there are", minimum=1)
    per_round: int = config.field(10, "clients of a round", minimum=1)
    classes_per_client: int | None = config.field(
        None, "classes that a client holds (none: all 10, unless there is a dirichlet)", minimum=1, maximum=10
    )
    dirichlet: float | None = config.field(
        None, "concentration of the clients' classes, instead of classes_per_client", exclusive_minimum=0.0
    )
    gamma: float = config.field(
        1.0, "balancedness: 1 is clients of equal sizes", exclusive_minimum=0.0, maximum=1.0
    )  # fmt: skip
    batch_size: int = config.field(20, "samples of a local step", minimum=1)
    learning_rate: float | None = config.field(None, "of a local step (none: the task's)", exclusive_minimum=0.0)
    momentum: float | None = config.field(
        None, "of a client (none: the task's)", minimum=0.0, exclusive_maximum=1.0
    )  # fmt: skip
    momentum_state: str = config.field(
        "persist", "whether a client that comes in again has its momentum still", choices=("persist", "reset")
    )
    iterations: int | None = config.field(
        None, "local steps of a client that is in every round; rounds times local steps (none: the task's)", minimum=1
    )
    seeds: tuple[int, ...] = config.field((0,), "of split, first weights, participants and batches", minimum=0)
    target: float = config.field(0.9, "test accuracy whose first crossing is noted", minimum=0.0, maximum=1.0)
    every: int = config.field(100, "iterations between two points of the curve, at least a round", minimum=1)
    cache: int | None = config.field(
        None, "messages that the server keeps for clients that were away (none: all)", minimum=0
    )
    chunk: int | None = config.field(
        None, "clients that train at once: fewer take less memory (none: all)", minimum=1, identity=False
    )
    save_every: int = config.field(5, "points between two checkpoints", minimum=1, identity=False)

    def __post_init__(self):
        if self.per_round > self.clients:
            raise ValueError(f"--per_round={self.per_round}: expected at most {self.clients}, the number of --clients")
        if self.classes_per_client is not None and self.dirichlet is not None:
            raise ValueError(
                f"--dirichlet={self.dirichlet} and --classes_per_client={self.classes_per_client} are two ways to "
                "split: give one of them"
            )
        if self.down == "floats" and self.p_down is not None:
            raise ValueError(f"--p_down={self.p_down} with --down=floats, which sends all weights: give one of them")
        own = METHODS[self.method][1] if self.method in METHODS else DEFAULTS
        for name in (*DEFAULTS, "step"):
            if getattr(self, name) is not None and name not in own:
                owners = ", ".join(method for method, (_, names) in METHODS.items() if name in names)
                raise ValueError(
                    f"--{name}={getattr(self, name)} with --method={self.method}, which has none: it is of {owners}"
                )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"--seeds={','.join(map(str, self.seeds))}: expected at least one, each once")
        if self.task in TASKS and (rest := iterations_of(self) % steps_a_round(self)):
            raise ValueError(
                f"--iterations={iterations_of(self)} with {steps_a_round(self)} local steps a round: {rest} would be "
                "left over; expected a multiple"
            )


def parameter(settings: SimulateConfig, name: str) -> Any:
    """Returns a flag of the method, or its default."""
    value = getattr(settings, name)
    if value is not None:
        return value
    return STEPS[settings.method] if name == "step" else DEFAULTS[name]


def method_of(settings: SimulateConfig) -> methods.Method:
    """Returns the method with its parameters."""
    make, names = METHODS[settings.method]
    return make(**{name: parameter(settings, name) for name in names})


def steps_a_round(settings: SimulateConfig) -> int:
    """Returns the local steps of a round."""
    return parameter(settings, "local_steps") if settings.method == "fed_avg" else 1


def iterations_of(settings: SimulateConfig) -> int:
    """Returns the local steps of all rounds together."""
    return TASKS[settings.task].iterations if settings.iterations is None else settings.iterations


def rounds_of(settings: SimulateConfig) -> int:
    """Returns how many rounds that is."""
    return iterations_of(settings) // steps_a_round(settings)


def training_of(settings: SimulateConfig) -> federated.Settings:
    """Returns how clients train, with what the task says where the flags do not."""
    task = TASKS[settings.task]
    names = ("per_round", "batch_size", "momentum_state", "cache", "chunk", "save_every")
    return federated.Settings(
        **{name: getattr(settings, name) for name in names},
        learning_rate=task.learning_rate if settings.learning_rate is None else settings.learning_rate,
        momentum=task.momentum if settings.momentum is None else settings.momentum,
        every=max(1, settings.every // steps_a_round(settings)),
    )
