"""Numbers as a page shows them: as many decimals as their error has, a dash for what is not known."""

import math

UNKNOWN = "\u2014"  # what cannot be known, also in a column of numbers


def decimals(error: float | None) -> int:
    """Returns how many decimals show two digits of an error; 6 where there is none."""
    return max(1 - math.floor(math.log10(error)), 0) if error else 6


def error_text(error: float | None) -> str:
    """Returns two digits that count, in powers of ten below a millionth; a dash for an error of 0 or None."""
    if not error:
        return UNKNOWN
    return f"{error:.{decimals(error)}f}" if error > 1e-6 else f"{error:.1e}"


def with_error(value: float | None, error: float | None) -> str:
    """Returns "238.3890 ± 0.0043": as many decimals as the error has; a dash for what is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:.{decimals(error)}f} ± {error_text(error)}" if error else f"{value:.6g} ± {UNKNOWN}"


def formatted(value: float | None, form: str = ".2f") -> str:
    """Returns a number in a form of `format`; a dash for what is not known."""
    return UNKNOWN if value is None else f"{value:{form}}"


def percent(share: float | None) -> str:
    """Returns "68.3 %", whole numbers without decimals; a dash for what is not known."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %".replace(".0 %", " %")
