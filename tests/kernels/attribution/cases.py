"""What is recorded from Zennit (tests/peers/record_zennit.py) and compared: NumPy only, for either Python."""

import dataclasses

import numpy as np

SEED = 7
IMAGES = (2, 3, 10, 10)  # [n, channels, height, width], as plans.SMALL takes them
LOW, HIGH = -4.0, 4.5
TARGETS = (3, 0)
SOME = (1, 4)  # other classes than TARGETS
LAYERS = ("block1", "block2", "fc1")  # relevance of what enters them


@dataclasses.dataclass(frozen=True)
class Composite:
    """One call with a composite; `target` None distributes all outputs."""

    composite: str
    fold: bool = True
    target: tuple[int, ...] | None = TARGETS
    options: dict = dataclasses.field(default_factory=dict)
    at: tuple[str, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        """Key of the recording."""
        return f"{self.composite}{self.label}{'' if self.fold else '_unfolded'}"


BOX = {"low": np.full((1, 3, 1, 1), LOW), "high": np.full((1, 3, 1, 1), HIGH)}
NAMES = (
    "epsilon_gamma_box", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_plus_flat", "epsilon_alpha2_beta1_flat",
    "deconvnet", "guided_backprop", "excitation_backprop", "beta_smooth",
)  # fmt: skip


def _options(name: str) -> dict:
    return BOX if name == "epsilon_gamma_box" else {}


COMPOSITES = (
    *(Composite(name, options=_options(name), at=LAYERS) for name in NAMES),
    *(Composite(name, fold=False, options=_options(name)) for name in NAMES),
    *(Composite(name, target=None, options=_options(name), label="_all") for name in NAMES[:1]),
    Composite("epsilon_plus", target=SOME, label="_other"),
    Composite("epsilon_plus", options={"epsilon": 0.25}, label="_epsilon"),
    Composite("epsilon_plus", options={"zero_params": ["bias"]}, label="_zero_bias"),
    Composite("epsilon_gamma_box", options=BOX | {"gamma": 0.1, "epsilon": 0.01}, label="_gamma"),
    Composite("epsilon_gamma_box", options=BOX | {"zero_params": ["bias"]}, label="_zero_bias"),
    Composite("epsilon_alpha2_beta1", options={"stabilizer": 0.01}, label="_stabilizer"),
    Composite("excitation_backprop", options={"stabilizer": 0.01}, label="_stabilizer"),
    Composite("beta_smooth", options={"beta_smooth": 2.0}, label="_beta"),
)


@dataclasses.dataclass(frozen=True)
class Attributor:
    """One call of an attributor, with Zennit's own settings; `start` "one" weighs the chosen output with 1."""

    attributor: str
    settings: dict = dataclasses.field(default_factory=dict)
    composite: str | None = None
    target: tuple[int, ...] | None = TARGETS
    start: str = "one"
    label: str = ""

    @property
    def name(self) -> str:
        """Key of the recording."""
        return f"{self.attributor}{self.label}" + (f"_{self.composite}" if self.composite else "")


ATTRIBUTORS = (
    Attributor("gradient"),
    Attributor("gradient", start="output", label="_output"),
    Attributor("smoothgrad", {"noise_level": 0.1, "n_iter": 20}),
    Attributor("smoothgrad", {"noise_level": 0.25, "n_iter": 4}, label="_wide"),
    Attributor("smoothgrad", {"noise_level": 0.1, "n_iter": 5}, composite="epsilon_plus", start="output"),
    Attributor("integrated_gradients", {"n_iter": 20}),
    Attributor("integrated_gradients", {"n_iter": 3}, label="_three"),
    Attributor("integrated_gradients", {"n_iter": 4}, composite="epsilon_plus", start="output"),
    Attributor("occlusion", start="output"),
    Attributor("occlusion", {"window": 5, "stride": 3}, start="output", label="_five_three"),
    Attributor("occlusion", {"window": [4, 6], "stride": [4, 2]}, start="output", label="_four_six"),
    Attributor("occlusion", {"window": [5, 5], "stride": [7, 7]}, start="output", label="_gaps"),
    Attributor("occlusion", {"window": [4, 4], "stride": [4, 4]}, target=None, start="output", label="_all"),
)


def images() -> np.ndarray:
    """Returns the images, float64 [n, channels, height, width]."""
    return np.random.default_rng(SEED + 1).normal(size=IMAGES)


def noise(draws: int) -> np.ndarray:
    """Returns SmoothGrad's standard normal numbers [draws - 1, n, channels, height, width]; the last draw is clean."""
    return np.random.default_rng(SEED + 2).normal(size=(draws - 1, *IMAGES))


PALETTES = (
    "gray", "wred", "wblue", "hot", "cold", "coldnhot", "bwr", "france", "seismic", "coolio", "coleus",
    "000,fff", "f00,80:123456,0f0,00f", "04:31CAD9,a49Ac4,df2,2e:294fFE,0bFCcC,92:72a", "000,80:f00,80:0f0,fff",
    "8:123,c:f00", "0ff,0f0,f00,ff0,c0:f0f,fff",
)  # fmt: skip
LEVELS = (1.0, 0.4, 3.0)


def pictures() -> dict[str, tuple[np.ndarray, dict]]:
    """Returns name -> (array, settings of imgify)."""
    draw = np.random.default_rng(SEED + 3)
    return {
        "plain": (draw.normal(size=(6, 7)), {}),
        "symmetric": (draw.normal(size=(6, 7)), {"symmetric": True, "cmap": "coldnhot"}),
        "float32": (draw.normal(size=(6, 7)).astype(np.float32), {"symmetric": True, "cmap": "seismic"}),
        "integers": (draw.integers(-90, 90, (6, 7)), {"cmap": "hot"}),
        "bytes": (draw.integers(0, 256, (6, 7), dtype=np.uint8), {"cmap": "wred"}),
        "level": (draw.normal(size=(6, 7)), {"symmetric": True, "level": 2.5, "cmap": "france"}),
        "range": (draw.normal(size=(6, 7)), {"vmin": -1.0, "vmax": 0.5, "cmap": "cold"}),
        "one first": (draw.normal(size=(1, 6, 7)), {"cmap": "wblue"}),
        "one last": (draw.normal(size=(6, 7, 1)), {"cmap": "gray"}),
        "colour first": (draw.normal(size=(3, 6, 7)), {}),
        "colour last": (draw.normal(size=(6, 7, 3)), {"symmetric": True}),
        "grid": (draw.normal(size=(7, 4, 5)), {"grid": True, "symmetric": True, "cmap": "coolio"}),
        "grid 2 x 5": (draw.normal(size=(7, 1, 4, 5)), {"grid": (2, 5), "cmap": "coleus", "level": 0.5}),
        "grid of colours": (draw.normal(size=(5, 3, 4, 5)), {"grid": True}),
        "grid of colours last": (draw.normal(size=(5, 4, 6, 3)), {"grid": (3, 2), "symmetric": True}),
        "grid filled": (draw.normal(size=(3, 4, 5)), {"grid": (2, 2), "gridfill": 200, "cmap": "bwr"}),
    }
