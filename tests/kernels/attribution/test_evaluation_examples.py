"""Every public function of the evaluation has an example in its docstring, and it gives what stands there."""

import inspect

import pytest

from kernels.attribution import evaluation
from tests.kernels import test_examples
from tests.kernels.test_examples import havel  # noqa: F401  # a fixture

FUNCTIONS = {name: one for name in evaluation.__all__ if inspect.isfunction(one := getattr(evaluation, name))}


@pytest.mark.filterwarnings("error::UserWarning")
def test_examples_give_what_they_say(havel):  # noqa: F811
    tests = {name: test_examples.example_of(name, one) for name, one in FUNCTIONS.items()}
    assert [name for name, test in tests.items() if not test.examples] == []
    wrong = [test_examples.failures(test) for test in tests.values()]
    assert not any(wrong), "".join(wrong)
