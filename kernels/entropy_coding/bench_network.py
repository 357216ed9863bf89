"""Benchmark of a whole network, EfficientNet-Lite0, against nncodec's own pipeline: processes from start to end.

Each process starts its software (imports it; ours also loads its compiled core, by a call on nothing much), loads an
.npz of float32 arrays, compresses (or decompresses) it and writes the result; the seconds without the start are
measured inside it. The weights come from $DATA_DIR; `make peers-full` builds the pipeline, whose imports for its
training examples are stood in for by empty modules, so that it starts at its best.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from . import decompress

QPS = {"uniform": (-28, False), "trellis": (-32, True)}
SMALL_QP = -75
OURS = """
import json, sys, time
start = time.perf_counter()
import numpy as np
from {package} import compress, decompress
what, source, target, quantizer, qp = sys.argv[1:]
decompress(compress({{"a": np.ones((2, 3000), np.float32)}}, step=1.0, quantizer=quantizer))
started = time.perf_counter()
if what == "encode":
    with np.load(source, allow_pickle=False) as arrays:
        tree = {{name: arrays[name] for name in arrays.files}}
    data = compress(tree, qp=int(qp), small_qp={small}, quantizer=quantizer)
    with open(target, "wb") as file:
        file.write(data)
else:
    with open(source, "rb") as file:
        tree = decompress(file.read())
    np.savez(target, **tree)
print(json.dumps([time.perf_counter() - started, started - start]))
"""


def run(bench) -> None:
    """Encoding and decoding with both quantisers, as far as weights and peer are there."""
    weights = pathlib.Path(os.environ.get("DATA_DIR", "missing")) / "efficientnet_lite0" / "efficientnet_lite0.npz"
    if not weights.is_file():
        print("EfficientNet-Lite0 is left out: set DATA_DIR to the folder that holds efficientnet_lite0/")
        return
    script = _peer_script()
    with tempfile.TemporaryDirectory() as folder:
        for quantizer, (qp, dq) in QPS.items():
            one_setting(bench, pathlib.Path(folder), weights, script, quantizer, qp, dq)


def one_setting(bench, folder, weights, script, quantizer: str, qp: int, dq: bool) -> None:
    """Rows of one quantiser: whole processes, the same without their start, sizes and errors."""
    ours = [sys.executable, "-c", OURS.format(package=__package__, small=SMALL_QP)]
    theirs = [str(_peer_python()), str(script)] if script else None
    files = {who: {"encode": folder / f"{who}.bin", "decode": folder / f"{who}.npz"} for who in ("ours", "nncodec")}
    with np.load(weights, allow_pickle=False) as arrays:
        original = {name: arrays[name] for name in arrays.files}
    size = sum(array.size for array in original.values())
    for what in ("encode", "decode"):
        whole, inside = {}, {}
        for who, command in (("ours", ours), ("nncodec", theirs)):
            if command is None:
                continue
            source = weights if what == "encode" else files[who]["encode"]
            arguments = [*command, what, str(source), str(files[who][what])]
            arguments += [quantizer, str(qp)] if who == "ours" else [str(qp), str(SMALL_QP), str(int(dq))]
            inside[who] = []
            whole[who] = lambda arguments=arguments, kept=inside[who]: kept.append(_process(arguments))
        bench.compare(f"EfficientNet-Lite0 {what}, {quantizer} qp {qp}, whole process", whole, work=size, unit="w")
        measured = {who: iter(times) for who, times in inside.items()}
        bench.compare(
            f"EfficientNet-Lite0 {what}, {quantizer} qp {qp}, without the start",
            {who: lambda times=times: next(times) for who, times in measured.items()},
            work=size, unit="w",
        )  # fmt: skip
    facts = {}
    for who in ("ours", "nncodec") if theirs else ("ours",):
        if who == "ours":
            decoded = decompress(files[who]["encode"].read_bytes())
        else:
            with np.load(files[who]["decode"], allow_pickle=False) as arrays:
                decoded = {name: arrays[name].reshape(original[name].shape) for name in arrays.files}
        errors = [
            float(((array.astype(np.float64) - decoded[name]) ** 2).sum())
            for name, array in original.items()
            if array.ndim > 1
        ]
        facts[f"{who}_bytes"] = files[who]["encode"].stat().st_size
        facts[f"{who}_squared_error_of_weights"] = sum(errors)
    bench.record(f"EfficientNet-Lite0, {quantizer} qp {qp}", **facts)


def _process(arguments) -> float:
    """Runs a process and returns the seconds it measured inside, its start left out."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=600)
    return json.loads(done.stdout.splitlines()[-1])[0]


def _peer_python() -> pathlib.Path | None:
    with contextlib.suppress(ImportError):
        from tests.peers import client

        return client.python_of("nncodec-full")
    return None


def _peer_script() -> pathlib.Path | None:
    if _peer_python() is None:
        print("nncodec's pipeline is left out: `make peers-full` builds it")
        return None
    return pathlib.Path(__file__).resolve().parents[2] / "tests" / "peers" / "nncodec_full_process.py"
