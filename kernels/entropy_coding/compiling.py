"""How the core is compiled (everything releases the GIL), and the processor's instruction for renormalisation."""

import importlib.util
import sys

import numba
import numba.core.cgutils
import numba.extending
import numba.np.linalg


def _load_without_scipy() -> None:
    """Loads Numba's array functions, which import SciPy only to learn whether np.dot could be compiled.

    That is a quarter of the time in which a process starts to code. The answer is given without the import; whoever
    compiles np.dot later still gets the whole check, by the function that is put back.
    """

    def is_installed():
        if importlib.util.find_spec("scipy") is None:
            raise ImportError("scipy is required for linear algebra")

    kept = getattr(numba.np.linalg, "ensure_blas", None)
    if kept is None or "numba.np.arraymath" in sys.modules:
        return
    numba.np.linalg.ensure_blas = is_installed
    try:
        import numba.np.arraymath as loaded
    finally:
        numba.np.linalg.ensure_blas = kept
    loaded.ensure_blas = kept


_load_without_scipy()
compiled = numba.njit(cache=True, nogil=True, boundscheck=False)
inlined = numba.njit(cache=True, nogil=True, boundscheck=False, inline="always")


@numba.extending.intrinsic
def _leading_zeros(typing_context, value):
    """The processor's instruction for it: a table would lengthen the chain from one span to the next."""

    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], numba.core.cgutils.false_bit)

    return numba.types.int64(numba.types.int64), generate


@inlined
def renorm(span):
    """Shift that brings a span of 1 to 511 back to 256 to 511."""
    return _leading_zeros(span) - 55


@inlined
def neighbour_class(level):
    """0, 1, 2 for a previous level that is zero, negative, positive."""
    return 0 if level == 0 else (1 if level < 0 else 2)
