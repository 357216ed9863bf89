"""Where a digit sounds: recordings with noise before and behind them, so that it is known which frames tell the digit.

The share of the relevance that lies on the frames of the recording is a measure of explanations: what lies on the noise
explains nothing that was said, as far as the network hears the digit at all, for which it is trained with noise too.
Chance is the share of these frames.
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from common.datasets import log_mel, records
from common.study import statistics
from projects.attribution import explain, methods

RANDOM = "random"  # the row of normal numbers
METHODS = ("gradient", "input_times_gradient", "integrated_gradients", "smoothgrad", "lstm", "cp_lrp", RANDOM)
LONGEST = 0.75  # of the second that a recording may take, so that there is noise beside it
BATCH = 50


class Noisy(NamedTuple):
    """Attributes: images, uint8 `[n, frames, bands, 1]`; labels, int64 `[n]`; sounding, bool `[n, frames]`, whether a
    frame is of the recording."""

    images: np.ndarray
    labels: np.ndarray
    sounding: np.ndarray


def noisy(images: np.ndarray, labels: np.ndarray, count: int | None, decibels: float, seed: int) -> Noisy:
    """Returns the first recordings that leave room in their second, with white noise in the frames before and behind.

    Args:
      images: log-mel, uint8 `[n, frames, bands, 1]`, 0 where nothing sounds; labels: `[n]`.
      count: at most, recordings; None: all of them, those without room as they are.
      decibels: of the loudest cell of the noise beside that of the recording.
      seed: of the noise.

    Raises:
      ValueError: none leaves room.
    """
    sounding = frames_of(images)
    chosen = np.arange(len(images))
    if count is not None:
        chosen = np.flatnonzero(sounding.sum(1) <= LONGEST * log_mel.FRAMES)[:count]
    if not len(chosen):
        raise ValueError(f"no recording is shorter than {LONGEST:g} s: there is no room for noise beside one")
    random = np.random.default_rng(seed)
    noise = log_mel.images([random.normal(size=log_mel.RATE) for _ in chosen]).astype(np.int32)
    noise = np.clip(noise + round(decibels / log_mel.STEP), 0, 255).astype(np.uint8)
    mixed = np.where(sounding[chosen, :, None, None], images[chosen], noise)
    return Noisy(mixed, np.asarray(labels)[chosen].astype(np.int64), sounding[chosen])


def frames_of(images: np.ndarray) -> np.ndarray:
    """Returns whether frames lie between the first and the last that sounds, bool `[n, frames]`."""
    sounds = images.reshape(*images.shape[:2], -1).any(-1)
    return np.logical_or.accumulate(sounds, 1) & np.logical_or.accumulate(sounds[:, ::-1], 1)[:, ::-1]


def write_training(folder: pathlib.Path, images: np.ndarray, labels: np.ndarray, decibels: float, seed: int) -> None:
    """Writes training images as they are and in noise, as `--records` of a training takes them."""
    mixed = noisy(images, labels, None, decibels, seed)
    both = zip(np.concatenate([images, mixed.images]), np.concatenate([labels, labels]), strict=True)
    records.write(folder, ({"images": image, "labels": np.int32(label)} for image, label in both))


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
