"""Explains an LSTM on spoken digits: what it hears of each recording, over its spectrogram, with the sound to play.

Trains the network in a few minutes, or opens one by `--checkpoint`, a run directory of `train --model=lstm
--dataset=fsdd`, of any other network of these images, or of this verb.
"""

import dataclasses

import jax
import numpy as np

from common import app, config, models, weight_files
from common.datasets import fsdd, log_mel
from common.models import zoo
from common.study import statistics
from common.training import classifier
from common.training.config import ClassifierConfig
from kernels import attribution
from kernels.attribution import composites
from projects.attribution import explain, methods, pictures, sound, speech
from projects.attribution.text import legend

BATCH = 50  # recordings at a time
RIGHT = 0.9  # a network that is right less often hears something else
TESTED = 1_000_000  # seeds of the noise at test lie this far from those in training
CHANCE = 0.1  # heard right by one that knows nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainSoundConfig(ClassifierConfig):
    """One network of log-mel images; the flags of its training count where it is trained."""

    model: str = "lstm"
    dataset: str | None = config.field("fsdd", "recordings", choices=("fsdd",))
    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 3e-3
    checkpoint_steps: int = 100
    checkpoint: str | None = config.field(None, "network: a run directory of a training on fsdd (none: one is trained)")
    method: str = config.field("lstm", "how", choices=methods.NAMES)
    gate: str = config.field(
        "signal", "who gets the relevance of a gate times a signal (lstm)", choices=("signal", "half", "proportional")
    )
    bias_factor: float = config.field(
        0.0, "share of what biases keep that is shared out over all inputs (lstm); at 1 nothing is lost", minimum=0.0,
        maximum=1.0,
    )  # fmt: skip
    target: str = config.field("prediction", "digit that is explained: prediction, label, or 0 to 9")
    count: int = config.field(100, "test recordings to explain", minimum=1)
    shown: int = config.field(8, "of them in the report, of different digits first", minimum=1)
    compared: tuple[str, ...] = config.field(
        (), "methods of which is measured how much relevance lies on a recording with noise around it",
        choices=(*methods.NAMES, speech.RANDOM),
    )  # fmt: skip
    noise: float = config.field(
        -20.0, "decibels of that noise, loudest to loudest; a network that is trained here hears it in training too"
    )
    cmap: str = config.field("bwr", "colour map of the pictures: a name or a text such as 00f,80:fff,f00")
    level: float = config.field(1.0, "contrast of the colours", exclusive_minimum=0.0)

    def __post_init__(self):
        if self.target not in ("prediction", "label") and not self.target.isdigit():
            raise config.FlagError(f"--target={self.target}: expected prediction, label or the number of a digit")
        pictures.check_colormap(self.cmap)


def main(settings: ExplainSoundConfig, run: app.Run) -> dict:
    """Trains or opens a network, explains test recordings, and returns what goes to `result.json`."""
    network, trained = network_of(settings, run)
    count = min(settings.count, len(network.test.images))
    logits, target, relevance = explain_all(settings, network, count)
    recordings = fsdd.load_test_recordings()
    show(run, settings, network, recordings, logits, target, relevance)
    explained = logits[np.arange(count), target]
    accuracy = float(np.mean(logits.argmax(-1) == network.test.labels[:count]))
    ratio = relevance.sum((1, 2), dtype=np.float64) / np.where(explained == 0, np.inf, explained)
    np.save(run.path / "relevance.npy", relevance)
    heard = in_noise(settings, run, network) if settings.compared else {}
    right = {"of the recordings": (accuracy, count)}
    if heard:
        right["of the recordings in noise"] = (heard["in_noise"]["accuracy"]["share"], heard["in_noise"]["recordings"])
    return {
        "network": network.name, "dataset": network.data.name, "method": settings.method, "recordings": count,
        "accuracy": accuracy, "median_sum_over_output": float(np.median(ratio)),
        **heard, **({"training": trained} if trained else {}), **doubts(right),
    }  # fmt: skip


def in_noise(settings: ExplainSoundConfig, run: app.Run, network: zoo.Network) -> dict:
    """Measures how much relevance lies on recordings with noise around them; returns it for `result.json`."""
    samples = speech.noisy(
        network.test.images, network.test.labels, settings.count, settings.noise, settings.seed + TESTED
    )
    measured = speech.measure(network, samples, settings.compared, settings.seed)
    if not measured["methods"]:
        raise methods.RefusedError(next(iter(measured["refused"].values())))
    bounds = ("mean", "low", "high")
    rows = [[name, *(one[bound] for bound in bounds)] for name, one in measured["methods"].items()]
    accuracy = measured["accuracy"]
    note = (
        f"Mean over {measured['recordings']} recordings, and its 95 % interval: relevance in absolute values on the "
        f"frames of the recording, of all. Of the frames {100 * measured['chance']:.1f} % are such; in noise "
        f"{100 * accuracy['share']:.1f} % are heard right. {' '.join(measured['refused'].values())}"
    )
    run.table("speech", ["method", "on the recording", "from", "to"], rows, "Relevance on the recording", note.strip())
    curves = {name: np.asarray(curve) for name, curve in measured["curves"].items()}
    pictures.draw_frames(run, curves, samples.sounding.mean(0))
    return {"in_noise": measured}


