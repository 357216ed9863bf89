"""Files that are whole or not there: write beside and rename; JSON; fingerprints that tell when a file changed.

Every result, weight file and container of the house is written through `write_atomically` or `beside`.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

LARGEST_JSON_ARRAY = 10_000


def sync_directory(path: pathlib.Path) -> None:
    """Makes a rename inside `path` survive a power cut (does nothing where directories cannot be synced)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def beside(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the same folder; it takes the name `path` when the block ends well.

    When the block raises (a full disk, an error, Ctrl-C), what was written is removed and `path` stays as it was.
    The file's mode is the one an ordinary `open` would give.

    Args:
      path: the final name of a file; its folder is made when missing.

    Raises:
      IsADirectoryError: `path` is a directory.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; give the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes `data` (text as UTF-8) under `path` so that a reader sees the old file or the whole new one."""
    with beside(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def remove(path: pathlib.Path) -> None:
    """Removes a file, a link (never what it points to) or a directory with all it holds; missing is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fingerprint(path: str | os.PathLike) -> str:
    """Returns a SHA-256 over content: of a file, or of every file below a directory with its relative name.

    Of a run directory only the weight files count (`*.safetensors`), because its logs and reports may be written anew
    without the model having changed.

    Raises:
      FileNotFoundError: there is nothing at `path`.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_file():
        return _sha256(path).hexdigest()
    is_run = (path / "meta.json").is_file() and (path / "flags.txt").is_file()
    members = path.glob("*.safetensors") if is_run else path.rglob("*")
    digest = hashlib.sha256()
    for member in sorted(member for member in members if member.is_file()):
        digest.update(f"{member.relative_to(path).as_posix()}\0".encode() + _sha256(member).digest())
    return digest.hexdigest()


def _sha256(path: pathlib.Path) -> "hashlib._Hash":
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes cleaned JSON, whole or not at all."""
    write_atomically(path, json.dumps(clean(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: pathlib.Path) -> Any:
    """Returns the content of a JSON file, or None when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def clean(value: Any, where: str = "result") -> Any:
    """Returns `value` in the types of JSON: NumPy and JAX numbers as numbers, small arrays as lists, paths as texts.

    What JSON has no number for is written as the texts "NaN", "Infinity", "-Infinity", which `float` reads back.
    A float32 becomes the shortest decimal that reads back to it.

    Raises:
      TypeError: something that has no form in JSON, named by its place.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and not isinstance(value, np.generic):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        cleaned = {str(key): clean(item, f"{where}.{key}") for key, item in value.items()}
        if len(cleaned) != len(value):
            raise TypeError(f"{where}: two keys are the same text in JSON: {list(value)}")
        return cleaned
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return clean({item.name: getattr(value, item.name) for item in dataclasses.fields(value)}, where)
    if hasattr(value, "_asdict"):
        return clean(value._asdict(), where)
    if isinstance(value, (list, tuple)):
        return [clean(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its like
            array = array.astype(np.float32)
        if array.dtype.kind in "biufU" and array.size <= LARGEST_JSON_ARRAY:
            if array.ndim:
                return [clean(item, f"{where}[{index}]") for index, item in enumerate(array)]
            if array.dtype.kind == "f":
                return clean(float(str(array[()])), where)
            return clean(array.item(), where)
        raise TypeError(f"{where}: an array of {array.dtype} {list(array.shape)} does not belong in JSON; write a file")
    raise TypeError(
        f"{where}: {type(value).__name__} has no form in JSON; give numbers, texts, lists and dicts of them"
    )


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """Returns "a/b" -> value for nested dicts; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
