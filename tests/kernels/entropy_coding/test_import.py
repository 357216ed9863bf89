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
    assert "llvmlite" in loaded
    assert not loaded & {"jax", "flax", "absl"}


def test_a_core_that_is_compiled_needs_no_compiler():
    code = "import numpy as np\nfrom kernels import entropy_coding as e\n"
    code += "e.decompress(e.compress({'a': np.ones((60, 60))}, step=0.1, quantizer='trellis', rate_weight=0.1))"
    modules_after(code)
    assert not modules_after(code) & {"numba", "scipy"}
