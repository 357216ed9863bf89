"""Shows what a compressed network holds, tensor by tensor, and checks every sum in it: `--input=model.dcb`.

Looks only: nothing is written unless --run_dir is given, which keeps the table and a picture of the bits.
"""

import dataclasses
from collections.abc import Sequence

from common import app, config
from kernels import entropy_coding
from kernels.entropy_coding import DEFAULT_MAX_OUTPUT_BYTES, Summary
from projects.deepcabac import decompress, plots


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """One look."""

    input: str = config.field(help="a file that compress wrote")
    max_output_bytes: int = config.field(
        DEFAULT_MAX_OUTPUT_BYTES, "refuse a file that declares more bytes of weights than this", minimum=0
    )
    sort: str = config.field(
        "file", "order of the rows: as in the file, or the most bytes first", choices=("file", "bytes")
    )
    jobs: int | None = config.field(None, "threads (none: one a core)", minimum=1, identity=False)


def main(config: InspectConfig, run: app.Run) -> dict:
    """Prints the table, keeps it with a picture in the run, and returns the totals."""
    try:
        summary = entropy_coding.inspect(
            decompress.read(config.input), max_output_bytes=config.max_output_bytes, jobs=config.jobs
        )
    except ValueError as error:
        raise ValueError(f"{config.input}: {error}") from None
    if config.sort == "bytes":
        ordered = sorted(summary.tensors, key=lambda tensor: -tensor.stored_bytes)
        summary = dataclasses.replace(summary, tensors=tuple(ordered))
    columns, rows = table(summary)
    print(as_text(columns, rows))
    print(total_line(summary))
    run.table("tensors", columns, rows, "Tensors of the file", total_line(summary))
    plots.draw_bits(run, summary)
    return {
        "bytes": summary.total_bytes,
        "header_bytes": summary.header_bytes,
        "original_bytes": summary.original_bytes,
        "percent_of_original": 100 * summary.ratio,
        "tensors": len(summary.tensors),
        "check_sums": "all right",
    }


def table(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Returns column names and a row of texts for each tensor; bytes of a shared stream are marked with *."""
    columns = ["tensor", "shape", "dtype", "coding", "step", "zeros", "bits/weight", "bytes"]
    rows = [
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
    return columns, rows


def total_line(summary: Summary) -> str:
    """Returns the totals of a file as a sentence."""
    text = (
        f"{summary.total_bytes:,} bytes, {100 * summary.ratio:.3f} % of {summary.original_bytes:,}; "
        f"{summary.header_bytes:,} of them header; every check sum is right."
    )
    if any(tensor.shares_stream for tensor in summary.tensors):
        text += " (* its part, by size, of a stream that small tensors share)"
    return text


def as_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns an aligned table: texts to the left, numbers to the right."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    left = {"tensor", "shape", "dtype", "coding"}
    pad = [str.ljust if name in left else str.rjust for name in columns]
    texts = ["  ".join(p(cell, w) for p, cell, w in zip(pad, line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


if __name__ == "__main__":
    app.run(main, InspectConfig, transient=True)
