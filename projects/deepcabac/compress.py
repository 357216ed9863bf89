"""Compresses a trained network into one file: `--checkpoint=X --output=model.dcb` and one way to choose its quality.

--step or --qp fix it; --target_bytes asks for the best quality in so many bytes, --target_snr for the smallest file of
such a quality; --search=dc_v1 or dc_v2 for the smallest file whose accuracy, on images kept apart, stays within
--tolerance. The file is decoded again and compared before it gets its name.
"""

import pathlib

from common import app, files
from common.models import zoo
from projects.deepcabac import outcomes, quantization, search, targets
from projects.deepcabac.candidates import Candidates
from projects.deepcabac.config import SMALL, CompressConfig
from projects.deepcabac.judge import open_judge
from projects.deepcabac.network import Network, load_network
from projects.deepcabac.outcomes import Outcome
from projects.deepcabac.quantization import Rule

SMALL_BY_DEFAULT = 1 / 64  # small_relative_step with a target


def main(settings: CompressConfig, run: app.Run) -> dict:
    """Compresses, verifies, writes the file and plots; returns what goes to `result.json`."""
    output = pathlib.Path(settings.output)
    if output.is_dir():
        raise ValueError(f"--output={output} is a directory; give the name of a file")
    original, network = load_network(settings, run)
    judge = judge_of(settings)
    if judge is not None:
        judge.check(original)
        if judge.data.notice:
            run.log(judge.data.notice)
    rule, candidates = choose_rule(settings, network, judge, run)
    data = quantization.encode(network, rule, check=True)
    decoded = quantization.verify(network, rule, data)
    outcome = Outcome(original, network, rule, data, decoded, candidates)
    result = outcomes.describe(settings, outcome, judge)
    outcomes.warn(result, run)
    outcomes.draw(settings, outcome, run)
    files.write_atomically(output, data)
    run.outputs(output)
    return {"output": str(output)} | result


def judge_of(settings: CompressConfig) -> zoo.Network | None:
    """Returns the network and images that judge files; None where nobody says which."""
    return open_judge(settings.checkpoint, settings.model, settings.dataset, settings.width, settings.views)


def choose_rule(
    settings: CompressConfig, network: Network, judge: zoo.Network | None, run: app.Run
) -> tuple[Rule | None, Candidates | None]:
    """Returns the rule that the settings ask for (None: lossless), and the candidates of a search for it."""
    if settings.search:
        candidates = open_candidates(settings, network, judge, run.checkpoints / "candidates.jsonl")
        return search.smallest(candidates, settings, run).rule, candidates
    relative = settings.small_relative_step
    if settings.weight_step is None and all(getattr(settings, name) is None for name in SMALL):
        relative = SMALL_BY_DEFAULT
    rule = Rule(settings.weight_step or 1.0, settings.price, settings.vector_step, relative)
    if settings.target_bytes is not None:
        rule = targets.fit_bytes(network, rule, settings.target_bytes, run.log)
    elif settings.target_snr is not None:
        rule = targets.reach_snr(network, rule, settings.target_snr, run.log)
    return rule, None


def open_candidates(
    settings: CompressConfig, network: Network, judge: zoo.Network | None, cache: pathlib.Path
) -> Candidates:
    """Returns the candidates of a search, with those that an earlier start of the run has evaluated.

    Raises:
      ValueError: nobody measures accuracy.
    """
    if judge is None:
        raise ValueError("--search measures accuracy: give --model and --dataset, or a run directory of train")
    return Candidates(
        network,
        lambda trees: judge.correct_many(trees, judge.validation),
        cache,
        settings.views,
        settings.candidates_at_once,
    )


if __name__ == "__main__":
    app.run(main, CompressConfig)
