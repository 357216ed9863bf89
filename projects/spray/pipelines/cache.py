"""Results on disk, addressed by everything that they are results of.

An entry's key is the SHA-256 of its `meta`: the function's name and version, all parameters, defaults included, the
digests of the inputs (dtype, shape, exact bytes), the versions of the libraries, the precision and the device. An entry
is one HDF5 file, `FOLDER/ab/abcd….h5`, in CoRelAy's layout: a group named by the key with `data` (tuples as groups
000, 001, …), `meta`, `input` and `output`; and `structure`, from which types come back. It is written beside and
renamed; a result is computed by one process while others wait for it. A damaged entry is named in a warning and made
anew; one whose meta is another's is an error.
"""

import hashlib
import json
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from common import files, locking
from projects.spray.pipelines import digests

FORMAT = "havel.spray.cache.1"
WAIT_SECONDS = 3600.0  # for another process that computes an entry of the same first two digits


class DamagedEntryError(ValueError):
    """An entry cannot be read back to what was written; the text names the file and why."""


class ClashError(ValueError):
    """An entry holds the result of something else; the text names the file and the difference."""


def describe(name: str, version: str, parameters: Mapping[str, Any], inputs: Sequence[Any]) -> dict[str, Any]:
    """Returns the meta of a computation, of which `key_of` takes the digest.

    Args:
      name: of the function.
      version: of its code.
      parameters: all of them, by name, defaults included.
      inputs: what it is computed from.
    """
    import jax

    return {
        "format": FORMAT, "function": name, "version": version,
        "parameters": {key: _text(value) for key, value in sorted(parameters.items())},
        "inputs": [digests.digest(value) for value in inputs], "libraries": dict(digests.library_versions()),
        "double_precision": bool(jax.config.jax_enable_x64), "platform": jax.default_backend(),
    }  # fmt: skip


def key_of(meta: Mapping[str, Any]) -> str:
    """Returns the key of a computation, 64 hexadecimal digits."""
    return hashlib.sha256(_canonical(meta).encode()).hexdigest()


def path_of(folder: str | os.PathLike, key: str) -> pathlib.Path:
    """Returns where an entry lies."""
    return pathlib.Path(folder) / key[:2] / f"{key}.h5"


