"""Shapes and dtypes in the annotations of the kernels, checked at run time: every call of a test run, by beartype.

jaxtyping's import hook decorates the functions of the modules below as they are imported. What is compiled stays as it
is (Numba reads the functions themselves), and so do benchmarks and the reading of traced functions, which has graphs
and no arrays.
"""

import pathlib

KERNELS = pathlib.Path(__file__).resolve().parents[2] / "kernels"
ROOMS = tuple(sorted(path.parent.name for path in KERNELS.glob("*/__init__.py")))


def modules() -> list[str]:
    """Names of the modules whose annotations are checked."""
    paths = [path for room in ROOMS for path in sorted((KERNELS / room).rglob("*.py"))]
    names = [path.relative_to(KERNELS.parent).with_suffix("").parts for path in paths]
    left_out = ("core", "tracing", "bench", "__init__")
    return [".".join(parts) for parts in names if not any(part.startswith(left_out) for part in parts)]


def install() -> None:
    """Decorates what is imported from now on; without jaxtyping and beartype nothing (test_shape_checks.py says so)."""
    try:
        import beartype  # noqa: F401
        import jaxtyping
    except ImportError:
        return
    jaxtyping.install_import_hook(modules(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
