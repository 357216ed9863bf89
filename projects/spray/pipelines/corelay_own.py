"""Processors of one's own as CoRelAy's users write them: a class with parameters as annotations and a `function`.

    class Power(Processor):
        exponent: Annotated[int, Param(int, 2, positional=True)]

        def function(self, data):
            return data**self.exponent

`exponent = Param(int, 2)`, the form of CoRelAy before 0.3, is read too.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from projects.spray.pipelines import checks


@dataclasses.dataclass(frozen=True)
class Param:
    """A parameter of a processor.

    Attributes:
      dtype: a type, or a tuple of several; a whole number will do for a float.
      default: its value where none is passed.
      mandatory: whether one must be passed.
      positional: whether it may be passed without its name.
      identifier: taken and not needed: all parameters are in the key of the cache.
    """

    dtype: type | tuple[type, ...] = object
    default: Any = None
    mandatory: bool = False
    positional: bool = False
    identifier: bool = False


def declared(owner: type) -> dict[str, Param]:
    """Returns the parameters that a class and those above it declare, those of the highest first.

    Raises:
      TypeError: a parameter with the name of a flag or of something that every processor has.
    """
    result: dict[str, Param] = {}
    for one in reversed(owner.__mro__):
        own = {name: value for name, value in vars(one).items() if isinstance(value, Param)}
        for name, hint in vars(one).get("__annotations__", {}).items():
            for item in getattr(hint, "__metadata__", ()):
                if isinstance(item, Param):
                    own[name] = item
        result |= own
    if reserved := [name for name in result if name in RESERVED]:
        raise TypeError(f"{owner.__qualname__}: a parameter {reserved[0]!r}: expected another name than {RESERVED}")
    return result


RESERVED = ("name", "parameters", "is_output", "is_checkpoint", "io", "function", "identity")


def bound(owner: str, params: Mapping[str, Param], arguments: Sequence, by_name: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the value of each parameter, by name.

    Raises:
      TypeError: too many positional ones, unknown ones, ones that come twice, are missing or of another type.
    """
    places = [name for name, param in params.items() if param.positional]
    if len(arguments) > len(places):
        raise TypeError(f"{owner}: {len(arguments)} positional arguments: expected at most {len(places)}")
    values = dict(zip(places, arguments, strict=False))
    for name, value in by_name.items():
        checks.one_of(f"{owner}: parameter", name, tuple(params), TypeError)
        if name in values:
            raise TypeError(f"{owner}: {name} comes twice")
        values[name] = value
    for name, value in values.items():
        _check_type(f"{owner}: {name}", value, params[name])
    if missing := [name for name, param in params.items() if param.mandatory and name not in values]:
        raise TypeError(f"{owner}: {', '.join(missing)} is missing")
    return {name: values.get(name, param.default) for name, param in params.items()}


def _check_type(what: str, value: Any, param: Param) -> None:
    types = param.dtype if isinstance(param.dtype, tuple) else (param.dtype,)
    whole = float in types and isinstance(value, int) and not isinstance(value, bool)
    if not whole and not isinstance(value, types):
        raise TypeError(f"{what}={value!r}: expected {' or '.join(one.__name__ for one in types)}")
