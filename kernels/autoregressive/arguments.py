"""Arguments, checked at the door."""

import numbers


def check_integer(name: str, value, least: int, why: str = "") -> None:
    """Checks a count.

    Raises:
      ValueError: it is no integer, or below `least`; the message ends with `why`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {least}{why}")
