"""Parameters are checked where a pipeline is written, by name; errors say the value, what was expected, and where."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LINKAGES = ("ward", "average", "complete", "single")
TREE_LINKAGES = (*LINKAGES, "centroid", "median", "weighted")


def one_of(what: str, value: Any, values: Sequence, error: type[Exception] = ValueError) -> Any:
    """Returns a value that is among those expected."""
    if value not in values:
        raise error(f"{what} {value!r}: expected {'one of ' + ', '.join(map(str, values)) if values else 'none'}")
    return value


def whole(least: int, most: int | None = None) -> Callable[[str, Any], None]:
    """Returns a check for a whole number of a range."""

    def check(what: str, value: Any) -> None:
        try:
            number = operator.index(value)
        except TypeError:
            number = None
        inside = number is not None and not isinstance(value, bool) and number >= least
        if not inside or most is not None and number > most:
            end = "or more" if most is None else f"to {most}"
            raise ValueError(f"{what}={value!r}: expected a whole number, {least} {end}")

    return check


def real(least: float, most: float = math.inf, *, open_below: bool = False) -> Callable[[str, Any], None]:
    """Returns a check for a finite number of a range."""

    def check(what: str, value: Any) -> None:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        below = number <= least if open_below else number < least
        if not math.isfinite(number) or below or number > most or isinstance(value, (bool, str)):
            start = f"above {least:g}" if open_below else f"{least:g} or more"
            end = "" if most == math.inf else f", at most {most:g}"
            raise ValueError(f"{what}={value!r}: expected a finite number, {start}{end}")

    return check


def optional(check: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    """Returns a check that None passes."""
    return lambda what, value: None if value is None else check(what, value)


def choice(*values: Any) -> Callable[[str, Any], None]:
    """Returns a check for one of some values."""
    return lambda what, value: one_of(f"{what}:", value, values)


def of_type(kind: type | tuple[type, ...], expected: str) -> Callable[[str, Any], None]:
    """Returns a check for a type."""

    def check(what: str, value: Any) -> None:
        if not isinstance(value, kind):
            raise ValueError(f"{what}={value!r}: expected {expected}")

    return check


def function(what: str, value: Any) -> None:
    """A check for something that can be called."""
    if not callable(value):
        raise ValueError(f"{what}={value!r}: expected a function")


POSITIVE, COUNT, FLAG = real(0, open_below=True), whole(1), of_type(bool, "True or False")
MAPPING = optional(of_type(Mapping, "arguments by name"))
BY_NAME: dict[str, Callable[[str, Any], None]] = {
    "n_neighbors": COUNT, "n_eigval": COUNT, "n_clusters": COUNT, "n_components": COUNT, "bins": COUNT, "width": COUNT,
    "height": COUNT, "min_samples": COUNT, "sigma": POSITIVE, "eps": POSITIVE, "perplexity": POSITIVE,
    "scale": POSITIVE,
    "early_exaggeration": real(1), "min_dist": real(0), "filter": whole(0, 5), "symmetric": FLAG, "normalize": FLAG,
    "whiten": FLAG, "channels_first": FLAG, "broadcast": FLAG, "bind_method": FLAG, "data_range": optional(POSITIVE),
    "which": choice("LM", "SM", "LA", "SA", "BE"), "kwargs": MAPPING, "m_kwargs": MAPPING,
    "pooling_function": function, "processing_function": function, "metric": of_type(str, "the name of a metric"),
    "stride": of_type(tuple, "a tuple with a number an axis"), "indices": of_type(tuple, "a tuple of indices"),
}  # fmt: skip
OF_PROCESSOR = {
    ("AgglomerativeClustering", "linkage"): choice(*LINKAGES), ("Dendrogram", "linkage"): choice(*TREE_LINKAGES),
    ("HDBSCAN", "n_clusters"): whole(2),
}  # fmt: skip


def parameters(name: str, values: Mapping[str, Any]) -> None:
    """Checks the parameters of a processor of CoRelAy's."""
    for key, value in values.items():
        check = OF_PROCESSOR.get((name, key), BY_NAME.get(key))
        if check is not None:
            check(f"{name}: {key}", value)
