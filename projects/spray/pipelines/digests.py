"""Digests of values and functions: SHA-256 over types, shapes, exact bytes and everything a function's result hangs on.

CoRelAy rounds numbers to two decimals before it hashes them and leaves parameters out: there two different computations
can share an entry. Here 1, 1.0 and True differ, so do float32 and float64, 0.0 and -0.0, and two lambdas of one line.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import pathlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

LIBRARIES = ("jax", "numpy", "scipy", "scikit-learn", "umap-learn")
ROOTS = {"jax": "jax", "numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn", "umap": "umap-learn"}


def digest(value: Any) -> str:
    """Returns the SHA-256 of a value, 64 hexadecimal digits.

    Args:
      value: numbers, texts, None, NumPy and JAX arrays, SciPy's sparse matrices, functions, and tuples, lists, mappings
        by text, NamedTuples and dataclasses of them.

    Raises:
      TypeError: anything else, which is named.
    """
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def _feed(state: "hashlib._Hash", value: Any) -> None:
    if value is None or isinstance(value, (bool, int, str, bytes)) and not isinstance(value, np.generic):
        _feed_text(state, type(value).__name__, repr(value))
    elif isinstance(value, float) and not isinstance(value, np.generic):
        _feed_text(state, "float", value.hex())
    elif isinstance(value, slice):
        _feed_all(state, "slice", [value.start, value.stop, value.step])
    elif hasattr(value, "_fields") and isinstance(value, tuple):
        _feed_all(state, f"named {type(value).__name__} {value._fields}", value)
    elif isinstance(value, (tuple, list)):
        _feed_all(state, type(value).__name__, value)
    elif isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"a mapping with keys {list(value)[:4]}: expected texts as keys")
        _feed_all(state, "mapping", [item for key in sorted(value) for item in (key, value[key])])
    elif _is_sparse(value):
        parts = value.tocoo()
        _feed_all(state, f"sparse {value.format}", [parts.shape, parts.row, parts.col, parts.data])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [item for field in dataclasses.fields(value) for item in (field.name, getattr(value, field.name))]
        _feed_all(state, f"dataclass {type(value).__qualname__}", items)
    elif callable(value):
        _feed_text(state, "function", function_version(value))
    elif hasattr(value, "__array__"):
        _feed_array(state, value)
    else:
        raise TypeError(
            f"{type(value).__name__} has no digest: expected numbers, texts, arrays, functions, or tuples of them"
        )


def _feed_text(state: "hashlib._Hash", kind: str, text: str) -> None:
    data = text.encode()
    state.update(f"{kind} {len(data)}:".encode() + data)


def _feed_all(state: "hashlib._Hash", kind: str, values) -> None:
    values = list(values)
    _feed_text(state, kind, str(len(values)))
    for value in values:
        _feed(state, value)


def _feed_array(state: "hashlib._Hash", value: Any) -> None:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError("an array of objects has no digest: expected numbers or texts")
    _feed_text(state, "array", f"{array.dtype.str} {array.dtype.name} {array.shape}")
    state.update(np.ascontiguousarray(array).tobytes())


def _is_sparse(value: Any) -> bool:
    return hasattr(value, "tocoo") and hasattr(value, "format")


def function_version(function: Callable) -> str:
    """Returns a text that changes with what a function does: code, its module's source, defaults, captured values.

    A function may declare `version` instead, a text of its own. Global variables of other modules that it reads are
    not seen.

    Raises:
      TypeError: a callable without code, such as an instance of a class; declare `version` on it.
    """
    declared = getattr(function, "version", None)
    if isinstance(declared, str):
        return f"{_name(function)} {declared}"
    if isinstance(function, functools.partial):
        return digest(("partial", function_version(function.func), function.args, dict(function.keywords)))
    function = inspect.unwrap(function)
    root = (getattr(function, "__module__", None) or "numpy").partition(".")[0]
    if isinstance(function, np.ufunc) or root in ROOTS:
        return f"{getattr(function, '__module__', 'numpy')}.{_name(function)} {library_versions()[ROOTS[root]]}"
    code = getattr(function, "__code__", None)
    if code is None:
        if isinstance(function, types.BuiltinFunctionType) or inspect.isclass(function):
            return f"{function.__module__}.{_name(function)}"
        raise TypeError(f"{function!r} has no code to take a digest of: declare a text `version` on it")
    captured = [cell.cell_contents for cell in function.__closure__ or ()]
    defaults = [function.__defaults__, function.__kwdefaults__]
    parts = [_name(function), source_digest(function), _code(code), captured, defaults]
    return digest(parts)


def source_digest(function: Callable) -> str:
    """Returns the SHA-256 of the source file of a function's module, "" where there is none."""
    try:
        path = pathlib.Path(inspect.getsourcefile(function) or "")
        return _file_digest(path, path.stat().st_mtime_ns)
    except (TypeError, OSError):
        return ""


def folder_digest(folder: pathlib.Path) -> str:
    """Returns the SHA-256 of all Python sources below a folder."""
    sources = sorted(folder.rglob("*.py"))
    parts = [(path.relative_to(folder).as_posix(), _file_digest(path, path.stat().st_mtime_ns)) for path in sources]
    return digest(parts)


@functools.cache
def _file_digest(path: pathlib.Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def library_versions() -> Mapping[str, str]:
    """Returns the versions of the libraries that compute here, "absent" where one is not installed."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return types.MappingProxyType(versions)


def _name(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _code(code: types.CodeType) -> tuple:
    constants = tuple(_code(item) if isinstance(item, types.CodeType) else repr(item) for item in code.co_consts)
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars
