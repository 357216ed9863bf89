"""Annotated shapes are checked while tests run, and cost nothing otherwise."""

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
    assert "kernels.entropy_coding.container.header" in names and "kernels.soft_entropy.bits" in names
    assert not any(".core." in name for name in names)


def test_the_kernels_run_without_jaxtyping():
    program = (
        "import sys; sys.modules['jaxtyping'] = None\n"
        "from kernels import entropy_coding, soft_entropy\n"
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
    assert config["tool"]["setuptools"]["package-data"]["havel.kernels"] == ["py.typed"]
    for name in kernels.__all__:
        assert (shape_checks.KERNELS / name).is_dir() or (shape_checks.KERNELS / f"{name}.py").is_file()
