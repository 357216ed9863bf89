"""kernels/README.md names every public name, and nothing that is none."""

import importlib
import inspect
import pathlib
import re

import pytest

import kernels

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "kernels" / "README.md").read_text(encoding="utf-8")
ROOMS = tuple(name for name in kernels.__all__ if hasattr(importlib.import_module(f"kernels.{name}"), "__path__"))


def names_on(page: str, room: str) -> dict[str, set[str]]:
    """Module -> names in the first column of a room's table; those of the room itself stand at "".

    `module`: `one`, `two`; `three` are two names of a module, which is a name of the room, and one of the room.
    """
    (rows,) = re.findall(rf"^\| name in `havel\.kernels\.{room}` \| does \|\n\|---\|---\|\n((?:\|.*\n)+)", page, re.M)
    names: dict[str, set[str]] = {"": set()}
    for row in rows.splitlines():
        for group in row.split(" | ")[0].split(";"):
            module = re.match(r"[| ]*`(\w+)`:", group)
            spans = re.findall(r"`(\w+)[^`]*`", group)
            if module:
                names[""].add(module[1])
                names.setdefault(module[1], set()).update(spans[1:])
            else:
                names[""].update(spans)
    return names


def differences(page: str, room: str) -> list[str]:
    """What the page lacks, and what it names that is not there."""
    package = importlib.import_module(f"kernels.{room}")
    listed, public = names_on(page, room), set(package.__all__)
    modules = {name for name in public if inspect.ismodule(getattr(package, name))}
    wrong = [f"{room}.{name} is not on the page" for name in public - listed[""]]
    for name in listed[""] - public:  # a module may be public without being imported with its room
        if name not in listed:
            wrong.append(f"{room}.{name} on the page is no public name")
    for module in modules | (listed.keys() - {""}):
        place = getattr(package, module, None) or importlib.import_module(f"kernels.{room}.{module}")
        own = set(place.__all__)
        there = listed.get(module, set())
        wrong += [f"{room}.{module}.{name} is not on the page" for name in own - there - public]
        wrong += [f"{room}.{module}.{name} on the page is no public name" for name in there - own]
    return wrong


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_has_every_public_name_and_no_other(room):
    assert not differences(PAGE, room)


def test_the_page_has_every_room():
    rows = set(re.findall(r"^\| \[(\w+)\]\(\1\) \|", PAGE, re.M))
    assert rows == set(ROOMS)
    folders = {path.parent.name for path in pathlib.Path(kernels.__file__).parent.glob("*/__init__.py")}
    assert folders == set(ROOMS), "a room is missing in kernels.__all__"
    assert all(f"`havel.kernels.{name}`" in PAGE for name in set(kernels.__all__) - set(ROOMS))


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_there(room):
    package = importlib.import_module(f"kernels.{room}")
    for module in [package, *(value for value in vars(package).values() if inspect.ismodule(value))]:
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{module.__name__}.{name}"


def test_a_name_that_is_missing_or_too_much_is_noticed():
    assert differences(PAGE.replace("`fit_sas(x)`, ", ""), "alpha_stable") == [
        "alpha_stable.fit_sas is not on the page"
    ]
    assert differences(PAGE.replace("`tail_constant`", "`tail_constant`, `tail`"), "alpha_stable") == [
        "alpha_stable.tail on the page is no public name"
    ]
    assert differences(PAGE.replace("`sk_couplings`, ", ""), "ising") == [
        "ising.energies.sk_couplings is not on the page"
    ]
    assert differences(PAGE.replace("`of_energy`", "`of_nothing`"), "ising") == [
        "ising.systems.of_energy is not on the page", "ising.systems.of_nothing on the page is no public name",
    ]  # fmt: skip
