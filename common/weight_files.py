"""Weights on disk: `load_tree` and `save_tree` read and write them by what the path is.

`.safetensors` and `.npz` hold flat names and are read without ever unpickling: a nested tree is flattened with "/"
between the keys and nested again on reading; a name with dots and no slash stays as it is. `.npz` has no bfloat16 and
its like: such an array is stored as its bits, under "name:bfloat16" (uint16) or "name:float8_e4m3fn" (uint8), and so
on. What these files cannot hold, or say wrongly, is a `ValueError`. A directory is Orbax's, or that of a run.
"""

import io
import logging
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from common import files, orbax_files

LARGEST_DEPTH = 64  # nested levels of a tree
SAFETENSORS_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "BOOL": np.bool_,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "C64": np.complex64,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
}  # fmt: skip
BIT_TYPES = {1: np.uint8, 2: np.uint16}  # bytes of an element -> what holds its bits
EXTENDED = ("bfloat16", "float8_e4m3fn", "float8_e5m2")  # types beyond NumPy's own


def load_tree(path: str | os.PathLike) -> dict[str, Any]:
    """Returns weights as a nested dict of NumPy arrays.

    Args:
      path: an Orbax directory (also one with numbered steps: the newest; also a `Checkpointer`'s), a `.safetensors`
        or `.npz` file, or a run directory with `model.safetensors`.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: an unknown suffix, a damaged file, arrays of objects, or names that collide.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a .safetensors or .npz file, or a directory")
    if path.is_dir():
        if (path / "model.safetensors").is_file():
            return load_safetensors(path / "model.safetensors")
        if (path / "flags.txt").is_file() and (path / "meta.json").is_file():
            raise ValueError(f"{path} is a run directory without model.safetensors: its training has not finished")
        return _load_orbax(path)
    loaders = {".safetensors": load_safetensors, ".npz": load_npz}
    if path.suffix not in loaders:
        raise ValueError(
            f"{path}: unknown suffix {path.suffix!r}; expected .safetensors, .npz or an Orbax directory; load others "
            "by the library that wrote them (flax.serialization.msgpack_restore), and save the arrays by numpy.savez"
        )
    return loaders[path.suffix](path)


def save_tree(path: str | os.PathLike, tree: Mapping) -> None:
    """Writes a nested dict of arrays, whole or not at all, in the form that `load_tree` reads.

    Args:
      path: `NAME.safetensors`, `NAME.npz`, or a name without suffix (or ending in `.orbax`): an Orbax directory.
      tree: nested dict of arrays; keys are joined with "/".

    Raises:
      ValueError: an unknown suffix, arrays of objects, names that collide, a directory that holds something else.
    """
    path = pathlib.Path(path)
    if path.suffix == ".safetensors":
        save_safetensors(path, tree)
    elif path.suffix == ".npz":
        save_npz(path, tree)
    elif path.suffix in ("", ".orbax"):
        _save_orbax(path, tree)
    else:
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; expected .safetensors, .npz, or none (Orbax)")


def is_weights_path(path: str | os.PathLike) -> bool:
    """Returns whether `save_tree` knows what to write under this name."""
    return pathlib.Path(path).suffix in (".safetensors", ".npz", "", ".orbax")


def _load_orbax(path: pathlib.Path) -> dict[str, Any]:
    directory = orbax_files.arrays_directory(path)
    if directory is None:
        raise ValueError(f"{path} is neither an Orbax checkpoint nor a run directory")
    try:
        tree = orbax_files.load(directory)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is a damaged Orbax checkpoint: {' '.join(str(error).split())[:300]}") from None
    is_old_state = isinstance(tree, Mapping) and set(tree) == {"leaves", "checksum", "step"}
    if is_old_state or (directory.parent / orbax_files.CONTENT).is_file():
        raise ValueError(f"{path} is a training state, not weights; give the run directory or its model.safetensors")
    texts: list[str] = []
    tree = _without_texts(tree, "", texts)
    if texts:
        names = ", ".join(map(repr, texts[:4])) + (" ..." if len(texts) > 4 else "")
        logging.getLogger(__name__).warning("%s: texts are no weights and are left out: %s", path, names)
    try:
        flat = flatten(tree)
        return nest(orbax_files.unmark_empty(flat))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _without_texts(node: Any, prefix: str, texts: list[str]) -> Any:
    """Returns a tree without the texts among its leaves, whose names go to `texts`."""
    if isinstance(node, Mapping):
        items: Iterable[tuple[Any, Any]] = node.items()
    elif isinstance(node, (list, tuple)):
        items = [(str(index), item) for index, item in enumerate(node)]
    else:
        return node
    rest = {}
    for key, item in items:
        name = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(item, str):
            texts.append(name)
        else:
            rest[key] = _without_texts(item, name, texts)
    return rest if texts or isinstance(node, Mapping) else node


def _save_orbax(path: pathlib.Path, tree: Mapping) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and orbax_files.arrays_directory(path) is None):
        raise ValueError(f"{path} exists and is not an Orbax checkpoint; it is left as it is: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
    old = fresh.with_name(fresh.name + ".old")
    try:
        orbax_files.save(fresh, nest(orbax_files.mark_empty(flatten(tree))))
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def flatten(tree: Mapping) -> dict[str, np.ndarray]:
    """Returns "a/b" -> array for a nested dict of arrays (lists count as dicts of "0", "1", ...).

    Raises:
      ValueError: two leaves get one name, a name is a part of another ("a" and "a/b"), an empty key, or no numbers.
    """
    flat: dict[str, np.ndarray] = {}
    stack = [("", tree, 0)]
    while stack:
        prefix, node, depth = stack.pop()
        if isinstance(node, (list, tuple)):
            node = {str(index): item for index, item in enumerate(node)}
        if isinstance(node, Mapping):
            if depth > LARGEST_DEPTH:
                raise ValueError(f"the tree is nested more than {LARGEST_DEPTH} levels deep at {prefix[:80]!r}")
            for key, item in reversed(list(node.items())):
                stack.append((f"{prefix}/{key}" if prefix else str(key), item, depth + 1))
                if not str(key):
                    raise ValueError(f"an empty key below {prefix or 'the root'!r}")
        elif node is not None:
            if prefix in flat:
                raise ValueError(f"two arrays of the tree have the name {prefix!r} when keys are joined with '/'")
            flat[prefix] = as_array(node, prefix)
    if "" in flat:
        raise ValueError("expected a dict of arrays, not a single array: give it a name")
    nest(flat)
    return flat


def nest(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the nested dict that `flatten` turns into `flat`.

    Raises:
      ValueError: an empty part in a name, too many parts, or a name that is a part of another.
    """
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *parents, last = name.split("/")
        if not last or not all(parents):
            raise ValueError(f"name {name!r} has an empty part between its slashes; rename that array in its file")
        if len(parents) > LARGEST_DEPTH:
            raise ValueError(f"name {name[:80]!r}... is nested more than {LARGEST_DEPTH} levels deep")
        node = tree
        for depth, part in enumerate(parents, 1):
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                array_name = "/".join(parents[:depth])
                raise ValueError(f"name {name!r} collides with the array {array_name!r}; rename one of them")
        if last in node:
            raise ValueError(f"name {name!r} is both an array and a group of arrays; rename one of them")
        node[last] = array
    return tree


