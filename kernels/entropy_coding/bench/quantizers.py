"""Benchmark of the rate-distortion decisions against nncodec's, at the same step and price of a bit, in the same run.

nncodec works on one thread; ours takes tensors in parallel, and both have the same cores. Costs are
J = squared error in steps + price * bits of the codeword, with equal settings of the coder; ours over theirs.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .. import encode_tensor, qp_to_step, quantize_rdo, quantize_trellis

COPIES = 4  # tensors for the threads to share
CANDIDATES, CANDIDATE_SIZE = 64, 1 << 11  # of a search, for the XLA form
SCALES = {"90 % zeros": 0.217, "4 bits a weight": 2.7}


def run(bench, peer) -> None:
    """Greedy and trellis decisions on Laplacian weights of two sparsities; both forms of them."""
    for name, scale in SCALES.items():
        w = np.random.default_rng(1).laplace(0, scale, (500, 1000)).astype(np.float32)
        for dq in (False, True):
            for rate in (1.0, 0.0) if dq else (1.0,):
                quantizers(bench, peer, name, w, dq, rate)
        for dq in (False, True):
            candidates(bench, name, w.reshape(-1)[:CANDIDATE_SIZE], dq)


def quantizers(bench, peer, name: str, w, dq: bool, rate: float) -> None:
    """One setting: rate 1 is the balance of a bit's price at high rate, 0 the least squared error."""
    qp = -4 if dq else 0  # the trellis grid is twice as dense as the levels of one state
    step, price = qp_to_step(qp), rate * (4 * 0.7 if dq else 1) * math.log(2) / 6
    quantize = quantize_trellis if dq else quantize_rdo

    def ours():
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda _: quantize(w, step, price), range(COPIES)))

    label = f"{'trellis' if dq else 'rdo'}{' with rate' if rate else ' without rate'}"
    facts = {"unit": "w", "work": COPIES * w.size, "threads": os.cpu_count()}
    contestants = {"ours": lambda: _drop(ours())}
    if peer is not None:
        settings = {"weights": peer.put("weights", w), "levels": peer.folder / "levels.npy"}
        settings |= {"qp": qp, "dq": dq, "lambda_scale": rate}
        contestants["nncodec, 1 thread"] = lambda: COPIES * peer.ask("quantize", **settings)["seconds"][0]
        peer.ask("quantize", **settings)
        theirs, mine = (_cost(w, q, step, price, dq) for q in (peer.get("levels.npy"), ours()[0]))
        facts |= {"cost_over_theirs": mine["cost"] / theirs["cost"], "bits": mine["bits"], "their_bits": theirs["bits"]}
        facts |= {"squared_error": mine["error"], "their_squared_error": theirs["error"]}
    bench.compare(f"{label}, {name}", contestants, **facts)


def candidates(bench, name: str, w, dq: bool) -> None:
    """Steps and prices of one tensor: the XLA form, which decides them in one program, beside the compiled one."""
    quantize = quantize_trellis if dq else quantize_rdo
    balance, factor = (4 * 0.7 if dq else 1) * math.log(2) / 6, 0.5 if dq else 1.0
    steps = [factor * 2.0 ** (k / CANDIDATES) for k in range(CANDIDATES)]
    rates = [balance * (1 + k % 4) / 4 for k in range(CANDIDATES)]

    def decide(implementation):
        return quantize([w] * CANDIDATES, steps, rates, implementation=implementation)

    pairs = zip(decide("xla"), decide("compiled"), strict=True)
    facts = {"differing_levels": int(sum(np.count_nonzero(ours != theirs) for ours, theirs in pairs))}
    bench.compare(
        f"{'trellis' if dq else 'rdo'} with rate, XLA, {CANDIDATES} candidates of {CANDIDATE_SIZE} weights, {name}",
        {"ours": lambda: _drop(decide("xla")), "compiled": lambda: _drop(decide("compiled"))},
        unit="w", work=CANDIDATES * w.size, **facts,
    )  # fmt: skip


def _cost(w, q, step, price, dq) -> dict:
    bits = 8 * len(encode_tensor(q, dq=dq))
    error = float(((w.astype(np.float64) / step - q) ** 2).sum())
    return {"bits": bits, "error": error, "cost": error + price * bits}


def _drop(_) -> None:
    """Forgets a result, so that the caller is timed."""
