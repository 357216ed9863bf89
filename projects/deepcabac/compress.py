"""Compresses a trained network into one file: `--checkpoint=X --output=model.dcb` and one way to choose its quality.

--step or --qp fix it; --target_bytes asks for the best quality in so many bytes, --target_snr for the smallest file of
such a quality; --search=dc_v1 or dc_v2 for the smallest file whose accuracy, on images kept apart, stays within
--tolerance. The file is decoded again and compared before it gets its name.
"""

import pathlib

from common import app, files
from common.models import zoo
from projects.deepcabac import candidates, judge, network, outcome, quantization, search, targets
from projects.deepcabac.candidates import Candidates
from projects.deepcabac.config import SMALL, CompressConfig
from projects.deepcabac.network import Network
from projects.deepcabac.outcome import Outcome
from projects.deepcabac.quantization import Rule

SMALL_BY_DEFAULT = 1 / 64  # small_relative_step with a target


def main(settings: CompressConfig, run: app.Run) -> dict:
    """Compresses, verifies, writes the file and plots; returns what goes to `result.json`."""
    output = pathlib.Path(settings.output)
    if output.is_dir():
        raise ValueError(f"--output={output} is a directory; give the name of a file")
    original, compressible = network.load(settings, run)
    examiner = open_examiner(settings)
    if examiner is not None:
        examiner.check(original)
        if examiner.data.notice:
            run.log(examiner.data.notice)
    rule, tried = choose_rule(settings, compressible, examiner, run)
    data = quantization.encode(compressible, rule, check=True)
    decoded = quantization.verify(compressible, rule, data)
    finished = Outcome(original, compressible, rule, data, decoded, tried)
    result = outcome.describe(settings, finished, examiner)
    outcome.warn(result, run)
    outcome.draw(finished, run)
    files.write_atomically(output, data)
    run.outputs(output)
    return {"output": str(output)} | result


def open_examiner(settings: CompressConfig) -> zoo.Network | None:
    """Returns the network and images that judge files; None where nobody says which."""
    return judge.open_judge(settings.checkpoint, settings.model, settings.dataset, settings.width, settings.views)


def choose_rule(
    settings: CompressConfig, compressible: Network, examiner: zoo.Network | None, run: app.Run
) -> tuple[Rule | None, Candidates | None]:
    """Returns the rule that the settings ask for (None: lossless), and the candidates of a search for it."""
    if settings.search:
        tried = open_candidates(settings, compressible, examiner, run.checkpoints / "candidates.jsonl")
        return search.smallest(tried, settings, run).rule, tried
    relative = settings.small_relative_step
    if settings.weight_step is None and all(getattr(settings, name) is None for name in SMALL):
        relative = SMALL_BY_DEFAULT
    rule = Rule(settings.weight_step or 1.0, settings.price, settings.vector_step, relative)
    if settings.target_bytes is not None:
        rule = targets.fit_bytes(compressible, rule, settings.target_bytes, run.log)
    elif settings.target_snr is not None:
        rule = targets.reach_snr(compressible, rule, settings.target_snr, run.log)
    return rule, None


def open_candidates(
    settings: CompressConfig, compressible: Network, examiner: zoo.Network | None, cache: pathlib.Path
) -> Candidates:
    """Returns the candidates of a search, with those that an earlier start of the run has evaluated.

    Raises:
      ValueError: nobody measures accuracy.
    """
    if examiner is None:
        raise ValueError("--search measures accuracy: give --model and --dataset, or a run directory of train")
    return candidates.Candidates(
        compressible,
        lambda trees: examiner.correct_many(trees, examiner.validation),
        cache,
        settings.views,
        settings.candidates_at_once,
    )


if __name__ == "__main__":
    app.run(main, CompressConfig)
