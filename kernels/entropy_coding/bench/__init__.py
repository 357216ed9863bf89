"""Benchmark of the arithmetic coder against nncodec's C++ coder, on the same integers in the same run.

The floor of a serial coder is the chain from one span to the next: shift, add, multiply, shift, subtract, compare,
shift: about 9 cycles a context-coded bin however many units a core has; a chain of multiplications measures the clock.
`bins` below counts context-coded bins. Peers: `make peers-nncodec`.
"""

import os
import subprocess
import sys

import numpy as np

from ... import timing
from .. import compress, decode_tensor, decompress, encode_tensor, quantize_uniform
from . import network, quantizers, rate, variety

CYCLES_PER_BIN = 9
CHAIN_LATENCY = 4  # cycles of an integer multiplication and an exclusive or on current x86-64 and Arm cores


def laplacian(size: int, scale: float, seed: int = 0) -> np.ndarray:
    """int32 [rows, 1000]: rounded Laplacian weights; a scale of 0.217 gives 90 % zeros."""
    return np.rint(np.random.default_rng(seed).laplace(0, scale, (size // 1000, 1000))).astype(np.int32)


SHAPES = {
    "5 M weights, 90 % zeros": lambda: laplacian(5_000_000, 0.217),
    "2 M weights, 46 % zeros": lambda: laplacian(2_000_000, 0.8),
    "2 M weights, 15 % zeros": lambda: laplacian(2_000_000, 3.0),
}


def run(bench) -> None:
    """Every comparison of this room."""
    hertz = clock()
    bench.record("clock", hertz=hertz)
    with bench.peer("nncodec") as peer:
        for name, make in SHAPES.items():
            coder(bench, peer, name, make(), hertz)
        quantizers.run(bench, peer)
    threads(bench)
    start_up(bench)
    rate.run(bench, hertz, context_bins)
    network.run(bench)
    variety.run(bench)


def coder(bench, peer, name: str, q: np.ndarray, hertz: float) -> None:
    """Single thread: encode and decode, without and with the choice of presets."""
    floor = {"floor_s": context_bins(q) * CYCLES_PER_BIN / hertz}
    plain, with_presets = encode_tensor(q, presets=False), encode_tensor(q)
    facts = {"bits_per_weight": 8 * len(plain) / q.size, "unit": "w", "work": q.size}
    ask = {}
    if peer is not None:
        tensor, stream, out = peer.put("bench", q), peer.folder / "bench.stream", peer.folder / "out.npy"

        def theirs(command, **arguments):
            return lambda: peer.ask(command, **arguments)["seconds"][0]

        ask = {
            "plain": {"nncodec": theirs("encode", tensor=tensor, stream=stream, presets=False)},
            "presets": {"nncodec": theirs("encode", tensor=tensor, stream=stream, presets=True)},
            "decode": {"nncodec": theirs("decode", stream=stream, tensor=out, shape=list(q.shape))},
        }
    bench.compare(
        f"encode, {name}",
        {"ours": lambda: _drop(encode_tensor(q, presets=False)), **ask.get("plain", {})},
        **facts,
        **floor,
    )
    bench.compare(
        f"decode, {name}",
        {"ours": lambda: _drop(decode_tensor(plain, q.shape)), **ask.get("decode", {})},
        **facts,
        **floor,
    )
    facts["bits_per_weight"] = 8 * len(with_presets) / q.size
    bench.compare(
        f"encode with presets, {name}", {"ours": lambda: _drop(encode_tensor(q)), **ask.get("presets", {})}, **facts
    )


def threads(bench) -> None:
    """Eight equal tensors: one thread against all cores."""
    w = {f"w{i}": laplacian(1_000_000, 0.217, i).astype(np.float32) for i in range(8)}
    data, cores = compress(w, step=1.0), os.cpu_count()
    facts = {"unit": "w", "work": 8_000_000, "bytes": len(data)}
    bench.compare(
        f"compress 8 tensors, {cores} threads",
        {"all cores": lambda: _drop(compress(w, step=1.0)), "one thread": lambda: _drop(compress(w, step=1.0, jobs=1))},
        **facts,
    )
    bench.compare(
        f"decompress 8 tensors, {cores} threads",
        {"all cores": lambda: _drop(decompress(data)), "one thread": lambda: _drop(decompress(data, jobs=1))},
        **facts,
    )
    weights = np.random.default_rng(0).laplace(0, 0.05, (1000, 1000)).astype(np.float32)
    bench.compare(
        "quantize_uniform", {"ours": lambda: _drop(quantize_uniform(weights, 0.05))}, unit="w", work=weights.size
    )


def start_up(bench) -> None:
    """Fresh processes: what importing costs beyond JAX, and a first encode_tensor with a warm compilation cache."""
    package = __package__.rpartition(".")[0]
    jax = _process("import jax, numpy")
    both = _process(f"import jax, numpy\nimport {package}")
    first = _process(f"from {package} import encode_tensor\nencode_tensor([1, 0, 2])")
    bench.record("import beyond jax", seconds=both - jax, jax_seconds=jax)
    bench.record("first encode_tensor of a process", seconds=first)


def _process(code: str, repeats: int = 5) -> float:
    """Median seconds inside a fresh interpreter from its first line to its last."""
    script = f"import time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        for _ in range(repeats + 1)
    ]
    return float(np.median([float(run.stdout.split()[-1]) for run in runs[1:]]))


def context_bins(q: np.ndarray, n_unary: int = 11) -> int:
    """Number of context-coded bins of a tensor."""
    magnitude = np.abs(q[q != 0]).astype(np.int64)
    large = magnitude[magnitude > n_unary] - n_unary
    return (
        q.size + magnitude.size + int(np.minimum(magnitude, n_unary).sum()) + int((np.floor(np.log2(large)) + 1).sum())
    )


def clock() -> float:
    """Cycles a second, from a chain of dependent integer multiplications."""
    import numba

    @numba.njit
    def chain(count, factor):
        value = np.uint64(1)
        for _ in range(count):
            value = (value * factor) ^ factor  # the second operation keeps the compiler from taking powers
        return value

    count = 20_000_000
    return CHAIN_LATENCY * count / timing.of(lambda: chain(count, np.uint64(0x9E3779B97F4A7C15))).best


def _drop(_) -> None:
    """Forgets a result, so that the caller is timed."""
