"""A frozen dataclass becomes typed command-line flags, with help and validation from field metadata.

Parsing is absl's (`--name=value`, `--name value`, `--noname`, `--flagfile`), on a set of flags of our own, so that the
flags of absl and JAX stay out of the way. `flags_text` writes a config as a flagfile that repeats it exactly.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config:
        checkpoint: str = config.field(config.REQUIRED, "weights to compress")
        epochs: int = config.field(10, "passes over the training images", minimum=1)
        jobs: int = config.field(1, "worker threads", minimum=1, identity=False)
"""

import copy
import dataclasses
import difflib
import hashlib
import importlib
import json
import math
import operator
import os
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

REQUIRED = dataclasses.MISSING
BOUNDS = {
    "minimum": ("at least", operator.ge),
    "exclusive_minimum": ("more than", operator.gt),
    "maximum": ("at most", operator.le),
    "exclusive_maximum": ("less than", operator.lt),
}
NOUNS = {int: ("an integer", "integers"), float: ("a number", "numbers"), str: ("a text", "texts")}
TRUTHS = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}
HASH_LENGTH = 10  # hexadecimal digits: 40 bits tell a million configs apart


class FlagError(ValueError):
    """A command line that cannot be used; its text is one line for the user."""


def field(
    default: Any = REQUIRED,
    help: str = "",
    *,
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive_minimum: float | None = None,
    exclusive_maximum: float | None = None,
    check: Callable[[Any], str | None] | None = None,
    identity: bool = True,
    formerly: str | None = None,
) -> Any:
    """Returns a dataclass field that is also a flag.

    A subclass may give it another default alone (`epochs: int = 5`); the rest stays as it is here.

    Args:
      default: the value when the flag is not given; `REQUIRED` obliges the user to; None needs an Optional type.
      help: one sentence for `--help`, with units.
      choices: the allowed values (of each element, for a tuple).
      minimum, maximum: inclusive bounds of a number (of each element).
      exclusive_minimum, exclusive_maximum: bounds that are themselves refused.
      check: called with the value; returns what was expected when the value will not do, else None.
      identity: False for what does not change the result (threads, paths of output): left out of `config_hash`.
      formerly: an earlier name of the flag, which command lines and flagfiles may still use.
    """
    choices = None if choices is None else tuple(choices)
    spec = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "check": check,
        "identity": identity,
        "formerly": formerly,
    }
    spec |= {"exclusive_minimum": exclusive_minimum, "exclusive_maximum": exclusive_maximum}
    if default is REQUIRED:
        return dataclasses.field(metadata=spec, kw_only=True)
    return dataclasses.field(default=default, metadata=spec, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a field holds: `base` (int, float, str, bool), `length` of a tuple (0: any; None: no tuple), `optional`."""

    base: type
    length: int | None
    optional: bool


def fields(config_class: type) -> dict[str, tuple[dataclasses.Field, Kind]]:
    """Returns name -> (dataclass field, kind) in order of definition.

    Raises:
      TypeError: a field's type is not int, float, str, bool, a tuple of one of them, or Optional of these.
    """
    hints = typing.get_type_hints(config_class)
    items = [_described(config_class, item) for item in dataclasses.fields(config_class)]
    return {item.name: (item, _kind(item.name, hints[item.name])) for item in items}


def _described(config_class: type, item: dataclasses.Field) -> dataclasses.Field:
    """Returns a field with the help and bounds of its base class's, where it has only a default of its own."""
    if not item.metadata:
        for base in config_class.__mro__[1:]:
            described = getattr(base, "__dataclass_fields__", {}).get(item.name)
            if described is not None and described.metadata:
                item = copy.copy(item)
                item.metadata = described.metadata
                break
    return item


def _kind(name: str, hint: Any) -> Kind:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional = len(members) < len(typing.get_args(hint))
        hint = members[0] if len(members) == 1 else hint
    length = None
    if typing.get_origin(hint) is tuple:
        elements = typing.get_args(hint)
        length = 0 if elements[-1] is Ellipsis else len(elements)
        hint = elements[0] if len({element for element in elements if element is not Ellipsis}) == 1 else hint
    if hint not in (int, float, str, bool) or (hint is bool and length is not None):
        raise TypeError(
            f"config field {name!r} has type {hint}; use int, float, str, bool, tuple[int, ...] or Optional"
        )
    return Kind(hint, length, optional)


def expected(item: dataclasses.Field, kind: Kind) -> str:
    """Returns in words what a field takes, such as "an integer of at least 1"."""
    spec = item.metadata
    plural = kind.length is not None
    words = "true or false" if kind.base is bool else NOUNS[kind.base][plural]
    if plural:
        words = f"{kind.length or 'any number of'} {words}, separated by commas"
    if spec.get("choices") is not None:
        words = f"{'any of' if plural else 'one of'} {', '.join(map(str, spec['choices']))}"
    bounds = [f"{text} {spec[key]}" for key, (text, _) in BOUNDS.items() if spec.get(key) is not None]
    if bounds:
        words += (", each " if plural else " of ") + " and ".join(bounds)
    return words + (", or none" if kind.optional else "")


def checked(item: dataclasses.Field, kind: Kind, value: Any) -> Any:
    """Returns `value` (a text from the command line or a Python value) as the field's type.

    Raises:
      ValueError: says what was expected.
    """
    if kind.optional and (value is None or (isinstance(value, str) and value.strip().lower() == "none")):
        return None
    problem = ValueError(f"expected {expected(item, kind)}")
    if kind.length is None:
        result = _element(kind.base, item.metadata, value, problem)
    else:
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)) or (kind.length and len(parts) != kind.length):
            raise problem
        result = tuple(_element(kind.base, item.metadata, part, problem) for part in parts)
        if kind.base is str and any("," in part or part != part.strip() or not part for part in result):
            raise ValueError(f"{problem}; a text in a list has no comma in it and no spaces around it")
    check = item.metadata.get("check")
    if check is not None and (reason := check(result)) is not None:
        raise ValueError(reason if reason.startswith("expected") else f"expected {reason}")
    return result


