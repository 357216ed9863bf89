"""How compiled cores are made, and how a process that finds them compiled does without Numba.

Importing Numba takes as long as coding a network of five million weights. So the machine code of each function lies on
disk once it was compiled (machine_code.py), and Numba comes in only where code is missing. Compiled functions take
C-contiguous arrays and plain numbers, allocate nothing, raise nothing, and run without the GIL. All of a room's lie in
its folder `core/`: what they are made of is then told by the sources of one folder and of three modules beside this.
"""

import pathlib
import threading
import types

import numpy as np

from . import machine_code

_lock = threading.RLock()


class Compiled:
    """A function of arrays and numbers that runs as machine code, made on its first call for each kind of arguments.

    Returns None, an integer or a float. Inside another compiled function it is one more function of its core.
    """

    def __init__(self, function, inline: str = "never"):
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.py_func, self._inline = function, inline
        self.entries: dict = {}

    def __call__(self, *arguments):
        kinds = tuple([_kind(argument) for argument in arguments])
        entry = self.entries.get(kinds) or self._entry_for(kinds)
        return entry(*arguments)

    def dispatcher(self):
        """Numba's form of the function, without what Python needs to call it."""
        with _lock:
            if not hasattr(self, "_dispatcher"):
                self._dispatcher = self._by_numba(no_cpython_wrapper=True, no_cfunc_wrapper=True)
            return self._dispatcher

    def _by_numba(self, **options):
        import numba

        if numba.config.DISABLE_JIT:
            raise RuntimeError("NUMBA_DISABLE_JIT is set, but compiled cores run as machine code only: unset it")
        namespace = dict(self.py_func.__globals__)
        for name in self.py_func.__code__.co_names:
            value = namespace.get(name)
            if isinstance(value, (Compiled, Intrinsic)):
                namespace[name] = value.dispatcher()
        bare = types.FunctionType(self.py_func.__code__, namespace, self.__name__)
        return numba.njit(
            bare, nogil=True, boundscheck=False, error_model="numpy", inline=self._inline, _nrt=False, **options
        )

    def _entry_for(self, kinds):
        with _lock:
            if kinds not in self.entries:
                name = f"{self.py_func.__module__.rpartition('.')[2]}.{self.__name__}"
                core = pathlib.Path(self.py_func.__code__.co_filename).parent
                try:
                    self.entries[kinds] = machine_code.entry(name, kinds, lambda: _compile(self, kinds), core)
                except machine_code.Unavailable:
                    self.entries[kinds] = self._by_numba()
            return self.entries[kinds]


class Intrinsic:
    """A single instruction, made where it is first needed, for it takes Numba to make it: decorates what makes it."""

    def __init__(self, make):
        self._make = make

    def dispatcher(self):
        if not hasattr(self, "_intrinsic"):
            self._intrinsic = self._make()
        return self._intrinsic


def compiled(function):
    """Decorator: a function of its own."""
    return Compiled(function)


def inlined(function):
    """Decorator: becomes a part of whatever calls it."""
    return Compiled(function, "always")


def _kind(argument):
    """What an argument is to the compiler: a dtype and a number of axes, or one of two kinds of numbers."""
    if isinstance(argument, np.ndarray):
        return argument.dtype.char, argument.ndim
    return "f" if isinstance(argument, (float, np.floating)) else "i"


def _compile(kernel: Compiled, kinds) -> tuple[str, str, str]:
    """Compiles for arguments of these kinds; returns optimised LLVM assembly, the symbol, and what is returned."""
    from numba import types as numba_types
    from numba.np import numpy_support

    numbers = {"f": numba_types.float64, "i": numba_types.int64}
    signature = tuple(
        numbers[kind]
        if isinstance(kind, str)
        else numba_types.Array(numpy_support.from_dtype(np.dtype(kind[0])), kind[1], "C")
        for kind in kinds
    )
    dispatcher = kernel.dispatcher()
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature]
    return dispatcher.inspect_llvm(signature), result.fndesc.llvm_func_name, str(result.signature.return_type)
