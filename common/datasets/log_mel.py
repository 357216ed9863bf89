"""Speech as small images: 32 frames of 32 log-mel bands, of one second at 8 kHz, in quarter decibels.

Frames are 62.5 ms long (500 samples, Hann window, FFT of 512) every 31.25 ms (250 samples), so that 32 of them cover
the second; triangular bands lie evenly on the mel scale, 2595 log10(1 + f / 700), from 50 Hz to 4 kHz. Decibels are
relative to the loudest cell of the clip, which takes out how loud somebody was recorded, and end 63.75 below it.
"""

import functools

import numpy as np

RATE = 8000  # samples a second, and samples of a clip
FRAMES = BANDS = 32
HOP, WINDOW, FFT = 250, 500, 512  # samples
LOWEST, HIGHEST = 50.0, 4000.0  # Hz, outer edges of the first and the last band
STEP = 0.25  # decibels between two of the 256 values of an image
FLOOR = -255 * STEP
CHUNK = 250  # clips whose frames are in memory at once


def centred(clip: np.ndarray, length: int = RATE) -> np.ndarray:
    """Returns the middle of a clip [samples], or the clip between zeros: [length]. An odd zero is at the end."""
    excess = len(clip) - length
    if excess >= 0:
        return clip[excess // 2 : excess // 2 + length]
    return np.pad(clip, (-excess // 2, -excess - -excess // 2))


def images(clips: list[np.ndarray]) -> np.ndarray:
    """Returns uint8 [n, 32 frames, 32 bands, 1] of clips of any lengths: 255 is the loudest cell, a step is 0.25 dB."""
    result = np.empty((len(clips), FRAMES, BANDS, 1), np.uint8)
    for start in range(0, len(clips), CHUNK):
        part = np.stack([centred(clip) for clip in clips[start : start + CHUNK]])
        result[start : start + CHUNK, ..., 0] = np.rint((log_mel(part) - FLOOR) / STEP)
    return result


def log_mel(clips: np.ndarray) -> np.ndarray:
    """Returns decibels float64 [n, 32 frames, 32 bands], -63.75 to 0, of clips [n, 8000]; silence is -63.75."""
    margin = (WINDOW - HOP) // 2  # the first frame is centred on the first hop
    padded = np.pad(np.asarray(clips, np.float64), ((0, 0), (margin, margin)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=1)[:, ::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    spectrum = np.fft.rfft(frames * window, FFT)
    power = (spectrum.real**2 + spectrum.imag**2) @ mel_filters()
    loudest = power.max(axis=(1, 2), keepdims=True)
    return 10 * np.log10(np.maximum(power / np.where(loudest > 0, loudest, 1), 10 ** (FLOOR / 10)))


@functools.cache
def mel_filters() -> np.ndarray:
    """Returns float64 [257 frequencies, 32 bands]: triangles of height 1 between the centres of their neighbours."""
    edges = _edges()
    frequencies = np.arange(FFT // 2 + 1)[:, None] * RATE / FFT
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def centres() -> np.ndarray:
    """Returns float64 [32 bands]: the frequency in Hz at which each band has its largest weight."""
    return _edges()[1:-1]


def _edges() -> np.ndarray:
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (LOWEST, HIGHEST))
    return 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
