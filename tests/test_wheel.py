"""The wheel in a fresh environment: `havel.kernels` alone, every kernel, a network compressed in five lines.

Nothing is downloaded: the wheel is built by setuptools of this environment, and the fresh environment finds the
dependencies (jax, numpy, numba, ml_dtypes) in this one through a .pth file.
"""

import email
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILT_FROM = ("kernels", "pyproject.toml", "README.md", "LICENSE")

FIVE_LINES = """
import numpy as np
from havel.kernels import entropy_coding
tree = {"dense": {"kernel": np.linspace(-1, 1, 6000, dtype="f4").reshape(60, 100), "bias": np.zeros(100, "f4")}}
data = entropy_coding.compress(tree, step=0.01)
back = entropy_coding.decompress(data)
"""

CHECKS = """
import pathlib, sys
assert np.abs(np.asarray(back["dense"]["kernel"]) - tree["dense"]["kernel"]).max() <= 0.0051
assert np.asarray(back["dense"]["kernel"]).dtype == np.float32 and np.asarray(back["dense"]["bias"]).shape == (100,)
assert len(data) < 24400 / 2, len(data)
where = pathlib.Path(entropy_coding.__file__).resolve()
assert pathlib.Path(sys.prefix).resolve() in where.parents, where
print("compressed to", len(data))
"""

IMPORT_ALL = """
import importlib, importlib.util, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
for name in ("kernels", "common", "projects", "tests"):
    assert importlib.util.find_spec(name) is None, f"the wheel ships a top-level {name!r}"
assert "flax" not in sys.modules and "absl" not in sys.modules, "a kernel imports Flax or absl"
print("imported", len(sys.argv) - 1)
"""


def run(*command, cwd, timeout=240) -> str:
    """Runs a command without this checkout on its path; returns what it prints or fails with its errors."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    command = [str(part) for part in command]
    result = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=timeout, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    run(sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('dist')", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> pathlib.Path:
    """The interpreter of a fresh environment with the wheel installed and this environment's packages behind it."""
    folder = tmp_path_factory.mktemp("fresh") / "environment"
    # Interpreters without ensurepip (some distributions') get the wheel unpacked, which for pure Python is the same.
    made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, timeout=240, check=False)
    pip = made.returncode == 0
    if not pip:
        shutil.rmtree(folder, ignore_errors=True)
        run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    packages = pathlib.Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    if pip:
        run(python, "-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check", wheel, cwd=folder)
    else:
        zipfile.ZipFile(wheel).extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def kernel_modules() -> list[str]:
    """Every module of kernels/ under the name that the wheel gives it, benchmarks excepted."""
    names = []
    for path in sorted((ROOT / "kernels").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__main__" and not parts[-1].startswith("bench"):
            names.append(".".join(("havel", *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return names


def test_wheel_holds_the_kernels_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    beside = f"havel-{version}.dist-info/"
    assert [name for name in names if not name.startswith(("havel/kernels/", beside))] == []
    shipped = {name for name in names if name.endswith(".py")}
    expected = {"havel/" + path.relative_to(ROOT).as_posix() for path in (ROOT / "kernels").rglob("*.py")}
    assert shipped == expected, f"name the folder in pyproject.toml, [tool.setuptools] packages: {expected ^ shipped}"
    assert any(name.endswith("LICENSE") for name in names)


def test_wheel_needs_what_the_kernels_import(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    fields = email.message_from_bytes(archive.read(metadata))
    always = [line for line in fields.get_all("Requires-Dist") if "extra" not in line]
    needs = {re.match(r"[\w-]+", line).group().replace("-", "_") for line in always}
    assert needs == {"jax", "numpy", "numba", "llvmlite", "ml_dtypes"}
    assert fields["Requires-Python"] == ">=3.11"


def test_five_lines_compress_a_network(installed, tmp_path):
    assert "compressed to" in run(installed, "-c", FIVE_LINES + CHECKS, cwd=tmp_path)


def test_the_lines_in_the_readme_run(installed, tmp_path):
    """Every Python block of README.md that imports havel runs as it stands, and is five lines or fewer."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    blocks = [block for block in blocks if "from havel.kernels import" in block]
    assert blocks, "README.md shows no `from havel.kernels import ...` block"
    for block in blocks:
        lines = [line for line in block.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert len(lines) <= 5, block
        run(installed, "-c", block, cwd=tmp_path)


def test_every_kernel_imports(installed, tmp_path):
    modules = kernel_modules()
    assert "havel.kernels.entropy_coding" in modules
    assert f"imported {len(modules)}" in run(installed, "-c", IMPORT_ALL, *modules, cwd=tmp_path)
