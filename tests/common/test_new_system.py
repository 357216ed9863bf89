"""What `python -m common.new_system` writes passes its own tests, lints, and is small; bad names write nothing."""

import os
import pathlib
import subprocess
import sys

import pytest

from common.new_system.__main__ import TEMPLATE, write
from common.runs import provenance

ROOT = provenance.ROOT
LARGEST = 250  # lines of a new system


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A repository with nothing in it but a new system, beside our own floors."""
    root = tmp_path_factory.mktemp("checkout")
    paths = write("toy_system", "arXiv:0000.00000", root)
    for name in ("common", "kernels", "launch", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    (root / "projects" / "__init__.py").write_text((ROOT / "projects" / "__init__.py").read_text())
    assert sum(len(path.read_text().splitlines()) for path in paths) < LARGEST
    assert not any("$" in path.read_text() for path in paths)
    return root


def call(root: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_its_tests_pass(checkout):
    result = call(checkout, "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests")
    assert result.returncode == 0 and "4 passed" in result.stdout, result.stdout + result.stderr


def test_it_is_clean(checkout):
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        result = call(checkout, "ruff", *command, "projects", "tests")
        assert result.returncode == 0, result.stdout + result.stderr


def test_its_flag_file_and_commands_are_there(checkout):
    result = call(checkout, "projects.toy_system.train", "--helpshort")
    assert "--strength" in result.stdout + result.stderr


@pytest.mark.parametrize("name", ["Toy", "2d", "a-b", "class", "", "../x"])
def test_names_that_are_no_modules(name, tmp_path):
    with pytest.raises(ValueError, match="expected a module's name"):
        write(name, "", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "tests" / "projects" / "toy").mkdir(parents=True)
    with pytest.raises(ValueError, match="is there already"):
        write("toy", "", tmp_path)
    assert not (tmp_path / "projects").exists() and TEMPLATE.is_dir()
