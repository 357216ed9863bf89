"""Arguments, checked at the door, and their types."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from ..array_types import AnyArray, Real

Samples = Real[AnyArray, " n"] | Sequence  # a number of each sample
Parameters = Mapping[str, Any]  # of a network: arrays by layer, see `networks.init`


def check_integer(name: str, value: Any, least: int, why: str = "") -> None:
    """Checks a count.

    Raises:
      ValueError: it is no integer, or below `least`; the message ends with `why`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {least}{why}")
