"""Records streams of nncodec 2.1.3's coder, which the entropy coder must equal byte for byte.

Run from the repository root, after `make peers`:
    .venv-peers/nncodec/bin/python tests/peers/record_nncodec.py
It checks the golden streams below first, then writes tests/kernels/entropy_coding/nncodec_streams.json.
"""

import base64
import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "peers"), str(ROOT / "tests" / "kernels" / "entropy_coding")]

import cases  # noqa: E402
import nncodec_coder  # noqa: E402

OUTPUT = ROOT / "tests" / "kernels" / "entropy_coding" / "nncodec_streams.json"

# Written down with their integers: one row, N = 11, presets off.
GOLDEN = [
    ([0, 1, -1, 2, 0, 0, -3, 7, 20, -40, 0, 0, 1, -1, 0, 100], {}, "8d0040d5332fec10744454fb2a807d75c0"),
    (
        [0, 1, -1, 2, 0, 0, -3, 7, 20, -40, 0, 0, 1, -1, 0, 100],
        {"n_unary": 10},
        "8d004855332fec1348893862740252e7",
    ),
    ([0] * 64, {}, "8d0023400cd8"),
    ([0] * 4096, {"presets": True}, "09a0000000000000017f"),
    ([0, -2, 2, 0, 0, 5, 0, 2], {"dq": True}, "8d0016438476"),
]


def check_golden() -> None:
    """Raises when this build of the coder, or the way it is called, gives other streams than those written down."""
    for values, settings, expected in GOLDEN:
        got = nncodec_coder.encode(np.array([values], np.int32), **{"presets": False, **settings}).hex()
        if got != expected:
            raise SystemExit(f"golden stream of {settings}: {got}, expected {expected}")


def record(case: cases.Case) -> dict:
    """Returns one record: settings, checksums of values and stream, the stream in base64, whether nncodec reads it."""
    q = cases.tensor(case)
    settings = {name: getattr(case, name) for name in ("n_unary", "dq", "scan", "profile")}
    stream = nncodec_coder.encode(q, presets=case.presets, row_skip=case.row_skip, **settings)
    return {
        "case": dataclasses.asdict(case),
        "values_sha256": hashlib.sha256(q.astype("<i4").tobytes()).hexdigest(),
        "peer_decodes": bool(np.array_equal(nncodec_coder.decode(stream, q.shape, **settings), q)),
        "length": len(stream),
        "sha256": hashlib.sha256(stream).hexdigest(),
        "stream": base64.b64encode(stream).decode(),
    }


def main() -> None:
    """Writes the file and says what it holds."""
    check_golden()
    records = [record(case) for case in cases.RECORDED]
    document = {"coder": "nncodec", "version": importlib.metadata.version("nncodec"), "streams": records}
    OUTPUT.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{OUTPUT}: {len(records)} streams, {sum(r['length'] for r in records)} bytes of stream")
    for item in records:
        print(f"{item['length']:7d}  {'' if item['peer_decodes'] else 'NOT READ BACK '}{item['case']['name']}")


if __name__ == "__main__":
    main()
