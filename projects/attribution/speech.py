"""Where a digit sounds: recordings with noise before and behind them, so that it is known which frames tell the digit.

The share of the relevance that lies on the frames of the recording is a measure of explanations: what lies on the noise
explains nothing that was said, as far as the network hears the digit at all. Chance is the share of these frames.
"""

from typing import NamedTuple

import jax
import numpy as np

from common.datasets import fsdd, log_mel
from common.study import statistics
from projects.attribution import explain, methods

RANDOM = "random"  # the row of normal numbers
METHODS = ("gradient", "input_times_gradient", "integrated_gradients", "smoothgrad", "lstm", "cp_lrp", RANDOM)
LONGEST = 0.75  # of the second that a recording may take, so that there is noise beside it
BATCH = 50


class Noisy(NamedTuple):
    """Attributes: images, uint8 `[n, frames, bands, 1]`; labels, int64 `[n]`; sounding, bool `[n, frames]`, whether a
    frame has samples of the recording."""

    images: np.ndarray
    labels: np.ndarray
    sounding: np.ndarray


def noisy(recordings: fsdd.Recordings, count: int, decibels: float, seed: int) -> Noisy:
    """Returns the first recordings that are short enough, in white noise where they do not sound.

    Args:
      recordings: of which.
      count: at most, recordings.
      decibels: of the noise, beside the root mean square of the recording; below 0 it is softer.
      seed: of the noise.

    Raises:
      ValueError: none is short enough.
    """
    random, clips, labels, sounding = np.random.default_rng(seed), [], [], []
    for clip, digit in zip(recordings.clips, recordings.digits, strict=True):
        if len(clip) > LONGEST * log_mel.RATE or len(clips) == count:
            continue
        is_clip = log_mel.centred(np.ones(len(clip))) > 0
        level = np.sqrt(np.mean(np.square(clip, dtype=np.float64))) * 10 ** (decibels / 20)
        noise = random.normal(0, level, log_mel.RATE)
        clips.append(np.where(is_clip, log_mel.centred(clip), noise))
        labels.append(digit)
        sounding.append(frames_of(is_clip))
    if not clips:
        raise ValueError(f"no recording is shorter than {LONGEST:g} s: there is no room for noise beside one")
    return Noisy(log_mel.images(clips), np.array(labels), np.array(sounding))


def frames_of(is_clip: np.ndarray) -> np.ndarray:
    """Returns whether frames hold samples, bool `[frames]`, for samples bool `[samples]`: windows reach over hops."""
    margin = (log_mel.WINDOW - log_mel.HOP) // 2
    starts = np.arange(log_mel.FRAMES) * log_mel.HOP - margin
    return np.array([is_clip[max(start, 0) : start + log_mel.WINDOW].any() for start in starts])


def measure(network, samples: Noisy, names, seed: int) -> dict:
    """Returns accuracy in noise, the share of sounding frames, and by method what share of the relevance lies there.

    Also "curves", by method the mean share of every frame, and "refused", why a method is not for the network.
    """
    x = np.asarray(network.preprocess(samples.images), np.float32)
    logits = np.concatenate([np.asarray(network.fn(network.params, part)) for part in _parts(x)])
    target, by_method, curves, refused = logits.argmax(-1), {}, {}, {}
    for name in names:
        try:
            relevance = _relevance(name, network, x, target, seed)
        except methods.RefusedError as error:
            refused[name] = str(error)
            continue
        explain.check_finite(relevance, np.arange(len(x)))
        by_frame = np.abs(relevance.astype(np.float64)).sum((2, 3))
        whole = by_frame.sum(1, keepdims=True)
        shares = (by_frame * samples.sounding).sum(1)[whole[:, 0] > 0] / whole[whole > 0]
        own = statistics.over_seeds(shares)
        by_method[name] = {"mean": own.mean, "low": own.low, "high": own.high, "without": int(np.sum(whole == 0))}
        curves[name] = (by_frame / np.where(whole > 0, whole, 1)).mean(0).tolist()
    right = int(np.sum(target == samples.labels))
    low, high = statistics.share_interval(right, len(x))
    return {
        "recordings": len(x), "accuracy": {"share": right / len(x), "low": low, "high": high},
        "chance": float(samples.sounding.mean()), "methods": by_method, "curves": curves, "refused": refused,
    }  # fmt: skip


def _parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + BATCH] for start in range(0, len(x), BATCH)]


def _relevance(name: str, network, x: np.ndarray, target: np.ndarray, seed: int) -> np.ndarray:
    if name == RANDOM:
        return np.random.default_rng(seed).normal(size=x.shape).astype(np.float32)
    call, parts, size = methods.explainer(name, network), [], min(BATCH, len(x))
    params = jax.device_put(network.params)
    for start in range(0, len(x), size):
        number = np.arange(start, start + size) % len(x)  # the last batch is filled up: one compiled program
        parts.append(np.asarray(call(params, x[number], target[number], explain.keys_of(seed, number))[1]))
    return np.concatenate(parts)[: len(x)]
