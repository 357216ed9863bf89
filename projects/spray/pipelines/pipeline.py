"""Pipelines: functions in named slots, in order; branches; outputs by name; a start in the middle.

    pipeline = Pipeline({
        "preprocessing": (step("reduce_channels", how="sum_abs"), step("pool", grid=16), step("normalize")),
        "distance": step("knn", k=10),
        "affinity": step("graph"),
        "laplacian": step("normalized"),
        "embedding": step("spectral", q=32),
        "clustering": {"kmeans": step("spectral_kmeans", k=(2, 3, 4)), "dbscan": step("dbscan", eps=0.3)},
        "views": {"tsne": step("tsne"), "pca": step("pca", source="preprocessing")},
    })
    results = run(pipeline, relevance, intermediates=True)   # results["clustering"]["kmeans_03"], results["embedding"]
    resume_from(pipeline, "clustering", results)             # what comes before is taken from results

A slot holds a step, a tuple of steps (one after the other), or a mapping of children, each a step or tuple, which all
start from the same input. A step takes what the slot before it gives, a clustering what `select` and a view what
`embedding` gives (without these: the preprocessing), unless `source` names another, such as "embedding.spectral" for
one child; several numbers of clusters make several children. All of this is checked where a pipeline is written.
"""

import dataclasses
import inspect
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from projects.spray.pipelines import cache as caches
from projects.spray.pipelines import checks, digests, versions
from projects.spray.pipelines import results as outcomes
from projects.spray.pipelines.operations import KINDS, OPERATIONS, SLOTS, TYPES

