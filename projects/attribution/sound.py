"""Relevance as a picture over a spectrogram, with the sound to play: HTML for the report of a run.

The sound lies in the page as a WAV file in base64, so pages belong into run directories; data sets stay out of the
repository.
"""

import base64
import io
import wave

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from common.datasets import log_mel
from common.publishing.report_parts import escape
from kernels import attribution

LOUD = 0.95  # of the largest sample of a WAV file: recordings are louder and softer, and are heard side by side
INCHES, DOTS = (4.4, 3.3), 110


def wav(samples: np.ndarray, rate: int = log_mel.RATE) -> bytes:
    """Returns a WAV file of 16 bits, mono, of real samples `[n]`, scaled so that the loudest is at 95 %.

    Raises:
      ValueError: there are none, or not one axis of finite numbers.
    """
    values = np.asarray(samples, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"samples of shape {values.shape}: expected one axis of finite numbers, at least one")
    largest = np.abs(values).max()
    scaled = np.rint(values * (LOUD * 32767 / largest if largest > 0 else 0)).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(scaled.tobytes())
    return buffer.getvalue()


def figure(samples: np.ndarray, decibels: np.ndarray, relevance: np.ndarray, cmap: str = "bwr", level: float = 1.0):
    """Returns a matplotlib figure: the waveform over the time of the relevance, and the relevance over the spectrogram.

    Args:
      samples: `[n]`, of the same second as the spectrogram.
      decibels: `[frames, bands]`, drawn in grey under the relevance.
      relevance: `[frames, bands]`; where it is zero the spectrogram is seen alone, at its largest the colour alone.
      cmap, level: as for `kernels.attribution.palette`.
    """
    seconds = len(samples) / log_mel.RATE
    drawing, (above, below) = plt.subplots(
        2, 1, figsize=INCHES, sharex=True, height_ratios=(1, 2.4), layout="constrained"
    )
    _draw_waveform(above, samples, relevance.sum(1), seconds)
    colours = attribution.imgify(relevance, cmap=cmap, level=level, symmetric=True)
    largest = float(np.abs(relevance).max())
    cover = np.abs(relevance) / largest if largest > 0 else np.zeros_like(relevance)
    extent = (0, seconds, -0.5, relevance.shape[1] - 0.5)
    below.imshow(decibels.T, cmap="gray_r", origin="lower", aspect="auto", extent=extent)
    layer = np.concatenate([colours / 255, np.sqrt(cover)[..., None]], -1)
    below.imshow(layer.swapaxes(0, 1), origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    bands = np.arange(3, relevance.shape[1], 7)
    below.set_yticks(bands, [f"{frequency:.0f}" for frequency in log_mel.centres()[bands]], fontsize=7)
    below.set_ylabel("Hz", fontsize=8)
    below.set_xlabel("seconds", fontsize=8)
    below.tick_params(labelsize=7)
    return drawing


def _draw_waveform(axis, samples: np.ndarray, by_frame: np.ndarray, seconds: float) -> None:
    axis.plot(
        np.linspace(0, seconds, len(samples)), samples / max(np.abs(samples).max(), 1), color="#999", linewidth=0.5
    )
    frames = (np.arange(len(by_frame)) + 0.5) * seconds / len(by_frame)
    axis.plot(frames, by_frame / max(np.abs(by_frame).max(), 1e-30), color="#b3261e", linewidth=1.2)
    axis.set_yticks([])
    axis.set_xlim(0, seconds)
    axis.set_ylabel("relevance", fontsize=8, color="#b3261e")


def element(caption: str, samples: np.ndarray, drawing) -> str:
    """Returns HTML of a figure, closed behind it, with what plays its sound and a caption, which is escaped."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=DOTS)
    plt.close(drawing)
    picture, sound = (base64.b64encode(content).decode() for content in (buffer.getvalue(), wav(samples)))
    return (
        f'<figure style="display:inline-block;margin:0 1.4rem 1.6rem 0">'
        f'<img alt="{escape(caption)}" style="width:27rem;max-width:100%;background:#fff;border-radius:8px" '
        f'src="data:image/png;base64,{picture}"><br>'
        f'<audio controls preload="none" style="width:27rem;max-width:100%" src="data:audio/wav;base64,{sound}">'
        "</audio>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
