"""Records what Zennit 1.0.0 gives on a small network, which our attribution must equal.

Run from the repository root, after `make peers-zennit`:
    .venv-peers/zennit/bin/python tests/peers/record_zennit.py
It writes tests/kernels/attribution/references/*.npz. Images are [n, channels, height, width] there, as in PyTorch.
"""

import pathlib
import sys

import numpy as np
import zennit_calls
import zennit_network

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "kernels" / "attribution"))
sys.path.append(str(ROOT / "kernels" / "attribution" / "bench"))  # last: its other modules have common names
import cases  # noqa: E402
import plans  # noqa: E402

OUTPUT = ROOT / "tests" / "kernels" / "attribution" / "references"


def record_composites() -> None:
    """Every composite on the small network, with and without folding, in both precisions; relevance inside, too."""
    values, images = plans.parameters(plans.SMALL, cases.SEED), cases.images()
    arrays = {"images": images} | {f"parameters/{name}": value for name, value in values.items()}
    for dtype in ("float64", "float32"):
        network = zennit_network.build(plans.SMALL, values, getattr(zennit_calls.torch, dtype))
        for case in cases.COMPOSITES:
            if dtype == "float32" and (case.label or not case.fold):
                continue
            y, relevance, inside = zennit_calls.attribute(
                network, images, composite=case.composite, fold=case.fold, target=case.target, at=case.at,
                options=case.options,
            )  # fmt: skip
            arrays[f"{dtype}/y"] = y
            arrays[f"{dtype}/{case.name}"] = relevance
            if dtype == "float64":
                arrays |= {f"{dtype}/{case.name}@{layer}": value for layer, value in inside.items()}
    save("composites", arrays)


def record_attributors() -> None:
    """SmoothGrad, integrated gradients, occlusion, the gradient; alone and over composites."""
    values, images = plans.parameters(plans.SMALL, cases.SEED), cases.images()
    network, arrays = zennit_network.build(plans.SMALL, values), {}
    for case in cases.ATTRIBUTORS:
        noise = cases.noise(case.settings["n_iter"]) if case.attributor == "smoothgrad" else None
        _, arrays[case.name], _ = zennit_calls.attribute(
            network, images, composite=case.composite, target=case.target, attributor=case.attributor,
            settings=case.settings, noise=noise, start=case.start,
        )  # fmt: skip
    save("attributors", arrays)


def record_pictures() -> None:
    """Palettes of every map and text, and pictures of every shape."""
    arrays = {}
    for text in cases.PALETTES:
        for level in cases.LEVELS:
            arrays[f"palette/{text}/{level}"] = zennit_calls.zennit.image.palette(text, level)
    for name, (values, settings) in cases.pictures().items():
        arrays[f"picture/{name}"] = zennit_calls.picture(values, **settings)
    save("pictures", arrays)


def save(name: str, arrays: dict) -> None:
    """Writes one compressed file and says how large it is."""
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path.relative_to(ROOT)}: {len(arrays)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    record_composites()
    record_attributors()
    record_pictures()
