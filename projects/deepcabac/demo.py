"""The whole way in one command: trains a small network, compresses it, decodes the file, and shows it all on one page.

LeNet-300-100 on MNIST (on scikit-learn's digits where MNIST can neither be found nor fetched, which is then said), made
sparse while it trains; the smallest file that keeps its accuracy on images kept apart; accuracy of the decoded weights
on test images. Some minutes on two CPU cores; a second call answers at once.
"""

import dataclasses
import pathlib
import shlex
import subprocess
import sys

from common import app, config, files
from common.publishing import report
from common.runs import provenance
from common.training import checkpoint
from projects.deepcabac import evaluation

FLAGS = pathlib.Path(__file__).parent / "flags"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What the demo may vary."""

    flags: str = config.field(str(FLAGS.relative_to(provenance.ROOT) / "demo.flags"), "flagfile of the training")
    seed: int = config.field(0, "of the training", minimum=0)
    search: str = config.field("dc_v1", "method of compress", choices=("dc_v1", "dc_v2"))
    tolerance: float = config.field(0.002, "accuracy that may be lost on the images kept apart", minimum=0.0)


def main(settings: DemoConfig, run: app.Run) -> dict:
    """Runs the verbs one after the other, each in a folder of the run, and writes the page."""
    flagfile = pathlib.Path(settings.flags)
    if not flagfile.is_file():
        flagfile = provenance.ROOT / settings.flags
    trained, compressed, decoded = (run.path / name for name in ("train", "compress", "decompress"))
    model, weights = run.path / "model.dcb", run.path / "decoded.safetensors"
    call(run, "train", trained, flagfile=flagfile, seed=settings.seed)
    call(
        run, "compress", compressed, checkpoint=trained, output=model, search=settings.search,
        tolerance=settings.tolerance, caution=1.0, rate_weights="0,0.03,0.1",
    )  # fmt: skip
    call(run, "decompress", decoded, input=model, output=weights)
    subprocess.run([sys.executable, "-m", "projects.deepcabac.inspect", f"--input={model.absolute()}"],
                   cwd=provenance.ROOT, check=False)  # fmt: skip

    judge = evaluation.create(**evaluation.settings_of(trained))
    before = judge.accuracy(checkpoint.load_tree(trained), "test")
    after = judge.accuracy(checkpoint.load_tree(weights), "test")
    sizes = files.read_json(compressed / "result.json")
    page = report.write([trained, compressed], run.path / "demo.html")
    share = sizes["percent_of_original"]
    run.log(
        f"\n{judge.data.name}: {sizes['original_bytes']:,} bytes became {sizes['bytes']:,} ({share:.2f} %); "
        f"test accuracy {100 * before:.2f} % before, {100 * after:.2f} % with the decoded weights."
    )
    if judge.data.notice:
        run.log(f"NOTE: {judge.data.notice}")
    return {
        "dataset": judge.data.name,
        "bytes": sizes["bytes"],
        "percent_of_original": share,
        "test_accuracy_before": before,
        "test_accuracy_decoded": after,
        "page": str(page),
    }


def call(run: app.Run, verb: str, folder: pathlib.Path, **arguments) -> None:
    """Runs a verb of this project in a process of its own, so that it can be repeated by the line that is printed.

    Raises:
      ValueError: it failed; its own message stands above.
    """
    shown = [
        f"--{name}={value.absolute() if isinstance(value, pathlib.Path) else value}"
        for name, value in arguments.items()
    ]
    command = ["-m", f"projects.deepcabac.{verb}", f"--run_dir={folder.absolute()}", *shown]
    run.log(f"\n$ python {shlex.join(command)}")
    code = subprocess.run([sys.executable, *command], cwd=provenance.ROOT, check=False).returncode
    if code != 0:
        raise ValueError(f"{verb} ended with exit code {code}; its message stands above. The same command goes on")


if __name__ == "__main__":
    app.run(main, DemoConfig)
