"""Arguments, checked at the door, and their types."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..array_types import AnyArray, Real
from ..scalars import real, whole

Samples = Real[AnyArray, " n"] | Sequence  # a number of each sample
Parameters = Mapping[str, Any]  # of a network: arrays by layer, see `networks.init`


def check_integer(name: str, value: Any, least: int, why: str = "") -> None:
    """Checks a count.

    Raises:
      ValueError: it is no integer, or below `least`; the message ends with `why`.
    """
    whole(name, value, least, why=why)


def check_beta(beta) -> None:
    """Checks an inverse temperature, of either sign.

    Raises:
      ValueError: it is no finite number.
    """
    real("beta", beta, "a finite number, an inverse temperature")


def check_sites(sites) -> None:
    """Checks a number of spins.

    Raises:
      ValueError: it is no integer of 1 or more.
    """
    whole("sites", sites, 1, why=", the number of spins")
