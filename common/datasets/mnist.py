"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.
"""

from typing import Any

from . import idx_sets
from .dataset import Dataset
from .idx_sets import IdxSet, Published

MNIST = IdxSet(
    name="MNIST",
    folders=("mnist", "MNIST/raw", "MNIST"),
    files={
        "train-images-idx3": Published(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            47_040_016,
            "35996696 6d2207d7 ce83f1c6 b65e8775 8371cf2f 758d982d ba71d72a 229912cf",
        ),
        "train-labels-idx1": Published(
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            60_008,
            "0c004832 6b7d48cb 0cc5c7d9 08c83304 aeba5ab4 5e5c3fc8 b3372696 9424f30e",
        ),
        "t10k-images-idx3": Published(
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            7_840_016,
            "d90885aa c2055f82 34b8b75d 6d84ac38 a80dd06e d7cb1f84 7891400a 73b87b2f",
        ),
        "t10k-labels-idx1": Published(
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            10_008,
            "84230e57 ada72b96 06115577 bef18f1a d2bf9858 4daa2c0b 229536ba d2c7f2f6",
        ),
    },
    # The original server (yann.lecun.com) no longer serves them; these two are what torchvision and TFDS use.
    bases=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    classes=tuple("0123456789"),
    mean=(0.1307,),
    std=(0.3081,),
    licence="Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0 is the usual statement",
)


def load(**places: Any) -> Dataset:
    """MNIST as a Dataset; `places` as in `common.datasets.load`."""
    return idx_sets.load(MNIST, **places)
