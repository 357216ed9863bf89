"""Fashion-MNIST: 60,000 training and 10,000 test images of clothing, 28x28, in the files of MNIST.

Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", 2017.
"""

from typing import Any

from . import idx_sets
from .dataset import Dataset
from .idx_sets import IdxSet, Published

FASHION_MNIST = IdxSet(
    name="Fashion-MNIST",
    folders=("fashion_mnist", "FashionMNIST/raw", "FashionMNIST", "fashion-mnist"),
    files={
        "train-images-idx3": Published(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            47_040_016,
            "aa95146e b2a0475a f7a721d2 d53ad553 60420eba bc6192a0 cf0cc5d2 1cf6a3e9",
        ),
        "train-labels-idx1": Published(
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            60_008,
            "132a7e4c 7937a972 0b13b060 0c03b9fb 790b907d a44dc21a be2291a1 d69067e4",
        ),
        "t10k-images-idx3": Published(
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            7_840_016,
            "1935fde2 37fbd89f f7c3f005 173f5c4f d6208f9f 0ada9f72 20d8136c 33c345a4",
        ),
        "t10k-labels-idx1": Published(
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            10_008,
            "7d978720 1cd17ed9 1bb6817e 79858626 4598c551 dd389096 d6b0adb8 89c0459b",
        ),
    },
    bases=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    mean=(0.2860,),
    std=(0.3530,),
    licence="MIT (Zalando SE)",
)


def load(**places: Any) -> Dataset:
    """Fashion-MNIST as a Dataset; `places` as in `common.datasets.load`."""
    return idx_sets.load(FASHION_MNIST, **places)
