"""What importing costs: nothing compiled, no JAX, no Flax until something needs them."""

import json
import subprocess
import sys

HEAVY = ("numba", "llvmlite", "jax", "jaxlib", "flax", "optax", "orbax", "scipy", "torch", "absl")


def modules_after(code: str) -> set[str]:
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_is_light():
    loaded = modules_after("import kernels.entropy_coding")
    assert "numpy" in loaded
    assert not loaded & set(HEAVY)


def test_reading_needs_no_jax():
    code = "import numpy as np\nfrom kernels import entropy_coding as e\n"
    loaded = modules_after(code + "e.decompress(e.compress({'a': [np.arange(9), None]}))")
    assert "numba" in loaded
    assert not loaded & {"jax", "flax", "absl"}


def test_the_core_leaves_scipy_alone_and_numba_whole():
    code = "import numpy as np, sys\nfrom kernels import entropy_coding as e\ne.encode_tensor([1, 0, 2])\n"
    code += "assert 'scipy.linalg' not in sys.modules, 'SciPy is a quarter of the start'\n"
    code += "import numba\nassert numba.njit(lambda a: np.dot(a, a))(np.eye(3)).sum() == 3"
    assert "scipy" in modules_after(code)