INPUT, MADE_BY = "input", "made_by"
SHOWN = ("embedding", "select", "clustering", "views")


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A function in a slot.

    Attributes:
      function: the name of an operation of the slot, or `function(value, **parameters)`.
      parameters: by name; those left out have their defaults.
      source: where its input is: a slot, "slot.child", or "input"; None: the slot before.
      gives: the kind of value that a function of one's own gives; of an operation None.
    """

    function: str | Callable
    parameters: Mapping[str, Any]
    source: str | None = None
    gives: str | None = None


def step(function: str | Callable, *, source: str | None = None, gives: str | None = None, **parameters: Any) -> Step:
    """Returns a step; see `Step`."""
    return Step(function, parameters, source, gives)


Chain = tuple[Step, ...]
Slot = Step | Chain | Mapping[str, Step | Chain]


@dataclasses.dataclass(frozen=True, eq=False)
class Pipeline:
    """Steps by slot, checked.

    Attributes:
      slots: by name, in the order of `SLOTS`; pairs are taken too.
      outputs: the results that `run` returns: slots or "slot.child"; None: embedding, select, clustering and views, as
          far as they are there, else the last slot.
      takes: the kind of the input, "maps" or another.
      branches: the chains of every slot by child, "" where it has only one; made of `slots`.

    Raises (when made):
      KeyError: an unknown slot, function, source or output; the text lists those there are.
      ValueError: a parameter out of range, kinds that do not fit, names that come twice, slots out of order.
      TypeError: a parameter that the function does not have, or needs; a slot that holds something else.
    """

    slots: Mapping[str, Slot] | Sequence[tuple[str, Slot]]
    outputs: tuple[str, ...] | None = None
    takes: str = "maps"
    branches: Mapping[str, Mapping[str, Chain]] = dataclasses.field(init=False, repr=False)

    def __post_init__(self):
        pairs = list(self.slots.items() if isinstance(self.slots, Mapping) else self.slots)
        names = [name for name, _ in pairs]
        if not names:
            raise ValueError("a pipeline without slots: expected one or more")
        for name in names:
            checks.one_of("slot", name, SLOTS, KeyError)
        if len(set(names)) < len(names):
            raise ValueError(f"slots {', '.join(name for name in SLOTS if names.count(name) > 1)} come twice")
        if names != sorted(names, key=SLOTS.index):
            raise ValueError(f"slots {', '.join(names)}: expected the order {', '.join(SLOTS)}")
        checks.one_of("takes", self.takes, KINDS)
        branches = {name: _children(name, slot) for name, slot in pairs}
        object.__setattr__(self, "slots", types.MappingProxyType(dict(pairs)))
        object.__setattr__(self, "branches", types.MappingProxyType(branches))
        kinds = _kinds(branches, self.takes)
        if isinstance(self.outputs, str):
            raise TypeError(f"outputs={self.outputs!r}: expected a tuple of names")
        shown = [name for name in SHOWN if name in branches] or [names[-1]]
        outputs = tuple(shown if self.outputs is None else self.outputs)
        for output in outputs:
            checks.one_of("output", output, tuple(kinds)[1:], KeyError)
        if len(set(outputs)) < len(outputs):
            raise ValueError(f"outputs {', '.join(outputs)}: a name comes twice")
        object.__setattr__(self, "outputs", outputs)


def run(pipeline: Pipeline, data: Any, cache: str | None = None, intermediates: bool = False) -> dict[str, Any]:
    """Returns the outputs of a pipeline by name; a slot with children is a dict of theirs.

    Args:
      pipeline: to run.
      data: its input.
      cache: a folder; results that are there are read, others are computed and written.
      intermediates: whether the results of all slots are returned, by slot, the input as "input", and digests of the
          steps as "made_by", by which `resume_from` sees whether they are the same.

    What a step raises has a note that names its slot. A function of one's own that gives another kind than it says is a
    TypeError, one that gives another number of samples a ValueError.
    """
    return _finish(pipeline, list(pipeline.slots), {INPUT: data}, cache, intermediates)


def resume_from(
    pipeline: Pipeline, slot: str, results: Mapping[str, Any], cache: str | None = None, intermediates: bool = False
) -> dict[str, Any]:
    """Returns the outputs of a pipeline whose slots before `slot` are not computed but taken from results.

    Args:
      pipeline: to run.
      slot: the first one to compute.
      results: by slot, of `run(..., intermediates=True)`, of another program, or read from a file; as many as later
          steps and outputs need.
      cache, intermediates: as in `run`.

    Warns where results say ("made_by") that other steps made them than the pipeline has before `slot`; of results of
    another program nothing is known.

    Raises:
      KeyError: a result that is needed is not there, or there is no such slot.
    """
    names = list(pipeline.slots)
    checks.one_of("slot", slot, names, KeyError)
    place = names.index(slot)
    before = {name: results[name] for name in (INPUT, *names[:place]) if name in results}
    made_by = results.get(MADE_BY) or {}
    earlier = [name for name in SLOTS[: SLOTS.index(slot)] if made_by.get(name) is not None and name in results]
    now = _made_by(pipeline, names)
    if other := [name for name in earlier if name not in now or now[name] not in (None, made_by[name])]:
        warnings.warn(
            f"results of {', '.join(other)} were made by other steps than the pipeline has there, and are taken as "
            f"they are; to compute them anew, resume from {other[0]!r} or run the pipeline",
            stacklevel=2,
        )
    if intermediates:
        before[MADE_BY] = {name: digest for name, digest in made_by.items() if name in before}
    return _finish(pipeline, names[place:], before, cache, intermediates)


def needed(pipeline: Pipeline, output: str) -> Pipeline:
    """Returns the part of a pipeline that one output needs.

    Raises:
      KeyError: no such output.
    """
    branches, slot = pipeline.branches, output.partition(".")[0]
    checks.one_of("output", output, tuple(_kinds(branches, pipeline.takes))[1:], KeyError)
    ancestors = {slot}
    for name in reversed(list(branches)):
        if name in ancestors:
            sources = [_source(name, chain[0], list(branches)) for chain in branches[name].values()]
            ancestors |= {source.partition(".")[0] for source in sources}
    return Pipeline(
        {name: slot for name, slot in pipeline.slots.items() if name in ancestors}, (output,), pipeline.takes
    )


def _finish(pipeline: Pipeline, names, results: dict[str, Any], cache, intermediates: bool) -> dict[str, Any]:
    branches = pipeline.branches
    for name in names:
        children = {}
        for child, chain in branches[name].items():
            source = _source(name, chain[0], list(branches))
            value = _result(results, source)
            for item in chain:
                value = _compute(f"{name}.{child}" if child else name, name, item, value, cache)
            children |= _named(child, chain[-1], value)
        results[name] = children[""] if "" in children else children
    if intermediates:
        return results | {MADE_BY: results.get(MADE_BY, {}) | _made_by(pipeline, names)}
    return {output: _result(results, output) for output in pipeline.outputs}


def _result(results: Mapping[str, Any], name: str) -> Any:
    slot, _, child = name.partition(".")
    if slot not in results:
        raise KeyError(f"the results have no {slot!r}, which is needed: they have {', '.join(results) or 'nothing'}")
    if not child:
        return results[slot]
    if child not in results[slot]:
        raise KeyError(f"the result of {slot!r} has no {child!r}: it has {', '.join(results[slot])}")
    return results[slot][child]


def _compute(where: str, slot: str, item: Step, value: Any, cache: str | None) -> Any:
    """Returns what a step gives; an error says in which slot it arose."""
    named = isinstance(item.function, str)
    function = OPERATIONS[slot][item.function].function if named else item.function
    label = item.function if named else getattr(function, "__qualname__", "function")
    try:
        result = _called(f"{slot}.{label}", function, named, _parameters(slot, item), value, cache)
    except Exception as error:
        error.add_note(f"in the slot {where!r} of a pipeline, in its step {label!r}")
        raise
    if not named:
        for one in result if _is_several(item) else (result,):
            outcomes.check(f"{where}: {label}", item.gives, value, one)
    return result


def _called(name: str, function: Callable, named: bool, parameters: dict[str, Any], value: Any, cache) -> Any:
    if cache is None:
        return function(value, **parameters)
    version = versions.of_pipelines() if named else digests.function_version(function)
    meta = caches.describe(name, version, parameters, [value])
    return caches.remember(cache, meta, lambda: function(value, **parameters), TYPES)


def _made_by(pipeline: Pipeline, names: Sequence[str]) -> dict[str, str | None]:
    """Returns a digest of the steps by slot."""
    return {name: outcomes.maker(name, pipeline.branches[name], _parameters) for name in names}


def _children(name: str, slot: Slot) -> dict[str, Chain]:
    """Returns the chains of a slot by child, "" where it has only one."""
    if isinstance(slot, Mapping):
        children = {child: _chain(f"{name}.{child}", chain) for child, chain in slot.items()}
        for child in children:
            if not isinstance(child, str) or not child or "." in child or "/" in child:
                raise ValueError(f"{name}: the child {child!r}: expected a name without dot and slash")
    else:
        chain = _chain(name, slot)
        several = isinstance(chain[-1].parameters.get("k"), Sequence)
        children = {str(chain[-1].function) if several else "": chain}
    if not children:
        raise ValueError(f"{name} has no children: expected one or more")
    for child, chain in children.items():
        for item in chain:
            _check_step(f"{name}.{child}" if child else name, name, item)
    outputs = [output for child, chain in children.items() for output in _names(child, chain[-1])]
    if len(set(outputs)) < len(outputs):
        raise ValueError(f"{name}: the names {', '.join(o for o in set(outputs) if outputs.count(o) > 1)} come twice")
    return children


def _chain(where: str, slot: Any) -> Chain:
    chain = slot if isinstance(slot, tuple) else (slot,)
    if not chain or not all(isinstance(item, Step) for item in chain):
        raise TypeError(f"{where}: {slot!r}: expected a step, a tuple of steps, or a mapping of them by name")
    if any(item.source is not None for item in chain[1:]):
        raise ValueError(f"{where}: only the first step of a chain has a source; the others take what is before them")
    return chain


def _names(child: str, item: Step) -> list[str]:
    k = item.parameters.get("k")
    return [f"{child}_{number:02d}" for number in k] if _is_several(item) else [child]


def _is_several(item: Step) -> bool:
    return isinstance(item.parameters.get("k"), Sequence)


def _named(child: str, item: Step, value: Any) -> dict[str, Any]:
    names = _names(child, item)
    return dict(zip(names, value, strict=True)) if _is_several(item) else {child: value}


def _check_step(where: str, slot: str, item: Step) -> None:
    if not isinstance(item.function, str):
        if not callable(item.function):
            raise TypeError(f"{where}: {item.function!r}: expected a function, or one of {', '.join(OPERATIONS[slot])}")
        if item.gives is None:
            raise TypeError(f"{where}: a function of one's own needs gives=..., one of {', '.join(KINDS)}")
        checks.one_of(f"{where}: gives", item.gives, KINDS)
        return
    if item.gives is not None:
        raise TypeError(f"{where}: gives={item.gives!r} is said of a function of one's own only")
    checks.one_of(f"{where}: function", item.function, tuple(OPERATIONS[slot]), KeyError)
    operation = OPERATIONS[slot][item.function]
    for name in item.parameters:
        checks.one_of(f"{where}: {item.function}: parameter", name, tuple(operation.defaults()), TypeError)
    for name, value in _parameters(slot, item).items():
        if value is inspect.Parameter.empty:
            raise TypeError(f"{where}: {item.function} needs {name}")
        if name in operation.checks:
            operation.checks[name](f"{where}: {item.function}: {name}", value)


def _parameters(slot: str, item: Step) -> dict[str, Any]:
    """Returns all parameters of a step, defaults included."""
    if isinstance(item.function, str):
        return OPERATIONS[slot][item.function].defaults() | dict(item.parameters)
    return dict(item.parameters)


def _source(slot: str, item: Step, names: Sequence[str]) -> str:
    """Returns where a step's input is."""
    if item.source is not None:
        return item.source
    before = names[: names.index(slot)]
    if slot == "views" or item.function == "spectral_kmeans":
        candidates = ["embedding", "preprocessing"]
    elif slot == "clustering":
        candidates = ["select", "embedding", "preprocessing"]
    else:
        candidates = list(reversed(before))
    return next((name for name in candidates if name in before), INPUT)