def as_array(value: Any, name: str) -> np.ndarray:
    """Returns `value` as a little-endian C-ordered array of numbers, its dtype and shape (also []) kept.

    Raises:
      ValueError: it holds objects or texts.
    """
    array = np.asarray(value, order="C")
    if array.dtype.kind not in "biufc" and array.dtype.name not in EXTENDED:
        raise ValueError(f"{name!r} holds {array.dtype} and not numbers: arrays of objects or texts are not stored")
    return array.astype(array.dtype.newbyteorder("<"), copy=False) if array.dtype.kind in "biufc" else array


def save_safetensors(path: str | os.PathLike, tree: Mapping) -> None:
    """Writes a tree as `.safetensors`, whole or not at all; equal trees give equal bytes."""
    import safetensors.numpy

    flat = flatten(tree)
    for name, array in flat.items():
        if array.dtype.type not in SAFETENSORS_DTYPES.values():
            raise ValueError(f"{name!r} is {array.dtype}, which .safetensors cannot hold; save as .npz")
    files.write_atomically(path, safetensors.numpy.save(dict(sorted(flat.items()))))


def load_safetensors(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the tree of a `.safetensors` file, names sorted.

    Raises:
      ValueError: not such a file, damaged, or with a type that NumPy lacks.
    """
    import safetensors

    try:
        entries = safetensors.deserialize(pathlib.Path(path).read_bytes())
    except (safetensors.SafetensorError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path} is not a whole .safetensors file: {error}") from None
    flat = {}
    for name, entry in sorted(entries, key=lambda pair: pair[0]):
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise ValueError(f"{path}: {name!r} is {entry['dtype']}, which is not supported")
        array = np.frombuffer(entry["data"], SAFETENSORS_DTYPES[entry["dtype"]])
        flat[name] = array.reshape(entry["shape"])
    return _nest_file(path, flat)


def save_npz(path: str | os.PathLike, tree: Mapping) -> None:
    """Writes a tree as `.npz`, whole or not at all (types beyond NumPy's as bits, see the module)."""
    entries = {}
    for name, array in flatten(tree).items():
        if name.rpartition(":")[2] in EXTENDED:
            raise ValueError(f"name {name!r} ends like the mark of a stored type; rename the array")
        if array.dtype.name in EXTENDED:
            entries[f"{name}:{array.dtype.name}"] = array.view(BIT_TYPES[array.dtype.itemsize])
        else:
            entries[name] = array
    with files.beside(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, array in entries.items():
            # A fixed date: equal trees give equal bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load_npz(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the tree of an `.npz` file, in the order of the file.

    Raises:
      ValueError: not such a file, damaged, or with an array of objects.
    """
    flat = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                array = _read_member(archive.read(info), name)
                name, extended, dtype = name.rpartition(":") if name.rpartition(":")[2] in EXTENDED else (name, "", "")
                if extended:
                    if array.dtype != BIT_TYPES[np.dtype(getattr(ml_dtypes, dtype)).itemsize]:
                        raise ValueError(f"{name!r} says it is {dtype}, but its bits are stored as {array.dtype}")
                    array = array.view(getattr(ml_dtypes, dtype))
                if name in flat:
                    raise ValueError(f"the name {name!r} appears twice")
                flat[name] = array
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile and zlib have many ways to say that a file is damaged
        raise ValueError(f"{path} is not a whole .npz file of numbers: {error or type(error).__name__}") from None
    return _nest_file(path, flat)


def _read_member(data: bytes, name: str) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name!r} has the unknown .npy version {version}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.kind not in "biufc" or dtype.hasobject:
        raise ValueError(f"{name!r} holds {dtype} and not numbers")
    count = 1
    for size in shape:
        count *= int(size)
    if count * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"{name!r} says {list(shape)} of {dtype}, but has {len(data) - stream.tell()} bytes")
    array = np.frombuffer(data, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")
    return as_array(array.copy(order="C"), name)


def _nest_file(path: str | os.PathLike, flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    try:
        return nest(flat)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
