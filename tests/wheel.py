"""The wheel built from a copy of the checkout, and a fresh environment that has it; tests share both (see conftest)."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILT_FROM = ("kernels", "pyproject.toml", "README.md", "LICENSE")


def run(*command, cwd, timeout=240, text="") -> str:
    """Runs a command that reads `text`, without this checkout on its path; returns what it prints."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    command = [str(part) for part in command]
    result = subprocess.run(
        command, cwd=cwd, env=clean, input=text, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def build(folder: pathlib.Path) -> pathlib.Path:
    """Builds the wheel in a folder, from a copy so that the checkout stays clean; returns its path."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    run(sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('dist')", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


def install(wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Returns the interpreter of a fresh environment with the wheel, and this environment's packages behind it."""
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
