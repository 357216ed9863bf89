"""The wheel in a fresh environment: `havel.kernels` alone, every kernel, a network compressed in five lines.

Nothing is downloaded: the wheel is built by setuptools of this environment, and the fresh environment finds the
dependencies (jax, numpy, numba, ml_dtypes) in this one through a .pth file.
"""

import email
import pathlib
import re
import tomllib
import zipfile

from tests.wheel import run

ROOT = pathlib.Path(__file__).resolve().parents[1]

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


def test_every_kernel_imports(installed, tmp_path):
    modules = kernel_modules()
    assert "havel.kernels.entropy_coding" in modules
    assert f"imported {len(modules)}" in run(installed, "-c", IMPORT_ALL, *modules, cwd=tmp_path)
