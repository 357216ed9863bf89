"""Every public function of the kernels has an example in its docstring, and it gives what stands there.

Examples import from `havel.kernels`, as from the wheel; here that is this checkout.
"""

import doctest
import importlib
import inspect
import sys
import types

import pytest

import kernels

ROOMS = tuple(name for name in kernels.__all__ if name != "boundary_step")
DEAR = {
    "fit_sas",
    "sas_cdf",
    "sas_log_pdf",
    "estimate",
    "attack",
    "run",
    "summarise",
    "propose",
    "class_separability",
    "separability_null",
}  # seconds of compilation each


def functions(room: str) -> dict[str, object]:
    """Name -> public function of a room."""
    package = importlib.import_module(f"kernels.{room}")
    named = {name: getattr(package, name) for name in package.__all__}
    return {name: one for name, one in named.items() if inspect.isfunction(inspect.unwrap(one))}


def example_of(name: str, function) -> doctest.DocTest:
    return doctest.DocTestParser().get_doctest(inspect.getdoc(function) or "", {}, name, None, 0)


def failures(test: doctest.DocTest) -> str:
    """What an example says beside what it should; "" where it says that."""
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.fixture
def havel(monkeypatch):
    package = types.ModuleType("havel")
    package.kernels = kernels
    monkeypatch.setitem(sys.modules, "havel", package)
    monkeypatch.setitem(sys.modules, "havel.kernels", kernels)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_function_has_a_short_example(room):
    for name, function in functions(room).items():
        lines = [line for example in example_of(name, function).examples for line in example.source.splitlines()]
        own = [line for line in lines if not line.startswith(("import ", "from "))]
        assert lines and f"from havel.kernels import {room}" in "\n".join(lines), f"{room}.{name} has no example"
        assert 1 <= len(own) <= 5 and any(name in line for line in own), f"{room}.{name}"


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("room", ROOMS)
def test_examples_give_what_they_say(room, havel):
    wrong = [failures(example_of(name, one)) for name, one in functions(room).items() if name not in DEAR]
    assert not any(wrong), "".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_examples_that_take_long_to_compile(room, havel):
    wrong = [failures(example_of(name, one)) for name, one in functions(room).items() if name in DEAR]
    assert not any(wrong), "".join(wrong)


def test_an_example_that_gives_something_else_is_noticed(havel):
    def wrong():
        """Example:
        >>> from havel.kernels import entropy_coding
        >>> entropy_coding.qp_to_step(0)
        2.0
        """

    assert "Expected:\n    2.0\nGot:\n    1.0" in failures(example_of("wrong", wrong))
