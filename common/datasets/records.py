"""Examples in array-record files, for data that does not fit into memory: written once, read one by one in any order.

    records.write("photos", ({"images": image, "labels": label} for image, label in mine))
    source = records.Records("photos")      # len(source), source[17]["images"]: what Grain calls a source

A folder holds `part-00000.array_record` and so on, and `schema.json`: names, types and shapes of an example's arrays,
which are the same for all of them. A record is their bytes one after another. The files' own checksums tell damage.

`python -m common.datasets.records NAME FOLDER` writes the training images of a data set, those for validation left out.
"""

import argparse
import json
import math
import os
import pathlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from common import files
from common.datasets.dataset import DamagedDataError

SCHEMA = "schema.json"
PER_FILE = 1 << 16  # examples
Example = dict[str, np.ndarray]


def write(folder: str | os.PathLike, examples: Iterable[Mapping[str, Any]], *, per_file: int = PER_FILE) -> int:
    """Writes examples into a new folder, and returns how many. A folder is whole or not there.

    Args:
      folder: it does not exist yet.
      examples: each a dict of arrays or numbers, of the names, types and shapes of the first. For
        `common.training.classifier`: "images" uint8 `[height, width, channels]` and "labels", an integer.
      per_file: examples in a file.

    Raises:
      ValueError: there are none, one is unlike the first, or the folder is there.
    """
    from array_record.python import array_record_module

    folder = pathlib.Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} is there already: name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    files.remove(temporary)
    temporary.mkdir()
    fields: dict[str, np.ndarray] = {}
    count = checksum = 0
    writer: Any = None
    try:
        for count, example in enumerate(examples, 1):
            if not isinstance(example, Mapping):
                raise ValueError(f"example {count} is {type(example).__name__}: expected a dict of arrays")
            arrays = {name: np.asarray(value) for name, value in example.items()}
            fields = fields or arrays
            _check_alike(count, arrays, fields)
            if (count - 1) % per_file == 0:
                if writer is not None:
                    writer.close()
                path = temporary / f"part-{(count - 1) // per_file:05d}.array_record"
                writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
            record = b"".join(arrays[name].tobytes() for name in fields)
            checksum = zlib.crc32(record, checksum)
            writer.write(record)
        if writer is None:
            raise ValueError(f"{folder}: no examples to write")
        writer.close()
        writer = None
        schema = {name: [array.dtype.name, list(array.shape)] for name, array in fields.items()}
        # With the checksum of all records the schema tells other examples: a run that goes on knows it by this file.
        files.write_json(temporary / SCHEMA, {"examples": count, "fields": schema, "checksum": checksum})
        os.replace(temporary, folder)
        files.sync_directory(folder.parent)
    finally:
        if writer is not None:
            writer.close()
        files.remove(temporary)
    return count


def _check_alike(number: int, arrays: Mapping[str, np.ndarray], fields: Mapping[str, np.ndarray]) -> None:
    if arrays.keys() != fields.keys():
        raise ValueError(f"example {number} has {', '.join(arrays)}, the first has {', '.join(fields)}")
    for name, array in arrays.items():
        first = fields[name]
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"example {number}: {name!r} is {array.dtype}: expected numbers; a text is an array of bytes"
            )
        if array.dtype.hasobject or (array.dtype, array.shape) != (first.dtype, first.shape):
            raise ValueError(
                f"example {number}: {name!r} is {array.dtype} {list(array.shape)}, of the first {first.dtype} "
                f"{list(first.shape)}; make them equal, by cropping or padding"
            )


class Records:
    """The examples of a folder; a source for `grain.MapDataset.source`."""

    def __init__(self, folder: str | os.PathLike):
        """Opens a folder that `write` has made.

        Raises:
          ValueError: it is none; DamagedDataError: files are missing or cut short.
        """
        self.folder = pathlib.Path(folder)
        try:
            content = json.loads((self.folder / SCHEMA).read_text("utf-8"))
            self._count = int(content["examples"])
            self.fields = {name: (np.dtype(dtype), tuple(shape)) for name, (dtype, shape) in content["fields"].items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.folder} is no folder of examples ({SCHEMA}: {error}); write it by common.datasets.records"
            ) from None
        self._sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in self.fields.values()]
        self._source = self._open()
        if len(self._source) != self._count:
            raise DamagedDataError(
                f"{self.folder} holds {len(self._source)} examples, {self._count} were written: restore its files"
            )

    def _open(self) -> Any:
        import grain

        paths = sorted(map(str, self.folder.glob("*.array_record")))
        if not paths:
            raise DamagedDataError(f"{self.folder} holds no .array_record files: restore them")
        try:
            return grain.sources.ArrayRecordDataSource(paths)
        except Exception as error:
            raise DamagedDataError(f"{self.folder}: {error}") from None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        """Returns one example.

        Raises:
          DamagedDataError: its bytes are not those that were written.
        """
        return self.__getitems__([int(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Returns several examples, read at once."""
        if bad := [int(index) for index in indices if not 0 <= index < self._count]:
            raise IndexError(f"example {bad[0]} of {self._count}")
        try:
            records = self._source.__getitems__([int(index) for index in indices])
        except MemoryError:
            raise
        except Exception as error:
            raise DamagedDataError(f"{self.folder}: {' '.join(str(error).split())[:300]}") from None
        return [self._decoded(record) for record in records]

    def _decoded(self, record: bytes) -> Example:
        if len(record) != sum(self._sizes):
            raise DamagedDataError(f"{self.folder}: a record of {len(record)} bytes, expected {sum(self._sizes)}")
        example, start = {}, 0
        for (name, (dtype, shape)), size in zip(self.fields.items(), self._sizes, strict=True):
            example[name] = np.frombuffer(record, dtype, math.prod(shape), start).reshape(shape)
            start += size
        return example

    def __repr__(self) -> str:
        fields = ", ".join(f"{name} {dtype.name} {list(shape)}" for name, (dtype, shape) in self.fields.items())
        return f"Records({self.folder}: {self._count:,} examples of {fields})"


def main() -> None:
    """Writes the training images of a data set as records."""
    from common import datasets

    parser = argparse.ArgumentParser(prog="python -m common.datasets.records", description=main.__doc__)
    parser.add_argument("name", choices=datasets.NAMES)
    parser.add_argument("folder", help="to be made")
    arguments = parser.parse_args()
    try:
        options: dict[str, Any] = {"size": 28} if arguments.name == "digits" else {}  # as networks take them
        train, _ = datasets.split_validation(datasets.load(arguments.name, **options))
        examples = ({"images": image, "labels": label} for image, label in zip(*train, strict=True))
        count = write(arguments.folder, examples)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{count:,} examples in {arguments.folder}")


if __name__ == "__main__":
    main()
