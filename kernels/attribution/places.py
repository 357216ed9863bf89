"""Where a name of `at` or `condition` lies: in the program itself, or inside of a loop or a branch.

Inside of a loop a tensor is there once a step: all steps are read as one array with an axis of steps first, or one of
them by its number, "layers/attention[3]".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp

from .tracing.jaxpr import Value
from .tracing.operations import Operation, Program

_STEP = re.compile(r"(.+?)\[(-?\d+(?:, ?-?\d+)*)\]")

# Of each program that is a body, its values that are watched and their shapes with the steps of the loops inside of it.
Watched = Mapping[Program, Mapping[Value, tuple[int, ...]]]


@dataclasses.dataclass(frozen=True)
class Place:
    """A value and the loops around it.

    Attributes:
        bodies: around it, the outermost first; empty in the program itself.
        lengths: steps of each of these; None for a branch.
        steps: numbers of a step of the outermost loops, from 0; empty for all steps.
    """

    value: Value
    program: Program
    bodies: tuple[Program, ...] = ()
    lengths: tuple[int | None, ...] = ()
    steps: tuple[int, ...] = ()

    @property
    def loops(self) -> tuple[int, ...]:
        """Lengths of the loops around it."""
        return tuple(length for length in self.lengths if length is not None)

    def watched(self) -> dict[Program, tuple[int, ...]]:
        """Returns the shape that the value has in each of the bodies around it."""
        return {
            body: (*(n for n in self.lengths[depth + 1 :] if n is not None), *self.value.shape)
            for depth, body in enumerate(self.bodies)
        }


def place_of(program: Program, name: str) -> Place:
    """Returns where a name lies; raises ValueError for one that is none, or that several are."""
    bare, is_input = (name.removesuffix(":input"), True) if name.endswith(":input") else (name, False)
    parsed = _STEP.fullmatch(bare)
    for text, steps in ((bare, ()), (parsed[1], _numbers(parsed[2])) if parsed else (bare, ())):
        places = [Place(_value(operations, is_input, text), program)] if (operations := _of(program, text)) else []
        if not places:
            inside = {path: (place, _of(place.program, rest)) for path, place, rest in _bodies(program, text)}
            places = [
                dataclasses.replace(place, value=_value(operations, is_input, text), steps=steps)
                for place, operations in inside.values()
                if operations
            ]
            paths = [path for path, (_, operations) in inside.items() if operations]
            if len(places) > 1:
                raise ValueError(f"{name!r} is in {', '.join(paths)}: name one, {paths[0]}/{text} for one.")
        if places:
            return _checked(places[0], name, steps)
    names = ", ".join(dict.fromkeys(operation.name for operation in program.flattened() if operation.equations))
    raise ValueError(f"at={name!r} names no operation; there are {names}.")


def find(program: Program, name: str) -> Value:
    """Returns the value that a name stands for, which has to lie outside of loops."""
    place = place_of(program, name)
    if place.bodies:
        raise ValueError(
            f"at={name!r} lies inside of a loop or a branch, where only `attribute` and `contrastive` look: let the "
            "loop stack it as a result, or write its steps one by one."
        )
    return place.value


def watched_of(program: Program, at) -> Watched:
    """Returns which values inside of loops the names of `at` ask for."""
    names = [at] if isinstance(at, str) else at if isinstance(at, Sequence) else ()
    result: dict[Program, dict[Value, tuple[int, ...]]] = {}
    for name in names:
        if name == "x" or not isinstance(name, str):
            continue
        place = place_of(program, name)
        for body, shape in place.watched().items():
            result.setdefault(body, {})[place.value] = shape
    return result


def bodies_of(program: Program) -> dict[Operation, str]:
    """Returns the loop or branch around every operation that lies in one."""
    return {operation: path for path, place, _ in _bodies(program, "") for operation in place.program.operations}


def at_step(change: Callable, place: Place) -> Callable:
    """Returns what becomes of the relevance of a value, (relevance, numbers of steps), for the steps of a place."""

    def limited(relevance, numbers: Sequence[jax.Array] = ()):
        result = change(relevance)
        if not place.steps:
            return result
        is_here = jnp.all(jnp.stack([n == step for n, step in zip(numbers, place.steps, strict=False)]))
        return jnp.where(is_here, result, relevance)

    return limited


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _checked(place: Place, name: str, steps: tuple[int, ...]) -> Place:
    """The place with its numbers of steps counted from 0."""
    loops = place.loops
    if len(steps) > len(loops):
        raise ValueError(f"{name!r} has {len(steps)} numbers of steps, and lies in {len(loops)} loops.")
    for step, length in zip(steps, loops, strict=False):
        if not -length <= step < length:
            raise ValueError(f"{name!r} names step {step}: the loop has {length} of them, from 0.")
    return dataclasses.replace(place, steps=tuple(s % length for s, length in zip(steps, loops, strict=False)))


def _of(program: Program, name: str) -> list[Operation]:
    """The operations of a program, those inside of its loops not among them, that a name is of."""
    operations = [o for o in program.operations if o.name == name]
    return operations or [o for o in program.operations if name in (o.base, *o.aliases)]


def _value(operations: Sequence[Operation], is_input: bool, name: str) -> Value:
    affine = [o for o in operations if o.affine is not None]
    if len(affine) > 1:
        raise ValueError(f"at={name!r} is used {len(affine)} times: {', '.join(o.name for o in affine)}; name one.")
    # A norm of several equations: its first input, its last output.
    operation = affine[0] if affine else operations[0] if is_input else operations[-1]
    return operation.inputs[0] if is_input else operation.outputs[0]


def _bodies(program: Program, name: str, outside: Place | None = None, path: str = "") -> Iterator:
    """(path, place without a value, what is left of a name that may begin with this path) of every body."""
    for operation in program.operations:
        equation = operation.equations[-1]
        for number, body in enumerate(operation.bodies):
            is_loop = equation.primitive == "scan"
            own = f"{path}{operation.name}" if is_loop else f"{path}{operation.name}/{number}"
            length = int(equation.params["length"]) if is_loop else None
            bodies, lengths = ((), ()) if outside is None else (outside.bodies, outside.lengths)
            place = Place(body.output, body, (*bodies, body), (*lengths, length))
            yield own, place, name.removeprefix(f"{own}/")
            yield from _bodies(body, name, place, f"{own}/")
