"""Bisection meets a linear search; the smallest file of enough accuracy is chosen."""

import math

import pytest

from common import step_search


@pytest.mark.parametrize("met", range(8))
def test_the_coarsest_value_that_meets_a_demand(met):
    """Seven values of which the first `met` do: three files are made, the last value that does is among them."""
    values = [2.0**k for k in range(7)]
    made = step_search.coarsest(values, lambda value: value, lambda value: value in values[:met])
    assert len(made) == 3 and len(set(made)) == 3
    assert max((value for value in made if value in values[:met]), default=None) == (values[met - 1] if met else None)


def test_halving_ends_next_to_the_demand():
    """sqrt 2 in 20 halvings of [1, 2], from either side; a near one ends it."""
    tried = []

    def below(x):
        tried.append(x)
        return 2 - x * x

    assert step_search.bisect(1.0, 2.0, below, rounds=20) == pytest.approx(math.sqrt(2), abs=2**-20)
    assert len(tried) == 20
    assert step_search.bisect(2.0, 1.0, lambda x: x * x - 2, rounds=20) == pytest.approx(math.sqrt(2), abs=2**-20)
    tried.clear()
    near = step_search.bisect(1.0, 2.0, below, rounds=20, near=0.1)
    assert near == 1.40625 and tried == [1.5, 1.25, 1.375, 1.4375, near]
    assert step_search.bisect(1.0, 2.0, lambda x: -1.0, rounds=20) == 1.0, "nothing between meets it"


def test_an_excess_of_nothing_is_near():
    tried = []
    assert step_search.bisect(0.0, 2.0, lambda x: tried.append(x) or 1 - x, near=0.0) == 1.0 and tried == [1.0]


def test_the_smallest_of_enough_accuracy():
    def choose(files, least):
        met = lambda file: step_search.is_enough(file[1], least)  # noqa: E731
        return step_search.smallest(files, met, size=lambda file: file[0], accuracy=lambda file: file[1])

    files = [(9, 0.9), (5, 0.8), (7, 0.89)]
    assert choose(files, 0.85) == (7, 0.89) and choose(files, 0.95) == (9, 0.9)
    assert choose([(2, 0.1 + 0.2), (1, 0.3)], 0.1 + 0.2) == (1, 0.3), "a rounding error does not decide"
    with pytest.raises(ValueError, match="no file was tried"):
        choose([], 0.5)
