"""Sionna's LDPC codes and 5G channels on request: .venv-peers/sionna/bin/python tests/peers/sionna_server.py

LLRs come and go as log P(0)/P(1); Sionna takes log P(1)/P(0), and `flipped` stands between. A code is given to
`take` by its edges and named in the calls after; bits and LLRs are .npy files [batch, bits]. A timing is of the
decoder alone, warm, in wall seconds and in CPU seconds of this process, all its threads together.
"""

import functools
import importlib.metadata
import json
import time
from importlib import resources

import line_server
import numpy as np
import scipy.sparse
import torch
from sionna.phy.channel import cir_to_ofdm_channel
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder, LDPCBPDecoder
from sionna.phy.nr.utils import CodedAWGNChannelNR, decode_mcs_index

_codes: dict[str, tuple] = {}  # (parity-check matrix, lifting) by name
_warm: set[tuple] = set()  # settings of what has been timed
# torch compiles anew for each code, batch and number of threads, and past its limit would go on eagerly, unsaid.
torch._dynamo.config.recompile_limit = 256
torch._dynamo.config.fail_on_recompile_limit_hit = True


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("sionna-no-rt", "torch", "numpy", "scipy")}


def nr_edges(base_graph: int, lifting: int, answer: str) -> dict:
    """Writes the edges (check, bit) of Sionna's own matrix of a 5G code, sorted, to the .npz `answer`."""
    check, bit, _ = scipy.sparse.find(_encoder_of(base_graph, lifting).pcm)
    order = np.lexsort((bit, check))
    np.savez(answer, check=check[order], bit=bit[order])
    return {}


def take(name: str, edges: str, checks: int, bits: int, lifting: int = 1) -> dict:
    """Keeps a code for later calls: edges [2, edges] of checks and bits."""
    check, bit = np.load(edges, allow_pickle=False)
    matrix = scipy.sparse.csr_matrix((np.ones(check.size), (check, bit)), shape=(checks, bits))
    _codes[name] = (matrix, lifting)
    _decoder.cache_clear()
    _warm.clear()
    return {"edges": int(matrix.nnz)}


def decode(name: str, llr: str, answer: str, **settings) -> dict:
    """Writes the posteriors [batch, bits] of LDPCBPDecoder; the settings are those of `_decoder`."""
    with torch.no_grad():
        x = _load(llr).to(torch.float64 if settings.get("precision") == "double" else torch.float32)
        np.save(answer, flipped(_decoder(name, **settings)(flipped(x))).numpy())
    return {}


def time_decode(name: str, llr: str, repeats: int = 1, threads: int = 1, **settings) -> dict:
    """Returns wall and CPU seconds of each of `repeats` decodes, after one where `settings` or threads are new."""
    call, x = _decoder(name, **settings), flipped(_load(llr))
    return _timed(lambda: call(x), repeats, threads, (name, llr, threads, *sorted(settings.items())))


def encode(k: int, n: int, bits: str, answer: str, order: int | None = None, rv: list | None = None) -> dict:
    """Writes what LDPC5GEncoder sends of bits [batch, k]: [batch, n], or [batch, versions, n]; returns its code."""
    encoder = _nr_encoder(k, n, order)
    np.save(answer, encoder(_load(bits), rv=rv).numpy().astype(np.uint8))
    checks, length = encoder.pcm.shape
    return {"lifting": encoder.z, "checks": checks, "bits": length, "fillers": encoder.k_filler}


def time_encode(
    k: int, n: int, bits: str, order: int | None = None, repeats: int = 1, threads: int = 1, compiled: bool = False
) -> dict:
    """Returns wall and CPU seconds of each of `repeats` encodings with rate matching, as `time_decode`."""
    call, u = (_compiled_encoder if compiled else _nr_encoder)(k, n, order), _load(bits)
    return _timed(lambda: call(u), repeats, threads, (k, n, bits, order, threads, compiled))


def decode_sent(
    k: int, n: int, llr: str, answer: str, order: int | None = None, rv: list | None = None,
    update: str = "boxplus-phi", iterations: int = 20,
) -> dict:  # fmt: skip
    """Writes the k hard bits that LDPC5GDecoder finds in LLRs [batch, n] of what was sent, or [batch, versions, n]."""
    decoder = LDPC5GDecoder(
        _nr_encoder(k, n, order), cn_update=update, num_iter=iterations, hard_out=True, harq_mode=rv is not None
    )
    more = {} if rv is None else {"rv": rv}
    with torch.no_grad():
        np.save(answer, decoder(flipped(_load(llr)), **more).numpy().astype(np.uint8))
    return {}