def _element(base: type, spec: Any, value: Any, problem: ValueError) -> Any:
    if base is bool:
        if isinstance(value, str):
            value = TRUTHS.get(value.lower())
        if not isinstance(value, bool):
            raise problem
        return value
    if base is str:
        if not isinstance(value, str):
            raise problem
        if value != value.strip() or "\n" in value or "\r" in value:
            raise ValueError(f"{problem}, in one line and without spaces at the ends (a flagfile could not repeat it)")
    elif isinstance(value, bool) or (base is int and isinstance(value, float)):
        raise problem
    else:
        try:
            value = base(value)
        except (TypeError, ValueError, OverflowError):
            raise problem from None
        if base is float and math.isnan(value):
            raise problem
        if any(spec.get(key) is not None and not holds(value, spec[key]) for key, (_, holds) in BOUNDS.items()):
            raise problem
    if spec.get("choices") is not None and value not in spec["choices"]:
        raise problem
    return value


def validate(config: Any) -> Any:
    """Returns `config` with every value checked and as its type (an int for a float field becomes a float).

    Raises:
      FlagError: names the field, its value and what is allowed.
    """
    values = {}
    for name, (item, kind) in fields(type(config)).items():
        try:
            values[name] = checked(item, kind, getattr(config, name))
        except ValueError as error:
            raise FlagError(f"flag --{name}={getattr(config, name)!r}: {error}") from None
    return dataclasses.replace(config, **values)


def from_keywords(config_class: type, verb: str, **values: Any) -> Any:
    """Returns a checked config of values by name, for a verb that is called as a function.

    Raises:
      FlagError: as `validate`, or there is no such flag; the nearest name of one is told.
    """
    names = [item.name for item in dataclasses.fields(config_class)]
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            advice = f"did you mean {near[0]}?" if near else f"`--help` of {verb} lists them"
            raise FlagError(f"{name}={values[name]!r} is no flag of {verb}; {advice}")
    return validate(config_class(**values))


def imported(flag: str, name: str) -> Any:
    """Returns what "module:name" names, the value of a flag.

    Raises:
      FlagError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise FlagError(f"--{flag}={name}: expected MODULE:FUNCTION that can be imported from here ({error})") from None


class _Parser(flags.ArgumentParser):
    """absl's way to ask for the value of one flag."""

    def __init__(self, item: dataclasses.Field, kind: Kind):
        self.item, self.kind = item, kind
        self.syntactic_help = expected(item, kind)

    def parse(self, argument: Any) -> Any:
        return checked(self.item, self.kind, argument)

    def flag_type(self) -> str:
        return self.kind.base.__name__


def define_flags(config_class: type, flag_values: flags.FlagValues) -> None:
    """Defines one flag for each field of `config_class` in `flag_values`.

    Raises:
      flags.Error: a name is taken, or a default breaks its own bounds.
    """
    for name, (item, kind) in fields(config_class).items():
        default = None if item.default is dataclasses.MISSING else item.default
        if default is None and item.default is None and not kind.optional:
            raise TypeError(f"config field {name!r} has the default None: make its type Optional")
        words = item.metadata.get("help")
        flag = flags.Flag(_Parser(item, kind), None, name, default, words, boolean=kind.base is bool)
        flags.DEFINE_flag(flag, flag_values, module_name=config_class.__module__)
        if former := item.metadata.get("formerly"):
            flags.DEFINE_alias(former, name, flag_values, config_class.__module__)


