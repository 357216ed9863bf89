"""The whole way in one command: trains a small network, compresses it, decodes the file, and shows it all on one page.

LeNet-300-100 on MNIST (on scikit-learn's digits where MNIST can neither be found nor fetched, which is then said), made
sparse while it trains; the smallest file that keeps its accuracy on images kept apart; accuracy of the decoded weights
on test images. Some minutes on two CPU cores; a second call answers at once.
"""

import dataclasses
import pathlib

from common import app, config, weight_files
from common.publishing import report
from common.runs import provenance
from common.study import pieces
from common.study.pieces import Piece
from kernels import entropy_coding
from projects.deepcabac import inspect
from projects.deepcabac.config import FLAGS, CompressConfig, training_of
from projects.deepcabac.decompress import DecompressConfig
from projects.deepcabac.judge import open_judge


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What the demo may vary."""

    flags: str = config.field(str(FLAGS.relative_to(provenance.ROOT) / "demo.flags"), "flagfile of the training")
    seed: int = config.field(0, "of the training", minimum=0)
    search: str = config.field("dc_v1", "method of compress", choices=("dc_v1", "dc_v2"))
    tolerance: float = config.field(0.002, "accuracy that may be lost on the images kept apart", minimum=0.0)


def main(settings: DemoConfig, run: app.Run) -> dict:
    """Runs the verbs one after the other, each in a run directory below that of the demo, and writes the page."""
    flagfile = pathlib.Path(settings.flags)
    if not flagfile.is_file():
        flagfile = provenance.ROOT / settings.flags
    file, weights, runs = run.path / "model.dcb", run.path / "decoded.safetensors", str(run.path / "runs")
    train = Piece("demo", "deepcabac.train", training_of(flagfile, settings.seed), runs=runs)
    compression = CompressConfig(
        checkpoint=str(train.path), output=str(file), search=settings.search, tolerance=settings.tolerance,
        caution=1.0, rate_weights=(0.0, 0.03, 0.1),
    )  # fmt: skip
    compress = Piece("demo", "deepcabac.compress", compression, needs=(train,), runs=runs)
    decompression = DecompressConfig(input=str(file), output=str(weights))
    decompress = Piece("demo", "deepcabac.decompress", decompression, needs=(compress,), runs=runs)
    finished = pieces.complete([decompress], run)

    summary = entropy_coding.inspect(file.read_bytes())
    print(inspect.as_text(inspect.tensor_rows(summary)), inspect.total_line(summary), sep="\n")
    judge = open_judge(str(train.path))
    before, after = (
        judge.accuracy(weight_files.load_tree(path), judge.test) for path in (train.path, weights)
    )  # fmt: skip
    page = report.write([train.path, compress.path], run.path / "demo.html")
    sizes, data = finished[compress].result, judge.data
    share = sizes["percent_of_original"]
    run.log(
        f"\n{data.name}: {sizes['original_bytes']:,} bytes became {sizes['bytes']:,} ({share:.2f} %); "
        f"test accuracy {100 * before:.2f} % before, {100 * after:.2f} % with the decoded weights."
    )
    if data.notice:
        run.log(f"NOTE: {data.notice}")
    for piece in (train, compress, decompress):
        run.log(f"again by itself: python -m projects.{piece.verb} --flagfile={piece.path / 'flags.txt'}")
    return {
        "dataset": data.name,
        "bytes": sizes["bytes"],
        "percent_of_original": share,
        "test_accuracy_before": before,
        "test_accuracy_decoded": after,
        "page": str(page),
    }


if __name__ == "__main__":
    app.run(main, DemoConfig)
