"""A compressed network at a glance: its tensors, what each is stored as, and what it takes."""

import dataclasses
import math

import numpy as np

from ...array_types import Buffer
from ...host_arrays import buffer
from . import file, layout
from .layout import RAW_STREAM, TRELLIS, UNIFORM, Entry, Stream
from .reading import DEFAULT_MAX_OUTPUT_BYTES, check_limit, decode, members_of
from .tree import Codebook, Quantized


@dataclasses.dataclass(frozen=True)
class TensorSummary:
    """What a file says of one tensor.

    `stored_bytes` of tensors that share a stream is their part of it by size. `coder` holds the options of a stream of
    its own, as `encode_tensor` and `rate_exact` take them; `axes` the order in which axes are coded (None as stored).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    coding: str
    step: float | None
    nonzero: int
    stored_bytes: float
    shares_stream: bool
    axes: tuple[int, ...] | None = None
    coder: dict | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return 1 - self.nonzero / self.size if self.size else 0.0

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.stored_bytes / self.size if self.size else 0.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """A file at a glance: sizes in bytes, and its tensors."""

    version: int
    total_bytes: int
    header_bytes: int
    original_bytes: int
    tensors: tuple[TensorSummary, ...]

    @property
    def ratio(self) -> float:
        """Size of the file over the size of its tensors in their own dtypes."""
        return self.total_bytes / self.original_bytes if self.original_bytes else math.inf


def inspect(data: Buffer, *, max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES, jobs: int | None = None) -> Summary:
    """A summary of a file. Every check sum is verified and every stream decoded on the way.

    Raises:
      ValueError: as `decompress`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> data = entropy_coding.compress({"w": np.array([[0.1, -0.26]], np.float32)}, step=0.5)
      >>> [(tensor.name, tensor.shape, tensor.nonzero) for tensor in entropy_coding.inspect(data).tensors]
      [('w', (1, 2), 1)]
    """
    check_limit(max_output_bytes)
    entries, streams = file.read(data, max_output_bytes)
    leaves = decode(entries, entries, streams, True, jobs)
    members = members_of(entries)
    sizes = {stream: sum(max(entry.size, 1) for entry in group) for stream, group in members.items()}
    tensors = []
    for entry, (_, leaf) in zip(entries, leaves, strict=True):
        if entry.empty is not None:
            continue
        values = leaf.q if isinstance(leaf, Quantized) else leaf.labels if isinstance(leaf, Codebook) else leaf
        shared = entry.stream >= 0 and len(members[entry.stream]) > 1
        stored = 0.0
        if entry.stream >= 0:
            stored = len(streams[entry.stream].data) * max(entry.size, 1) / sizes[entry.stream]
        tensors.append(TensorSummary(
            entry.name, entry.shape, entry.dtype.name, layout.CODING_NAMES[entry.coding],
            entry.step if entry.coding in (UNIFORM, TRELLIS) else None, int(np.count_nonzero(values)), stored,
            shared, entry.axes, _coder_options(entry, streams, shared),
        ))  # fmt: skip
    total, payload = len(buffer("data", data)), sum(len(stream.data) for stream in streams)
    original = sum(entry.nbytes for entry in entries)
    return Summary(layout.VERSION, total, total - payload, original, tuple(tensors))


def _coder_options(entry: Entry, streams: list[Stream], shared: bool) -> dict | None:
    if shared or entry.stream < 0 or streams[entry.stream].kind == RAW_STREAM:
        return None
    stream = streams[entry.stream]
    return {"n_unary": stream.n_unary, "dq": stream.dq, "scan": stream.scan, "profile": stream.profile}