def remember(
    folder: str | os.PathLike, meta: Mapping[str, Any], compute: Callable[[], Any], types: Sequence[type] = ()
) -> Any:
    """Returns the result of a computation, from its entry where there is one, else computed and written.

    Args:
      folder: of the cache; made when missing.
      meta: from `describe`.
      compute: gives the result: arrays, numbers, texts, None, sparse matrices, and tuples, lists, mappings of them.
      types: the NamedTuples that may be in it.

    Raises:
      ClashError: the entry is another computation's.
      TypeError: a result that cannot be written; it is named.
    """
    key = key_of(meta)
    path = path_of(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            return read(folder, meta, types)
        except DamagedEntryError as error:
            warnings.warn(f"{error}: computed anew", stacklevel=2)
            damaged = True
    else:
        damaged = False
    try:
        lock = locking.acquire(path.parent / ".lock", WAIT_SECONDS)
    except locking.TakenError:  # it computes for very long: twice the same is no harm
        lock = None
    try:
        if path.exists() and not damaged:
            return read(folder, meta, types)
        result = compute()
        write(folder, meta, result, types)
        return read(folder, meta, types)  # the same types and bytes, whether it was there or not
    finally:
        if lock is not None:
            lock.release()


def write(folder: str | os.PathLike, meta: Mapping[str, Any], result: Any, types: Sequence[type] = ()) -> pathlib.Path:
    """Writes an entry, whole or not at all; returns its path. See `remember`."""
    import h5py

    key = key_of(meta)
    path = path_of(folder, key)
    tree, structure = _encode(result, tuple(types), meta["function"])
    with files.beside(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        group = file.create_group(key)
        _store(group, "data", tree)
        group["meta"] = _canonical(meta)
        group["input"] = json.dumps(meta["inputs"])
        group["output"] = json.dumps(digests.digest(tree))
        group["structure"] = json.dumps(structure)
    return path


def read(folder: str | os.PathLike, meta: Mapping[str, Any], types: Sequence[type] = ()) -> Any:
    """Returns the result of an entry.

    Raises:
      KeyError: there is none.
      DamagedEntryError, ClashError: it is not what was written, or another's.
      PermissionError: it may not be read.
    """
    import h5py

    key = key_of(meta)
    path = path_of(folder, key)
    if not path.exists():
        raise KeyError(f"{path}: no entry for {meta['function']}")
    try:
        with h5py.File(path, "r") as file:
            group = file[key]
            stored, structure = json.loads(group["meta"][()]), json.loads(group["structure"][()])
            tree, output = _load(group["data"]) if "data" in group else None, json.loads(group["output"][()])
        intact = digests.digest(tree) == output
    except PermissionError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DamagedEntryError(f"{path} is damaged ({type(error).__name__}: {error})") from error
    if stored != json.loads(_canonical(meta)):
        other = [name for name in meta if stored.get(name) != json.loads(_canonical(meta))[name]]
        raise ClashError(
            f"{path} holds a result of {stored.get('function')!r} with other {', '.join(other)}, not of "
            f"{meta['function']!r}: remove the file, or take another folder"
        )
    if not intact:
        raise DamagedEntryError(f"{path} is damaged (its content is not what was written)")
    return _decode(tree, structure, {kind.__name__: kind for kind in types}, path)


def _canonical(meta: Mapping[str, Any]) -> str:
    return json.dumps(meta, sort_keys=True)


def _text(value: Any) -> str:
    """Returns a parameter as a text that no other value has."""
    if value is None or isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic):
        return repr(value)
    return f"{type(value).__name__} {digests.digest(value)}"


def _encode(value: Any, types: tuple[type, ...], name: str) -> tuple[Any, Any]:
    """Returns (tuples of arrays, None where there is no array; what they were)."""
    if value is None or isinstance(value, (bool, int, str)) and not isinstance(value, np.generic):
        return None, {"value": value}
    if isinstance(value, float) and not isinstance(value, np.generic):
        return None, {"float": value.hex()}
    if isinstance(value, types):
        return _encode_all(value, {"named": type(value).__name__}, types, name)
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return _encode_all(value, {"sequence": type(value).__name__}, types, name)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return _encode_all(value.values(), {"keys": list(value)}, types, name)
    if hasattr(value, "tocsr"):
        parts = value.tocsr()
        items = (parts.data, parts.indices, parts.indptr)
        return _encode_all(items, {"sparse": list(parts.shape)}, types, name)
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind in "biufc":
            return array, "jax" if _is_jax(value) else "array"
        raise TypeError(f"{name} gives an array of {array.dtype}, which cannot be cached: expected numbers")
    raise TypeError(
        f"{name} gives a {type(value).__name__}, which cannot be cached: expected arrays, numbers, texts, tuples of "
        "them; run it without a cache"
    )


def _is_jax(value: Any) -> bool:
    import jax

    return isinstance(value, jax.Array)


def _encode_all(values, kind: dict, types: tuple[type, ...], name: str) -> tuple[tuple, dict]:
    pairs = [_encode(item, types, name) for item in values]
    return tuple(tree for tree, _ in pairs), kind | {"items": [structure for _, structure in pairs]}


def _decode(tree: Any, structure: Any, types: Mapping[str, type], path: pathlib.Path) -> Any:
    if structure == "array":
        return tree
    if structure == "jax":
        import jax.numpy as jnp

        return jnp.asarray(tree)
    if "value" in structure:
        return structure["value"]
    if "float" in structure:
        return float.fromhex(structure["float"])
    items = [_decode(part, kind, types, path) for part, kind in zip(tree, structure["items"], strict=True)]
    if "named" in structure:
        if structure["named"] not in types:
            raise DamagedEntryError(f"{path} holds a {structure['named']}, which is not among {', '.join(types)}")
        return types[structure["named"]](*items)
    if "keys" in structure:
        return dict(zip(structure["keys"], items, strict=True))
    if "sparse" in structure:
        import scipy.sparse

        return scipy.sparse.csr_matrix(tuple(items), shape=structure["sparse"])
    return tuple(items) if structure["sequence"] == "tuple" else items


def _store(group, key: str, tree: Any) -> None:
    if isinstance(tree, tuple):
        inner = group.create_group(key)
        for number, item in enumerate(tree):
            _store(inner, f"{number:03d}", item)
        inner.attrs["length"] = len(tree)
    elif tree is not None:
        group[key] = tree


def _load(node) -> Any:
    if hasattr(node, "keys"):
        length = int(node.attrs["length"])
        return tuple(_load(node[f"{i:03d}"]) if f"{i:03d}" in node else None for i in range(length))
    return node[()] if node.shape else np.asarray(node[()])
