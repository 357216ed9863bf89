"""Numbers on pages, by hand."""

import pytest

from common.publishing import numbers


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (238.38904, 0.00432, "238.3890 ± 0.0043"),
        (1.5, 12.3, "2 ± 12"),
        (2.0, 3e-8, "2.000000000 ± 3.0e-08"),
        (0.1234567, None, "0.123457 ± \u2014"),
        (0.5, 0.0, "0.5 ± \u2014"),
        (None, 0.1, "\u2014"),
    ],
)
def test_as_many_decimals_as_the_error_has(value, error, text):
    assert numbers.with_error(value, error) == text


def test_what_is_not_known_is_a_dash():
    assert numbers.error_text(None) == numbers.formatted(None) == numbers.percent(None) == numbers.UNKNOWN
    assert numbers.formatted(0.126) == "0.13" and numbers.formatted(0.0126, ".1e") == "1.3e-02"
    assert numbers.percent(0.6834) == "68.3 %" and numbers.percent(1.0) == "100 %" and numbers.percent(0) == "0 %"