def doubts(right: dict[str, tuple[float, int]]) -> dict:
    """Returns a status for the result where the network is often wrong, or may be at chance, {} elsewhere.

    Args:
      right: of what, the share that is heard right, and of how many.
    """
    reasons, level = [], "doubtful"
    for what, (share, count) in right.items():
        low, _ = statistics.share_interval(round(share * count), count)
        if share < RIGHT:
            reasons.append(
                f"{100 * share:.1f} % {what} are heard right, below {100 * RIGHT:.0f} %: train more --epochs"
            )
        if share < RIGHT and low <= CHANCE:
            reasons[-1] += "; that may be chance, one of ten: there is nothing to explain"
            level = "not usable"
    return {"status": {"level": level, "reasons": reasons}} if reasons else {}


def network_of(settings: ExplainSoundConfig, run: app.Run) -> tuple[zoo.Network, dict]:
    """Returns a network with its weights, and what its training has to say where it is trained here."""
    if settings.checkpoint is not None:
        run.inputs(settings.checkpoint)
        network = zoo.open_network(settings.checkpoint)
        if network.input_shape != (log_mel.FRAMES, log_mel.BANDS, 1) or network.data.name != fsdd.NAME:
            raise ValueError(
                f"--checkpoint={settings.checkpoint} is a network of {network.data.name}: expected of fsdd"
            )
        return network, {}
    data = settings
    if settings.compared and settings.records is None:
        folder, images = run.path / "training_in_noise", zoo.untrained(settings).train
        if not folder.exists():
            speech.write_training(folder, images.images, images.labels, settings.noise, settings.seed)
        data = dataclasses.replace(settings, records=str(folder))
    trained = classifier.train(data, run)
    network = zoo.untrained(settings)
    models.from_tree(network.module, weight_files.load_tree(run.path / "model.safetensors"))
    return dataclasses.replace(network, params=models.to_tree(network.module)), trained


def explainer(settings: ExplainSoundConfig, network: zoo.Network):
    """Returns `(params, x, target, key) -> (logits, relevance)`."""
    if settings.method != "lstm":
        return methods.explainer(settings.method, network)
    rules = composites.lstm(gate=settings.gate, bias_factor=settings.bias_factor)
    return jax.jit(
        lambda params, x, target, key: attribution.attribute(network.fn, params, x, target=target, rules=rules)
    )


def explain_all(settings, network: zoo.Network, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns logits `[count, classes]`, the explained classes `[count]`, relevance `[count, frames, bands]`."""
    call, parts, size = explainer(settings, network), [], min(BATCH, count)
    for start in range(0, count, size):
        number = np.arange(start, start + size) % count  # the last batch is filled up: one compiled program
        x = np.asarray(network.preprocess(network.test.images[number]), np.float32)
        target = explain.target_of(settings.target, network.test.labels[number], network, network.params, x)
        logits, relevance = call(network.params, x, target, explain.keys_of(settings.seed, number))
        parts.append((np.asarray(logits), target, np.asarray(relevance).sum(-1)))
    logits, target, relevance = (np.concatenate(column)[:count] for column in zip(*parts, strict=True))
    explain.check_finite(relevance, np.arange(count))
    return logits, target, relevance


def show(run: app.Run, settings, network, recordings: fsdd.Recordings, logits, target, relevance) -> None:
    """Leaves the sounds and pictures of the report."""
    scale = f"{settings.cmap}, each recording has its own scale"
    elements = [legend(settings.cmap, settings.level, "speaks against the digit", "speaks for the digit")]
    for number in of_different_digits(network.test.labels[: len(target)])[: settings.shown]:
        predicted, digit = int(logits[number].argmax()), int(network.test.labels[number])
        samples = log_mel.centred(recordings.clips[number])
        decibels = network.test.images[number, ..., 0] * log_mel.STEP + log_mel.FLOOR
        caption = (
            f"{digit}, spoken by {recordings.speakers[number]}; heard as {predicted}; explained: "
            f"{int(target[number])}, logit {logits[number, target[number]]:.1f}"
        )
        drawing = sound.figure(samples, decibels, relevance[number], settings.cmap, settings.level)
        elements.append(sound.element(caption, samples, drawing))
    note = f"Relevance by {settings.method} over the log-mel spectrogram, by frame over the waveform ({scale})."
    run.part("recordings", "".join(elements), "What is heard", note)


def of_different_digits(labels: np.ndarray) -> list[int]:
    """Returns all indices, in an order in which each digit comes once before any comes again."""
    turn = [int(np.sum(labels[:place] == label)) for place, label in enumerate(labels)]
    return np.lexsort((labels, turn)).tolist()


if __name__ == "__main__":
    app.run(main, ExplainSoundConfig)
