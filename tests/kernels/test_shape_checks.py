"""Annotated shapes are checked while tests run, and cost nothing otherwise."""

import importlib
import inspect
import subprocess
import sys
import tomllib

import jax.numpy as jnp
import numpy as np
import pytest

import kernels
from kernels import ising, soft_entropy
from kernels.entropy_coding import codeword
from tests.kernels import shape_checks


def test_a_wrong_shape_is_caught():
    import jaxtyping  # an environment without it checks nothing: make setup

    with pytest.raises(jaxtyping.TypeCheckError):
        soft_entropy.moments(jnp.ones((5, 3)), jnp.ones(4))
    options = codeword.make_options((3, 2), 11)
    with pytest.raises(jaxtyping.TypeCheckError):
        codeword.skipped_rows(np.zeros(3, np.int32), options)
    with pytest.raises(jaxtyping.TypeCheckError):
        ising.energies.pairwise(np.ones((2, 3)), np.zeros((4, 4)))


def test_everything_but_the_core_is_checked():
    names = shape_checks.modules()
    assert "kernels.entropy_coding.container.header" in names and "kernels.attribution.engine" in names
    assert not any(".core." in name or ".bench" in name for name in names)


def public_functions(module, prefix: str):
    """(name, function) of all that a room promises, in its public modules, too."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    for name in getattr(module, "__all__", None) or [name for name in own if not name.startswith("_")]:
        value = getattr(module, name)
        if inspect.ismodule(value):
            yield from public_functions(value, f"{prefix}.{name}")
        elif inspect.isfunction(value) or hasattr(value, "__wrapped__"):
            yield f"{prefix}.{name}", value


@pytest.mark.parametrize("room", shape_checks.ROOMS)
def test_every_public_function_says_its_types(room):
    functions = list(public_functions(importlib.import_module(f"kernels.{room}"), room))
    assert functions
    for name, function in functions:
        signature = inspect.signature(function)
        bare = [one.name for one in signature.parameters.values() if one.annotation is one.empty]
        assert not bare and signature.return_annotation is not signature.empty, f"{name}: {bare or 'its result'}"


def test_the_kernels_run_without_jaxtyping():
    program = (
        "import sys; sys.modules['jaxtyping'] = None\n"
        "from kernels import entropy_coding, soft_entropy\n"
        "from kernels import attribution, autoregressive, boundary_attack, ising\n"
        "assert entropy_coding.decode_tensor(entropy_coding.encode_tensor([1, 2]), (2,)).tolist() == [1, 2]\n"
        "print(soft_entropy.soft_assign(1.0, soft_entropy.symmetric_grid(1.0, 3), 1.0).shape)"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == ["(3,)"]


def test_the_package_says_its_version_and_ships_its_types():
    config = tomllib.loads((shape_checks.KERNELS.parent / "pyproject.toml").read_text())
    assert kernels.__version__ == config["project"]["version"]
    assert (shape_checks.KERNELS / "py.typed").is_file()
    assert "overrides" not in config["tool"]["mypy"]  # no room is exempt
    assert config["tool"]["setuptools"]["package-data"]["havel.kernels"] == ["py.typed"]
    for name in kernels.__all__:
        assert (shape_checks.KERNELS / name).is_dir() or (shape_checks.KERNELS / f"{name}.py").is_file()
