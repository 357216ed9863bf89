"""`python -m projects` and `python -m projects.NAME` say what can be run, without importing it."""

import pathlib
import subprocess
import sys

import pytest

from common import verbs

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = sorted(path.parent.name for path in ROOT.glob("projects/*/__init__.py"))


@pytest.fixture
def package(tmp_path):
    """A folder of projects with one that has a verb and a setting, and one that has none."""
    for name in ("systems", "systems/one", "systems/one/flags", "systems/none"):
        (tmp_path / name).mkdir()
    (tmp_path / "systems/__init__.py").write_text('"""All systems."""\n')
    (tmp_path / "systems/one/__init__.py").write_text('"""The first\nsystem.\n\nMore."""\n')
    (tmp_path / "systems/one/train.py").write_text(
        '"""Trains it: `--fast`.\n\nMore."""\nimport absent\n\nif __name__ == "__main__":\n    absent.run()\n'
    )
    (tmp_path / "systems/one/model.py").write_text('"""No verb."""\n')
    (tmp_path / "systems/one/flags/small.flags").write_text("# Cost: none.\n")
    (tmp_path / "systems/none/__init__.py").write_text("")
    return tmp_path / "systems"


def test_projects_and_verbs_are_listed_with_their_first_lines(package, capsys):
    assert verbs.main("systems", package, []) == 0
    text = capsys.readouterr().out
    assert "All systems." in text and "python -m systems.one\n      The first system." in text and "none\n" not in text
    assert verbs.main("systems.one", package / "one", ["--help"]) == 0
    text = capsys.readouterr().out
    assert "python -m systems.one.train\n      Trains it: `--fast`." in text and "small.flags" in text
    assert "model" not in text


def test_what_is_no_verb_takes_no_flags(package, capsys):
    assert verbs.main("systems.one", package / "one", ["trian"]) == 2
    assert capsys.readouterr().err == (
        "error: systems.one is no verb and takes no 'trian'; did you mean python -m systems.one.train? systems.one has "
        "train\n"
    )


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("systems.one.trian", "did you mean python -m systems.one.train? systems.one has train"),
        ("systems.one.zzz", "systems.one has train"),
        ("systems.one.model", "systems.one has train"),  # it is there, and would do nothing, without a word
        ("systems.noe", "did you mean python -m systems.one? systems has one"),
        ("systems.noe.train", "did you mean python -m systems.one? systems has one"),
        ("systems.one.train.more", "systems.one has train"),
        ("systems.none.train", "systems.none has no verbs"),
    ],
)
def test_a_mistyped_verb_is_told_those_that_there_are(package, capsys, module, words):
    with pytest.raises(SystemExit) as stop:
        verbs.check_module(["python", "-X", "dev", "-m", module, "--flag=-m"], "systems", package)
    assert stop.value.code == 2 and capsys.readouterr().err.endswith(f"{words}\n")


@pytest.mark.parametrize("command", [["-m", "systems.one.train"], ["-m", "systems"], ["-m", "other.nothing"], ["x.py"]])
def test_what_can_be_run_is_let_through(package, command):
    verbs.check_module(["python", *command], "systems", package)


def test_python_itself_is_asked(tmp_path):
    """By a mistyped verb, and by one that is there."""

    def call(module):
        return subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)

    mistyped = call("projects.van.trian")
    assert mistyped.returncode == 2 and mistyped.stderr == (
        "error: projects.van.trian is no verb; did you mean python -m projects.van.train? projects.van has sample, "
        "study, train\n"
    )
    assert call("projects.van.train").returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_project_lists_its_verbs(name, capsys):
    folder = ROOT / "projects" / name
    assert (folder / "__main__.py").exists() and f'"projects.{name}"' in (folder / "__main__.py").read_text()
    assert verbs.main(f"projects.{name}", folder, []) == 0
    text = capsys.readouterr().out
    assert verbs.verbs(folder) and all(
        f"python -m projects.{name}.{verb}\n      " in text for verb in verbs.verbs(folder)
    )


def test_the_command_lists_every_project():
    done = subprocess.run([sys.executable, "-m", "projects"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(f"python -m projects.{name}\n" in done.stdout for name in NAMES)