def _kinds(branches: Mapping[str, Mapping[str, Chain]], takes: str) -> dict[str, str]:
    """Returns the kind of every result by name, and checks that each step gets what it takes."""
    kinds = {INPUT: takes}
    for slot, children in branches.items():
        own = {}
        for child, chain in children.items():
            where = f"{slot}.{child}" if child else slot
            source = _source(slot, chain[0], list(branches))
            earlier = tuple(name for name in kinds)
            checks.one_of(f"{where}: source", source, earlier, KeyError)
            if kinds[source] == "several":
                options = ", ".join(name for name in kinds if name.startswith(f"{source}."))
                raise ValueError(f"{where}: {source} has children: choose one by source=..., of {options}")
            kind = kinds[source]
            for item in chain:
                kind = _gives(where, slot, item, kind)
            own |= {f"{slot}.{name}": kind for name in _names(child, chain[-1]) if name}
            if "" in children:
                own[slot] = kind
        kinds |= ({slot: "several"} if "" not in children else {}) | own
    return kinds


def _gives(where: str, slot: str, item: Step, kind: str) -> str:
    if not isinstance(item.function, str):
        return item.gives or kind
    operation = OPERATIONS[slot][item.function]
    if kind not in operation.takes:
        raise ValueError(f"{where}: {item.function} takes {' or '.join(operation.takes)}, and gets {kind}")
    return kind if operation.gives == "same" else operation.gives
