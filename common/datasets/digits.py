"""The 1,797 handwritten digits of 8x8 that scikit-learn carries: real data on a machine without network or data folder.

They are the test part of "Optical recognition of handwritten digits" (UCI; Alpaydin, Kaynak, 1998).
"""

import numpy as np

from .dataset import Dataset, Split, make


def load(*, size: int = 8) -> Dataset:
    """The digits as a Dataset: every fifth image of a class is a test image (359), the others train (1,438).

    Args:
      size: side in pixels. 8 as published; from 12 on, the digit is enlarged linearly to 5/7 of the side and centred,
        as MNIST places 20x20 digits in 28x28, so that 28 suits networks made for MNIST.

    Raises:
      ValueError: `size` is neither 8 nor 12 to 256.
    """
    if size != 8 and not 12 <= size <= 256:
        raise ValueError(f"digits size={size}: choose 8 (as published) or 12 to 256, 28 for networks made for MNIST")
    from sklearn.datasets import load_digits  # imported on use: it takes a second

    digits = load_digits()
    images, labels = digits.images / 16.0, digits.target
    images = np.rint(255 * (images if size == 8 else enlarge(images, size))).astype(np.uint8)[..., None]
    test = np.zeros(len(labels), bool)
    test[np.argsort(labels, kind="stable")[4::5]] = True  # within classes: the digits come in a repeating order
    return make(
        "digits",
        Split(images[~test], labels[~test]),
        Split(images[test], labels[test]),
        classes=tuple("0123456789"),
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        source="scikit-learn (embedded)",
        details="8x8 as published" if size == 8 else f"8x8 as published, enlarged and centred in {size}x{size}",
    )


def enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Images [n, 8, 8] scaled linearly to 5/7 of `size`, zero border around: [n, size, size], same range of values."""
    inner = round(size * 20 / 28)
    side = images.shape[-1]
    # Pixel centres of the large image in coordinates of the small one; a row of `weights` mixes its two neighbours.
    centres = np.clip((np.arange(inner) + 0.5) * side / inner - 0.5, 0, side - 1)
    low = np.minimum(centres.astype(int), side - 2)
    weights = np.zeros((inner, side))
    weights[np.arange(inner), low] = 1 - (centres - low)
    weights[np.arange(inner), low + 1] = centres - low
    large = weights @ images @ weights.T
    before = (size - inner) // 2
    after = size - inner - before
    return np.pad(large, ((0, 0), (before, after), (before, after)))
