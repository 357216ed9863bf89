"""Records what iNNvestigate 2.1.2 gives on small networks, which our analyzers in its semantics must equal.

Run from the repository root, after `make peers-innvestigate`:
    .venv-peers/innvestigate/bin/python tests/peers/record_innvestigate.py
It writes tests/kernels/attribution/references/innvestigate.npz: inputs, parameters, outputs and explanations of every
analyzer of `layered_cases`, in float64.
"""

import pathlib
import sys
import tempfile

import innvestigate_server
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
from tests.kernels.attribution import layered_cases  # noqa: E402

OUTPUT = ROOT / "tests" / "kernels" / "attribution" / "references" / "innvestigate.npz"


def record() -> dict[str, np.ndarray]:
    """Returns arrays by "network/what/name"."""
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        parameters, images, answer = (f"{folder}/{name}" for name in ("parameters.npz", "images.npy", "answer.npz"))
        for name in layered_cases.RECORDED:
            plan, _, values, x = layered_cases.case(name, samples=layered_cases.SAMPLES)
            np.savez(parameters, **values)
            np.save(images, x)
            network = innvestigate_server.build(plan, list(x.shape[1:]), parameters)["network"]
            arrays |= {f"{name}/x": x} | {f"{name}/parameters/{key}": value for key, value in values.items()}
            for label, (analyzer, options) in layered_cases.ANALYZERS.items():
                innvestigate_server.analyze(network, analyzer, images, answer, **options)
                with np.load(answer) as found:
                    arrays[f"{name}/y"], arrays[f"{name}/analyzers/{label}"] = found["y"], found["explanation"]
    return arrays


if __name__ == "__main__":
    recorded = record()
    np.savez_compressed(OUTPUT, **recorded)
    print(f"{OUTPUT.relative_to(ROOT)}: {len(recorded)} arrays, {OUTPUT.stat().st_size} bytes")
