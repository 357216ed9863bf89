"""Processors and pipelines of CoRelAy's as values, and how data run through them; `corelay_names` builds them."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from projects.spray.pipelines import cache, checks, corelay_own, digests, versions
from projects.spray.pipelines.corelay_tables import FUNCTIONS, LEGACY

SEMANTICS = ("paper", "corelay")


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Processor:
    """A processor of CoRelAy's, or the class above those of one's own, which have a `function(self, data)`.

    Attributes:
      name: the peer's.
      parameters: all of them, by the peer's names.
      is_output: whether a pipeline returns what it gives.
      is_checkpoint: whether `from_checkpoint` may start with what it gave.
      io: a folder of our cache, or None. A dendrogram is drawn each time.
    """

    name: str
    parameters: Mapping[str, Any]
    is_output: bool = False
    is_checkpoint: bool = False
    io: Any = None

    def __init_subclass__(cls, **options: Any):
        """Reads the parameters that a class of one's own declares; see `corelay_own`."""
        super().__init_subclass__(**options)
        cls.declared = corelay_own.declared(cls)

    def __init__(
        self, *arguments: Any, is_output: bool = False, is_checkpoint: bool = False, io: Any = None, **parameters: Any
    ):
        """Of a class of one's own, with its parameters; `processor` makes CoRelAy's."""
        owner = type(self)
        if not callable(getattr(owner, "function", None)):
            raise TypeError(f"{owner.__qualname__} has no function(self, data): write a class below it that has one")
        values = corelay_own.bound(owner.__qualname__, owner.declared, arguments, parameters)
        _fill(self, owner.__qualname__, values, is_output, is_checkpoint, io)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __call__(self, data: Any, semantics: str = "paper") -> Any:
        """Returns what it gives for data."""
        checks.one_of("semantics", semantics, SEMANTICS)
        if self.io is None or _writes(self):
            return _call(self, data, semantics)
        about = {"processor": digests.digest(self.identity()), "semantics": semantics}
        meta = cache.describe(self.name, versions.of_pipelines(), about, [data])
        return cache.remember(self.io, meta, lambda: _call(self, data, semantics))

    def identity(self) -> tuple:
        """Returns what its result hangs on: names and all parameters, of children too."""
        if type(self) is Processor:
            return self.name, {key: _identity(value) for key, value in self.parameters.items()}
        values = {key: _identity(getattr(self, key)) for key in self.parameters}  # which may have been set since
        return self.name, values, digests.function_version(type(self).function)


def processor(name: str, parameters: Mapping[str, Any], *flags: Any) -> Processor:
    """Returns a processor of CoRelAy's; flags are is_output, is_checkpoint, io."""
    return _fill(object.__new__(Processor), name, parameters, *flags)


def _fill(made: Processor, *values: Any) -> Processor:
    for field, value in zip(dataclasses.fields(Processor), values, strict=True):
        object.__setattr__(made, field.name, value)
    return made


@dataclasses.dataclass(frozen=True, eq=False)
class Pipeline:
    """Processors in a row, by the names of their tasks."""

    tasks: Mapping[str, Processor]
    semantics: str = "paper"

    def __call__(self, data: Any) -> Any:
        """Returns the output, a tuple of several, or without outputs what the last task gives."""
        return self.outputs(self.outcomes(data))

    def outcomes(self, data: Any) -> dict[str, Any]:
        """Returns what every task gives, by name."""
        return self._run(data, list(self.tasks))

    def outputs(self, outcomes: Mapping[str, Any]) -> Any:
        """Returns those outcomes that a call returns."""
        values = [outcomes[name] for name, processor in self.tasks.items() if processor.is_output]
        if not values:
            return outcomes[list(self.tasks)[-1]]
        return values[0] if len(values) == 1 else tuple(values)

    def from_checkpoint(self, outcomes: Mapping[str, Any]) -> Any:
        """Returns what the last task gives, from the outcome of the last checkpoint on.

        Raises:
          ValueError: no task is a checkpoint. KeyError: its outcome is not there.
        """
        names = list(self.tasks)
        marks = [number for number, name in enumerate(names) if self.tasks[name].is_checkpoint]
        if not marks:
            raise ValueError("no task is a checkpoint: give one is_checkpoint=True")
        name = names[marks[-1]]
        if name not in outcomes:
            raise KeyError(f"outcomes have no {name!r}, the checkpoint: expected what `outcomes` returns")
        rest = names[marks[-1] + 1 :]
        return self._run(outcomes[name], rest)[rest[-1]] if rest else outcomes[name]

    def _run(self, data: Any, names: Sequence[str]) -> dict[str, Any]:
        results = {}
        for name in names:
            data = results[name] = self.tasks[name](data, self.semantics)
        return results


def _identity(value: Any) -> Any:
    if isinstance(value, Processor):
        return value.identity()
    if isinstance(value, (list, tuple)):
        return tuple(_identity(item) for item in value)
    return value


def _writes(processor: Processor) -> bool:
    """Returns whether a processor, or a child, leaves a file: it then runs each time."""
    return processor.name == "Dendrogram" or any(map(_writes, processor.parameters.get("children", ())))


def _call(processor: Processor, data: Any, semantics: str) -> Any:
    if type(processor) is not Processor:
        return processor.function(data)
    parameters = dict(processor.parameters)
    if processor.name in FLOW:
        return FLOW[processor.name](data, semantics, **parameters)
    functions = FUNCTIONS | (LEGACY if semantics == "corelay" else {})
    return functions[processor.name](data, **parameters)


def _function(data: Any, _: str, processing_function: Callable, bind_method: bool) -> Any:
    return processing_function(None, data) if bind_method else processing_function(data)


def _shaper(data: Any, _: str, indices: tuple) -> tuple:
    values = data if isinstance(data, (Sequence, Mapping)) else (data,)

    def pick(numbers):
        try:
            return tuple(pick(i) if isinstance(i, Sequence) and not isinstance(i, str) else values[i] for i in numbers)
        except (IndexError, KeyError) as error:
            raise TypeError(f"indices={indices}: data of {len(values)} elements has no {error}") from error

    return pick(indices)


def _parallel(data: Any, semantics: str, children: tuple, broadcast: bool) -> tuple:
    elements = (data,) * len(children) if broadcast or not isinstance(data, Iterable) else tuple(data)
    if len(elements) != len(children):
        raise TypeError(f"{len(elements)} elements for {len(children)} children: expected as many, or broadcast=True")
    return tuple(child(element, semantics) for child, element in zip(children, elements, strict=True))


def _sequential(data: Any, semantics: str, children: tuple) -> Any:
    return functools.reduce(lambda value, child: child(value, semantics), children, data)


FLOW = {"FunctionProcessor": _function, "Shaper": _shaper, "Parallel": _parallel, "Sequential": _sequential}
