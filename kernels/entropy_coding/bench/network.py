"""Benchmark of a whole network, EfficientNet-Lite0, against nncodec's own pipeline: processes from start to end.

Each process starts its software (imports it; ours also loads its compiled core, by a call on nothing much), loads an
.npz of float32 arrays, compresses (or decompresses) it and writes the result; the seconds without the start are
measured inside it. The weights come from $DATA_DIR; `make peers-full` builds the pipeline with the packages it asks
for, but torchvision. A row of its own has empty modules for all that it imports for its training examples only, so
that it starts at its best.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from ... import peers
from .. import (
    compress,
    decompress,
    qp_to_step,
    quantize_rdo,
    quantize_trellis,
    quantize_uniform,
    rate_exact,
    rate_static,
    stream_length,
)

QPS = {"uniform": (-28, False), "trellis": (-32, True)}
SMALL_QP = -75
PIPELINE, BARE = "nncodec-full", "nncodec, bare imports"
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


STEPS = (0.1, 0.25, 0.5, 1.0)  # in standard deviations of a tensor
BALANCE = 4 * 0.7 * math.log(2) / 6  # price of a bit on the trellis


def run(bench) -> None:
    """Encoding and decoding with both quantisers, as far as weights and peer are there, and what estimates say."""
    weights = pathlib.Path(os.environ.get("DATA_DIR", "missing")) / "efficientnet_lite0" / "efficientnet_lite0.npz"
    if not weights.is_file():
        print("EfficientNet-Lite0 is left out: set DATA_DIR to the folder that holds efficientnet_lite0/")
        return
    if (reason := peers.missing(PIPELINE)) is not None:
        print(f"nncodec's pipeline is left out: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        for quantizer, (qp, dq) in QPS.items():
            one_setting(bench, pathlib.Path(folder), weights, reason is None, quantizer, qp, dq)
    estimates(bench, _load(weights))
    decisions(bench, _load(weights))


def one_setting(bench, folder, weights, has_peer: bool, quantizer: str, qp: int, dq: bool) -> None:
    """Rows of one quantiser: whole processes, the same without their start, sizes and errors."""
    ours = [sys.executable, "-c", OURS.format(package=__package__.rpartition(".")[0], small=SMALL_QP)]
    theirs = [str(peers.python_of(PIPELINE)), str(peers.SERVERS / "nncodec_full_process.py")] if has_peer else None
    contestants = {"ours": ours, "nncodec": theirs, BARE: theirs}
    files = {who: {"encode": folder / f"{who}.bin", "decode": folder / f"{who}.npz"} for who in contestants}
    original = _load(weights)
    size = sum(array.size for array in original.values())
    for what in ("encode", "decode"):
        whole, inside = {}, {}
        for who, command in contestants.items():
            if command is None:
                continue
            source = weights if what == "encode" else files[who]["encode"]
            arguments = [*command, what, str(source), str(files[who][what])]
            environment = os.environ | ({"STAND_INS": "all"} if who == BARE else {})
            arguments += [quantizer, str(qp)] if who == "ours" else [str(qp), str(SMALL_QP), str(int(dq))]
            inside[who] = []
            whole[who] = lambda a=arguments, e=environment, seconds=inside[who]: seconds.append(_process(a, e))
        bench.compare(f"EfficientNet-Lite0 {what}, {quantizer} qp {qp}, whole process", whole, work=size, unit="w")
        measured = {who: iter(times) for who, times in inside.items() if who != BARE}
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
        facts[f"{who}_bytes"] = files[who]["encode"].stat().st_size
        facts[f"{who}_squared_error_of_weights"] = _squared_error(original, decoded)
    bench.record(f"EfficientNet-Lite0, {quantizer} qp {qp}", **facts)
    if theirs and dq:
        same_bytes(bench, original, facts["nncodec_bytes"], facts["nncodec_squared_error_of_weights"])


def same_bytes(bench, original, budget: int, error: float) -> None:
    """The trellis with a price of bits, at the finest step that fits into the bytes of the peer's file."""
    fine, coarse = qp_to_step(-36), qp_to_step(-30)
    for _ in range(8):
        step = math.sqrt(fine * coarse)
        data = compress(original, step=step, small_step=qp_to_step(SMALL_QP), quantizer="trellis", rate_weight=BALANCE)
        if len(data) <= budget:
            coarse, fit = step, data
        else:
            fine = step
    ours = _squared_error(original, decompress(fit))
    bench.record(
        "EfficientNet-Lite0, at the bytes of nncodec's trellis", bytes=len(fit), budget=budget, squared_error=ours,
        decibels_gained=10 * math.log10(error / ours),
    )  # fmt: skip


def estimates(bench, original) -> None:
    """How far the rate estimates are from the codeword, over tensors of 50,000 weights or more, in per cent."""
    off = {"exact": [], "static": []}
    for array in original.values():
        if array.ndim < 2 or array.size < 50_000:
            continue
        for factor in STEPS:
            q = quantize_uniform(array, factor * float(array.std()))
            bits = 8 * stream_length(q)
            off["exact"].append(100 * (rate_exact(q, presets=True) / bits - 1))
            off["static"].append(100 * (float(rate_static(q)) / bits - 1))
    facts = {f"{name}_{end.__name__}": end(values) for name, values in off.items() for end in (min, max)}
    bench.record("estimates against codewords, EfficientNet-Lite0, %", tensors_and_steps=len(off["exact"]), **facts)


def decisions(bench, original) -> None:
    """Cost J = squared error + price * bits of the three decisions on real tensors, relative to the nearest level: at
    the balance of each, in squared steps of one state's levels."""
    price, costs = math.log(2) / 6, {"nearest": 0.0, "greedy": 0.0, "trellis": 0.0}
    for array in original.values():
        if array.ndim < 2 or not 50_000 <= array.size < 300_000:
            continue
        step = 0.5 * float(array.std())
        for name, q, grid in (
            ("nearest", quantize_uniform(array, step), step),
            ("greedy", quantize_rdo(array, step, price), step),
            ("trellis", quantize_trellis(array, step / 2, 4 * price), step / 2),
        ):
            bits = 8 * stream_length(q, dq=name == "trellis")
            error = float(((array.astype(np.float64) - grid * q) ** 2).sum()) / step**2
            costs[name] += (error + price * bits) / array.size
    bench.record("cost of decisions, EfficientNet-Lite0", **{k: v / costs["nearest"] for k, v in costs.items()})


def _load(weights) -> dict:
    with np.load(weights, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _squared_error(original, decoded) -> float:
    return sum(
        float(((array.astype(np.float64) - decoded[name]) ** 2).sum())
        for name, array in original.items()
        if array.ndim > 1
    )


def _process(arguments, environment) -> float:
    """Runs a process and returns the seconds it measured inside, its start left out."""
    process = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=600, env=environment)
    return json.loads(process.stdout.splitlines()[-1])[0]
