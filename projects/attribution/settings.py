"""The flags that verbs have in common: which network, which images, which of its outputs, how the methods draw."""

import dataclasses

from common import config
from common.models import zoo


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """One network and some images."""

    checkpoint: str = config.field(
        help=f"network: a run directory of a training, a file of weights, or {', '.join(zoo.PUBLISHED)}"
    )
    model: str | None = config.field(None, "network, where the checkpoint does not say", choices=zoo.TRAINED)
    width: float | None = config.field(None, "factor on its channels (none: as trained)", exclusive_minimum=0.0)
    dataset: str | None = config.field(
        None, "its images (none: those it was trained on); they set the scale of the inputs", choices=zoo.DATASETS
    )
    images: tuple[str, ...] = config.field(
        (),
        "picture files, folders of them, or one .npy of uint8 images or float inputs [n, height, width, channels] "
        "(none: the test images of the data set)",
    )
    first: int = config.field(0, "number of the first image to explain", minimum=0)
    count: int | None = config.field(None, "images to explain (none: 100 of a data set, all that are named)", minimum=1)
    target: str = config.field("prediction", "class that is explained: prediction, label, or the number of a class")
    draws: int = config.field(20, "draws of smoothgrad, points of integrated_gradients", minimum=1)
    window: int = config.field(8, "side of occlusion's window, pixels", minimum=1)
    stride: int = config.field(4, "step of occlusion's window, pixels", minimum=1)
    seed: int = config.field(0, "of whatever is drawn: smoothgrad's noise, random orders, random weights", minimum=0)

    def __post_init__(self):
        if self.target not in ("prediction", "label") and not self.target.isdigit():
            raise ValueError(f"--target={self.target}: expected prediction, label or the number of a class")
