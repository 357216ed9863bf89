"""Machine code of the compiled cores on disk, loaded through LLVM without the compiler that made it.

A file holds the object code of one function for one kind of arguments. Its name is a digest of all that it depends on:
the sources of its core, the versions, the processor. It lies beside the sources, or, where nobody may write there, in
the user's cache; $NUMBA_CACHE_DIR names another place. Damaged files are made anew.
"""

import ctypes
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import sys
import tempfile
import zlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
SHARED = ("compiling.py", "machine_code.py", "vectors.py")  # what every core may lean on beside its own folder
_RETURNED = {"int64": ctypes.c_int64, "float64": ctypes.c_double, "none": ctypes.c_int64}
_NO_VALUE = -2  # the status of a function that returns None, beside 0
# What LLVM itself puts in for loops that fill or copy; every process has them.
_LIBRARY_SYMBOLS = ("memset", "memcpy", "memmove")


class Unavailable(Exception):
    """Machine code cannot stand alone here: Numba has to run what it compiles."""


def entry(name: str, kinds: tuple, make, core: pathlib.Path):
    """A callable for a function of a core: from a file where there is one, else made and stored.

    Args:
      name: of the function, as its file is called.
      kinds: of the arguments: "i", "f", or (dtype character, axes) of an array.
      make: () -> (LLVM assembly, symbol, type that is returned), which compiles it.
      core: the folder of its sources.

    Raises:
      Unavailable: this cannot be done here.
    """
    digest = hashlib.blake2b(repr((name, kinds, _fingerprint(core))).encode(), digest_size=12).hexdigest()
    folders = _folders(core)
    record = _read(folders, f"{name}-{digest}.code")
    if record is None:
        record = _assemble(*make())
        _write(folders, f"{name}-{digest}.code", *record)
    return _Entry(name, kinds, *record)


class _Entry:
    """A function at an address, called as Numba calls it: results and errors by address, arrays field by field."""

    def __init__(self, name, kinds, symbol, returned, code):
        fields = [ctypes.c_void_p, ctypes.c_void_p]
        for kind in kinds:
            if isinstance(kind, str):
                fields.append(ctypes.c_double if kind == "f" else ctypes.c_int64)
            else:  # who owns it and its Python object, neither of which is asked for; values, bytes of one, address
                fields += [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p]
                fields += [ctypes.c_int64] * (2 * kind[1])
        self._name, self._returned, self._none = name, _RETURNED[returned], returned == "none"
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, *fields)(_engine().load(symbol, code))

    def __call__(self, *arguments):
        values = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                if not (argument.flags.c_contiguous and argument.flags.aligned):
                    raise ValueError(
                        f"{self._name}: an array of shape {argument.shape} is strided or unaligned: copy it"
                    )
                values += (None, None, argument.size, argument.itemsize, argument.ctypes.data)
                values += (*argument.shape, *argument.strides)
            else:
                values.append(float(argument) if isinstance(argument, (float, np.floating)) else int(argument))
        result, error = self._returned(), ctypes.c_void_p()
        status = self._call(ctypes.addressof(result), ctypes.addressof(error), *values)
        if status not in (0, _NO_VALUE):
            raise RuntimeError(f"{self._name} ended with status {status}, which no function of a core returns")
        return None if self._none else result.value


class _Engine:
    """LLVM's loader of object code for this process and processor."""

    def __init__(self):
        import llvmlite.binding as llvm

        self.llvm = llvm
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._module = llvm.parse_assembly("")
        try:
            features = llvm.get_host_cpu_features().flatten()
        except RuntimeError:  # LLVM knows none for some processors
            features = ""
        self.processor = (llvm.get_default_triple(), llvm.get_host_cpu_name(), features)
        self._engine = llvm.create_mcjit_compiler(self._module, self.machine())

    def machine(self, optimisation: int = 2):
        """The processor as a target of compilation."""
        target = self.llvm.Target.from_default_triple()
        return target.create_target_machine(
            cpu=self.processor[1], features=self.processor[2], opt=optimisation, codemodel="jitdefault", jit=True,
            reloc="static" if target.name.startswith("x86") else "default",
        )  # fmt: skip

    def load(self, symbol: str, code: bytes) -> int:
        self._engine.add_object_file(self.llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        return self._engine.get_function_address(symbol)


@functools.cache
def _engine() -> _Engine:
    try:
        return _Engine()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise Unavailable(f"LLVM loads no object code here: {error}") from error


def _assemble(assembly: str, symbol: str, returned: str) -> tuple[str, str, bytes]:
    """Symbol, returned type and object code of LLVM assembly, optimised already; Unavailable where it calls out."""
    engine = _engine()
    module = engine.llvm.parse_assembly(assembly)
    calls_out = [
        function.name
        for function in module.functions
        if function.is_declaration and not function.name.startswith(("llvm.", *_LIBRARY_SYMBOLS))
    ]
    if calls_out:
        raise Unavailable(f"{symbol} calls {', '.join(calls_out)}, which is no part of a core")
    return symbol, returned, engine.machine(3).emit_object(module)


@functools.cache
def _fingerprint(core: pathlib.Path) -> str:
    """What machine code depends on beside its own function: sources, versions, processor."""
    import llvmlite

    digest = hashlib.blake2b()
    for source in (*sorted(core.glob("*.py")), *(HERE / name for name in SHARED)):
        digest.update(source.read_bytes())
    numba = importlib.util.find_spec("numba")
    version = pathlib.Path(numba.origin).parent / "_version.py" if numba and numba.origin else None
    digest.update(version.read_bytes() if version and version.is_file() else b"")
    digest.update(repr((llvmlite.__version__, sys.implementation.cache_tag, _engine().processor)).encode())
    return digest.hexdigest()


def _folders(core: pathlib.Path) -> list[pathlib.Path]:
    """Where machine code may lie, the preferred place first."""
    if folder := os.environ.get("NUMBA_CACHE_DIR"):
        return [pathlib.Path(folder)]
    users = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [core / "__pycache__", pathlib.Path(users).expanduser() / "havel"]


def _read(folders: list[pathlib.Path], name: str) -> tuple[str, str, bytes] | None:
    for folder in folders:
        try:
            data = (folder / name).read_bytes()
            head, _, code = data.partition(b"\n")
            facts = json.loads(head)
            if facts["crc"] == zlib.crc32(code) and facts["returned"] in _RETURNED:
                return facts["symbol"], facts["returned"], code
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _write(folders: list[pathlib.Path], name: str, symbol: str, returned: str, code: bytes) -> None:
    """Keeps machine code in the first folder that can be written to; where there is none, nothing is stored."""
    head = json.dumps({"symbol": symbol, "returned": returned, "crc": zlib.crc32(code)})
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(head.encode() + b"\n" + code)
            os.replace(file.name, folder / name)
            return
        except OSError:
            continue
