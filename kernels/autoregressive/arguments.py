"""Arguments, checked at the door."""

from ..scalars import real, whole


def check_integer(name: str, value, least: int, why: str = "") -> None:
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