def from_flags(config_class: type, flag_values: flags.FlagValues) -> Any:
    """Returns a `config_class` with the values of parsed flags.

    Raises:
      FlagError: an obligatory flag is missing, or the class's own `__post_init__` refuses the combination.
    """
    values = {name: flag_values[name].value for name in fields(config_class)}
    for name, (item, _) in fields(config_class).items():
        if item.default is REQUIRED and not flag_values[name].present:
            raise FlagError(f"flag --{name} is required: {item.metadata.get('help') or 'give it a value'}")
    try:
        return config_class(**values)
    except ValueError as error:
        raise FlagError(str(error)) from None


def parse(argv: Sequence[str], *config_classes: type) -> tuple[Any, ...]:
    """Returns one config for each class from a command line; `argv[0]` is the program.

    Raises:
      FlagError: an unknown flag, a bad value, a missing flag or flagfile, an argument that is no flag.
    """
    flag_values = flags.FlagValues()
    for config_class in config_classes:
        define_flags(config_class, flag_values)
    try:
        rest = flag_values(list(argv))[1:]
    except flags.UnrecognizedFlagError as error:
        raise FlagError(f"{' '.join(str(error).split())} (see --help)") from None
    except (flags.Error, ValueError, OSError, UnicodeDecodeError) as error:
        raise FlagError(" ".join(str(error).removeprefix("ERROR:: ").split())) from None
    if rest:
        raise FlagError(f"unexpected argument {rest[0]!r}: flags are written --name=value (see --help)")
    return tuple(from_flags(config_class, flag_values) for config_class in config_classes)


def read_flagfile(path: str | os.PathLike, config_class: type) -> dict[str, Any]:
    """Returns name -> value for those fields of `config_class` that a flagfile sets; its other flags are passed over.

    Raises:
      FlagError: a value that the field does not take, or the file cannot be read.
    """
    flag_values = flags.FlagValues()
    define_flags(config_class, flag_values)
    try:
        flag_values(["", f"--flagfile={path}"], known_only=True)
    except (flags.Error, ValueError, OSError) as error:
        raise FlagError(f"{path}: {' '.join(str(error).removeprefix('ERROR:: ').split())}") from None
    return {name: flag_values[name].value for name in fields(config_class) if flag_values[name].present}


def to_texts(config: Any, *, identity_only: bool = False) -> dict[str, str]:
    """Returns name -> value as it is written on a command line, for every field (or those that make the identity)."""
    config = validate(config)
    texts = {}
    for name, (item, _) in fields(type(config)).items():
        if not identity_only or item.metadata.get("identity", True):
            texts[name] = _text(getattr(config, name))
    return texts


def current_texts(config_class: type, texts: Mapping[str, str]) -> dict[str, str]:
    """Returns the texts of an earlier config under the names of today; a flag that did not exist has its default."""
    current = {}
    for name, (item, kind) in fields(config_class).items():
        former = item.metadata.get("formerly")
        if name not in texts and former in texts:
            texts = {name if key == former else key: text for key, text in texts.items()}
        if name not in texts and item.default is not REQUIRED:
            current[name] = _text(checked(item, kind, item.default))
    return current | dict(texts)


def _text(value: Any) -> str:
    """Returns a value as it is written on a command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def flags_text(config: Any, command: str = "") -> str:
    """Returns a flagfile that repeats `config`; `command` goes into a comment on the first line."""
    header = f"# {command} --flagfile=flags.txt\n" if command else ""
    return header + "".join(f"--{name}={text}\n" for name, text in to_texts(config).items())


def config_hash(config: Any) -> str:
    """Returns a short stable name for what the config computes (fields with `identity=False` do not count)."""
    canonical = json.dumps(to_texts(config, identity_only=True), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:HASH_LENGTH]


def help_text(config_class: type, width: int = 100) -> str:
    """Returns a line or two for each flag: name, what it takes, its default, what it means."""
    blocks = []
    for name, (item, kind) in fields(config_class).items():
        if item.default is dataclasses.MISSING:
            default = "required"
        else:
            default = f"default: {to_text(item.default)}"
        title = f"  --[no]{name}" if kind.base is bool else f"  --{name}"
        words = "" if kind.base is bool else f"{expected(item, kind)}; "
        free = "" if item.metadata.get("identity", True) else "; a run may go on with another"
        body = " ".join(f"{item.metadata.get('help', '')} ({words}{default}{free})".split())
        blocks.append(title + "\n" + textwrap.fill(body, width, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(blocks)


def to_text(value: Any) -> str:
    """Returns a value as `--help` shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "empty"
    return "none" if value is None else (str(value) if value != "" else "empty")


def print_help(text: str) -> None:
    """Prints to a reader who may have seen enough before the end: a pager, or `head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
