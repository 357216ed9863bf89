"""Shows what a compressed network holds, tensor by tensor, and checks every sum in it: `--input=model.dcb`.

Looks only: nothing is written unless --run_dir is given, which keeps the table and a picture of the bits.
"""

import dataclasses
from collections.abc import Sequence

from common import app, config
from kernels import entropy_coding
from kernels.entropy_coding import Summary
from projects.deepcabac import decompress, plots
from projects.deepcabac.config import FileConfig

COLUMNS = ("tensor", "shape", "dtype", "coding", "step", "zeros", "bits/weight", "bytes")
TEXTS = 4  # columns of texts, which stand to the left; numbers stand to the right


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectConfig(FileConfig):
    """One look."""

    sort: str = config.field(
        "file", "order of the rows: as in the file, or the most bytes first", choices=("file", "bytes")
    )


def main(settings: InspectConfig, run: app.Run) -> dict:
    """Prints the table, keeps it with a picture in the run, and returns the totals."""
    summary, _ = decompress.read(entropy_coding.inspect, settings)
    if settings.sort == "bytes":
        tensors = sorted(summary.tensors, key=lambda tensor: -tensor.stored_bytes)
        summary = dataclasses.replace(summary, tensors=tuple(tensors))
    rows, totals = tensor_rows(summary), total_line(summary)
    print(as_text(rows))
    print(totals)
    run.table("tensors", COLUMNS, rows, "Tensors of the file", totals)
    plots.draw_bits(run, summary)
    return {
        "bytes": summary.total_bytes,
        "header_bytes": summary.header_bytes,
        "original_bytes": summary.original_bytes,
        "percent_of_original": 100 * summary.ratio,
        "tensors": len(summary.tensors),
        "check_sums": "all right",
    }


def tensor_rows(summary: Summary) -> list[list[str]]:
    """Returns a row of texts for each tensor; bytes of a shared stream are marked with *."""
    return [
        [
            tensor.name,
            "x".join(map(str, tensor.shape)) or "scalar",
            tensor.dtype,
            tensor.coding,
            "" if tensor.step is None else f"{tensor.step:.5g}",
            f"{100 * tensor.sparsity:.1f} %",
            f"{tensor.bits_per_weight:.3f}",
            f"{tensor.stored_bytes:,.0f}" + ("*" if tensor.shares_stream else " "),
        ]
        for tensor in summary.tensors
    ]


def total_line(summary: Summary) -> str:
    """Returns the totals of a file as a sentence."""
    text = (
        f"{summary.total_bytes:,} bytes, {100 * summary.ratio:.3f} % of {summary.original_bytes:,}; "
        f"{summary.header_bytes:,} of them header; every check sum is right."
    )
    if any(tensor.shares_stream for tensor in summary.tensors):
        text += " (* its part, by size, of a stream that small tensors share)"
    return text


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Returns an aligned table: texts to the left, numbers to the right."""
    lines = [COLUMNS, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pad = [str.ljust] * TEXTS + [str.rjust] * (len(COLUMNS) - TEXTS)
    texts = ["  ".join(p(cell, w) for p, cell, w in zip(pad, line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


if __name__ == "__main__":
    app.run(main, InspectConfig, transient=True)
