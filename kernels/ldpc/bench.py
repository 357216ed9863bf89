"""The decoder and encoder beside Sionna, on one core and on all, by codewords a second and a CPU second.

    python -m kernels.bench ldpc

Flooding, min-sum or sum-product, the same iterations and no early stop for all, so that equal work is timed; our
default, layered normalised min-sum, beside them. Sionna runs eagerly and under torch.compile, each on one thread and on
all; the best of them is the peer. Its messages are not clipped, which costs it least. A core's floor is the larger of
the operations of all edges at the rate of a matrix product, and reading and writing LLRs once.
"""

import functools
import statistics
import time

import jax
import numpy as np

from .. import ceilings, ldpc, timing
from ..threads import cores

DEVIATION = 0.9  # of the noise beside +1 and -1; early stop is off, so that nothing hangs on it
# In flooding min-sum: subtraction, magnitude, two minima, which one it is, two signs, choice, addition.
OPERATIONS = 9
UPDATES = {
    "min-sum": ("minsum", {"update": "min_sum", "scale": 1.0}),
    "sum-product": ("boxplus-phi", {"update": "sum_product"}),
}
SIZES = [  # base graph, lifting, iterations, batch, update
    (2, 36, 5, 64, "min-sum"), (2, 36, 5, 512, "min-sum"), (2, 36, 5, 64, "sum-product"),
    (2, 36, 5, 512, "sum-product"), (1, 384, 20, 16, "min-sum"),
]  # fmt: skip
COMPILED = 10  # iterations at most that torch compiles here: it unrolls them, minutes for more
PAYLOAD, SENT, ORDER = 360, 1800, 2


class Clock:
    """Wall and CPU seconds of calls by name; those of peers come from their own process."""

    def __init__(self) -> None:
        self.cpu: dict[str, list[float]] = {}

    def ours(self, who: str, call):
        def run() -> float:
            start, start_cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            self.cpu.setdefault(who, []).append(time.process_time() - start_cpu)
            return time.perf_counter() - start

        return run

    def theirs(self, who: str, peer, command: str, **arguments):
        def run() -> float:
            answer = peer.ask(command, **arguments)
            self.cpu.setdefault(who, []).extend(answer["cpu_seconds"])
            return float(answer["seconds"][0])

        return run

    def per_cpu_second(self, work: int, warm_up: int = 1) -> dict[str, float]:
        """Work a CPU second by name: the median without the first."""
        return {name: work / statistics.median(values[warm_up:]) for name, values in self.cpu.items()}


def received(code: ldpc.Code, batch: int) -> np.ndarray:
    """LLRs float32 [batch, n] of random words; the punctured bits are unknown."""
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, (batch, code.information * code.lifting), np.uint8)
    y = 1 - 2.0 * np.asarray(ldpc.encode(code, bits)) + DEVIATION * draw.standard_normal((batch, code.n))
    y[:, : code.punctured * code.lifting] = 0
    return (2 * y / DEVIATION**2).astype(np.float32)


def run(bench) -> None:
    """Measures decoding, encoding, and compiling."""
    rate, bandwidth = ceilings.matrix_rate(), ceilings.bandwidth()
    with bench.peer("sionna") as peer:
        for size in SIZES:
            _decode(bench, peer, rate, bandwidth, *size)
        _encode(bench, peer)
    code = ldpc.qc_code(2, 36)
    for schedule in ("layered", "flooding"):
        for update in ("min_sum", "sum_product"):
            call = functools.partial(
                ldpc.decode, code, update=update, schedule=schedule, iterations=50, implementation="xla"
            )
            program = timing.compile_call(call, received(code, 64))
            temporary = program.temporary_bytes
            bench.record(
                f"compile, XLA, {schedule} {update}, batch 64", trace_s=program.trace_s, compile_s=program.compile_s,
                temporary_bytes_per_word=None if temporary is None else temporary / 64,
                message_bytes_per_word=4 * code.edge_count,
            )  # fmt: skip