def bler_points(mcs: int, size: int) -> dict:
    """Returns the package's own table of block error rates for a downlink scheme of table 1 and a block size in bits.

    Its simulation has no CRC: random blocks of `size` bits in `coded_bits` bits, each block right or wrong; as in
    `CodedAWGNChannelNR` that is `size` over the rate, rounded up to whole symbols.
    """
    order, rate = (float(value) for value in decode_mcs_index(mcs, 1, is_pusch=False))
    channel = CodedAWGNChannelNR(int(order), size, rate)
    table = json.loads(resources.files("sionna.sys").joinpath("bler_tables/PDSCH_table1.json").read_text())
    row = table["category"]["1"]["index"]["1"]["MCS"][str(mcs)]
    return {
        "snr_db": row["SNR_db"], "bler": row["CBS"][str(size)]["BLER"], "order": int(order), "rate": rate,
        "coded_bits": int(channel.num_coded_bits),
    }  # fmt: skip


def simulate(
    mcs: int, size: int, snr_db: float, blocks: int, update: str = "boxplus-phi", iterations: int = 20
) -> dict:
    """Returns block errors among fresh blocks, simulated as the table's were; `snr_db` is Es/N0."""
    order, rate = (float(value) for value in decode_mcs_index(mcs, 1, is_pusch=False))
    channel = CodedAWGNChannelNR(int(order), size, rate, iterations, update)
    with torch.no_grad():
        bits, decision = channel(blocks, snr_db - 10 * np.log10(order * rate))
    return {"errors": int((bits != decision).any(dim=1).sum())}


def tdl(
    profile: str, delay_spread: float, frequencies: list, answer: str, batch: int, times: int = 1,
    sampling: float = 1.0, speed: float = 0.0, carrier: float = 2.9e9,
) -> dict:  # fmt: skip
    """Writes frequency responses complex [batch, times, frequencies] of a tapped delay line, block by block static."""
    channel = TDL(profile, delay_spread, carrier, min_speed=speed)
    taps, delays = channel(batch, times, sampling)
    response = cir_to_ofdm_channel(torch.tensor(frequencies, dtype=delays.dtype), taps, delays)
    np.save(answer, response[:, 0, 0, 0, 0].numpy())
    return {"delays": channel.delays.tolist(), "powers": channel.mean_powers.tolist()}


def flipped(llr):
    """Between log P(0)/P(1), which callers have, and log P(1)/P(0), which Sionna has."""
    return -llr


def _load(path: str):
    return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))


@functools.cache
def _decoder(
    name: str, update: str = "boxplus-phi", schedule: str = "flooding", iterations: int = 5, clip: float | None = None,
    precision: str = "single", compiled: bool = False,
):  # fmt: skip
    """LDPCBPDecoder of a code; a layer is the checks of a row of blocks. Its graph is built once."""
    matrix, lifting = _codes[name]
    layers = np.arange(matrix.shape[0]).reshape(-1, lifting) if schedule == "layered" else schedule
    decoder = LDPCBPDecoder(
        matrix, cn_update=update, cn_schedule=layers, hard_out=False, num_iter=iterations, llr_max=clip,
        precision=precision,
    )  # fmt: skip
    return torch.compile(decoder, dynamic=False) if compiled else decoder


@functools.cache
def _nr_encoder(k: int, n: int, order: int | None):
    return LDPC5GEncoder(k, n, num_bits_per_symbol=order)


@functools.cache
def _compiled_encoder(k: int, n: int, order: int | None):
    return torch.compile(_nr_encoder(k, n, order), dynamic=False)


def _encoder_of(base_graph: int, lifting: int):
    """An encoder whose code has this base graph and lifting: the standard picks the lifting by the number of bits."""
    for columns in (22,) if base_graph == 1 else (10, 9, 8, 6):
        k = columns * lifting
        if 12 <= k <= (8448 if base_graph == 1 else 3840):
            encoder = LDPC5GEncoder(k, 2 * k, bg=f"bg{base_graph}")
            if encoder.z == lifting:
                return encoder
    raise ValueError(f"base graph {base_graph}, lifting {lifting}: no number of bits leads to it")


def _timed(call, repeats: int, threads: int, settings: tuple) -> dict:
    """Wall and CPU seconds of each call; a first one with these settings, which may compile, is apart."""
    torch.set_num_threads(threads)
    wall, cpu, first = [], [], None
    with torch.no_grad():
        if settings not in _warm:
            start = time.perf_counter()
            call()
            first = time.perf_counter() - start
            _warm.add(settings)
        for _ in range(repeats):
            start, start_cpu = time.perf_counter(), time.process_time()
            call()
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
    return {"first": first, "seconds": wall, "cpu_seconds": cpu}


if __name__ == "__main__":
    commands = (
        version, nr_edges, take, decode, time_decode, encode, time_encode, decode_sent, bler_points, simulate,
        tdl,
    )  # fmt: skip
    line_server.serve({command.__name__: command for command in commands})