def _decode(bench, peer, rate, bandwidth, base_graph, lifting, iterations, batch, update) -> None:
    """One row of codewords a second, one of codewords a CPU second."""
    code, clock = ldpc.qc_code(base_graph, lifting), Clock()
    llr = received(code, batch)
    theirs, rule = UPDATES[update]
    same = functools.partial(ldpc.decode, code, iterations=iterations, early_stop=False)
    flooding = functools.partial(same, schedule="flooding", **rule)
    calls = {
        "ours": functools.partial(flooding, llr),
        "ours, 1 core": functools.partial(flooding, llr, jobs=1),
        "ours, XLA": functools.partial(flooding, jax.numpy.asarray(llr), implementation="xla"),
        "ours, layered": functools.partial(same, llr, update=rule["update"]),
        "ours, layered, 1 core": functools.partial(same, llr, update=rule["update"], jobs=1),
        "ours, layered, XLA": functools.partial(
            same, jax.numpy.asarray(llr), update=rule["update"], implementation="xla"
        ),
    }
    contestants = {name: clock.ours(name, call) for name, call in calls.items()}
    if peer is not None:
        name = f"{base_graph}/{lifting}"
        peer.ask("take", name=name, edges=np.stack(ldpc.edges(code)), checks=code.checks, bits=code.n, lifting=lifting)
        path = peer.put(f"llr-{name.replace('/', '-')}-{batch}", llr)
        for who, arguments in _peers(iterations).items():
            contestants[who] = clock.theirs(
                who, peer, "time_decode", name=name, llr=path, update=theirs, iterations=iterations, **arguments
            )
    # All cores together; an addition is half of what a fused multiplication and addition counts for.
    arithmetic = batch * iterations * OPERATIONS * code.edge_count / (rate / 2)
    row = f"decode, BG{base_graph} Z={lifting}, {iterations} iterations, flooding {update}, batch {batch}"
    bench.compare(
        row, contestants, work=batch, unit="codeword", floor_s=max(arithmetic, 2 * llr.nbytes / bandwidth),
        edges=code.edge_count, message_bytes_per_word=4 * code.edge_count, cpu_seconds=clock.cpu,
    )  # fmt: skip
    _record_cpu(bench, row, clock, batch)


def _peers(iterations: int) -> dict[str, dict]:
    """Forms of Sionna by name."""
    forms = {"Sionna": False, "Sionna compiled": True} if iterations <= COMPILED else {"Sionna": False}
    threads = {", 1 thread": 1} | ({f", {cores()} threads": cores()} if cores() > 1 else {})
    return {
        form + text: {"compiled": compiled, "threads": count}
        for form, compiled in forms.items()
        for text, count in threads.items()
    }


def _record_cpu(bench, row: str, clock: Clock, work: int) -> None:
    """Codewords a CPU second, and how many times ours on one core, as the best of the peer."""
    rates = clock.per_cpu_second(work)
    peers = {name: value for name, value in rates.items() if name.startswith("Sionna")}
    facts = {"times_the_peer_per_cpu_second": rates["ours, 1 core"] / max(peers.values())} if peers else {}
    bench.record(f"{row}, a CPU second", **facts, per_cpu_second=rates)


def _encode(bench, peer) -> None:
    """Encoding and rate matching of the standard's code for a payload."""
    block = ldpc.nr_block(PAYLOAD, PAYLOAD / SENT)
    code = block.code
    for batch in (64, 512):
        bits = np.random.default_rng(0).integers(0, 2, (batch, PAYLOAD), np.uint8)
        clock = Clock()

        def ours(bits=bits):
            word = ldpc.encode(code, np.pad(bits, ((0, 0), (0, block.fillers))))
            return ldpc.rate_match(code, word, SENT, fillers=block.fillers, modulation_order=ORDER)

        contestants = {"ours, 1 core": clock.ours("ours, 1 core", ours)}
        if peer is not None:
            path = peer.put(f"bits-{batch}", bits)
            for who, arguments in _peers(1).items():
                contestants[who] = clock.theirs(
                    who, peer, "time_encode", k=PAYLOAD, n=SENT, bits=path, order=ORDER, **arguments
                )
        row = f"encode and match, {PAYLOAD} bits in {SENT}, batch {batch}"
        bench.compare(row, contestants, work=batch, unit="codeword", cpu_seconds=clock.cpu)
        _record_cpu(bench, row, clock, batch)
