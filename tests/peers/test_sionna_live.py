"""Codes, decoders, rate matching and block error rates against Sionna: `make peers-sionna` builds it, for `make peers`.

It is given the explicit parity-check matrix, and LLRs in our sign; its server turns the sign.
"""

import functools

import jax
import numpy as np
import pytest
import scipy.stats

from kernels import channel, ldpc

PEER = "sionna"
ITERATIONS = 5
UPDATES = {
    "minsum": {"update": "min_sum", "scale": 1.0},
    "offset-minsum": {"update": "min_sum", "scale": 1.0, "offset": 0.5},
    "boxplus": {"update": "sum_product"},
    "boxplus-phi": {"update": "sum_product"},
}


def received(code, batch, seed, deviation=0.8):
    """LLRs float32 [batch, n] of random words through noise; punctured bits are unknown."""
    draw = np.random.default_rng(seed)
    bits = draw.integers(0, 2, (batch, code.information * code.lifting), np.uint8)
    y = 1 - 2.0 * np.asarray(ldpc.encode(code, bits)) + deviation * draw.standard_normal((batch, code.n))
    llr = 2 * y / deviation**2
    llr[:, : code.punctured * code.lifting] = 0
    return llr.astype(np.float32)


def take(peer, code, name):
    peer.ask("take", name=name, edges=np.stack(ldpc.edges(code)), checks=code.checks, bits=code.n, lifting=code.lifting)


def posteriors(peer, name, llr, **settings):
    peer.ask("decode", name=name, llr=llr, answer=peer.folder / "answer.npy", **settings)
    return peer.get("answer.npy")


@pytest.mark.parametrize("base_graph", [1, 2])
@pytest.mark.parametrize("lifting", [6, 7, 36, 52, 80, 176, 240, 384])  # one of each set, and the paper's
def test_codes_are_its(peer, base_graph, lifting):
    peer.ask("nr_edges", base_graph=base_graph, lifting=lifting, answer=peer.folder / "answer.npz")
    theirs = peer.get("answer.npz")
    check, bit = ldpc.edges(ldpc.qc_code(base_graph, lifting))
    order = np.lexsort((bit, check))
    np.testing.assert_array_equal(check[order], theirs["check"])
    np.testing.assert_array_equal(bit[order], theirs["bit"])


@pytest.mark.parametrize(("base_graph", "lifting"), [(1, 4), (1, 15), (2, 9), (2, 36)])
@pytest.mark.parametrize("schedule", ["flooding", "layered"])
def test_posteriors_are_its(peer, base_graph, lifting, schedule):
    """Of both in float64, as five layered iterations of min-sum enlarge a rounding 10^7 times; flooding in float32 too.

    Its sum-product has no message above 17: there noise is more.
    """
    code = ldpc.qc_code(base_graph, lifting)
    take(peer, code, "code")
    for theirs, ours in UPDATES.items():
        llr = received(code, 6, lifting, 0.8 if ours["update"] == "min_sum" else 2.5)
        expected = posteriors(
            peer, "code", llr, update=theirs, schedule=schedule, iterations=ITERATIONS, precision="double"
        )
        same = functools.partial(ldpc.decode, code, iterations=ITERATIONS, schedule=schedule, early_stop=False, **ours)
        with jax.enable_x64(True):
            posterior = np.asarray(same(llr.astype(np.float64)).posterior)
        assert posterior.dtype == np.float64
        np.testing.assert_allclose(posterior, expected, rtol=1e-4, atol=1e-5, err_msg=theirs)
        if schedule == "flooding":
            np.testing.assert_allclose(same(llr).posterior, expected, rtol=1e-4, atol=1e-4, err_msg=theirs)
        assert np.abs(expected - llr).max() > 0.3


def test_any_matrix_is_decoded_as_its(peer):
    """Without structure: a matrix of random edges, degrees 2 to 9."""
    draw = np.random.default_rng(5)
    matrix = (draw.uniform(size=(60, 120)) < 0.05).astype(np.uint8)
    matrix[np.arange(60), np.arange(60)] = matrix[np.arange(60), 60 + np.arange(60)] = 1
    code = ldpc.sparse_code(matrix)
    take(peer, code, "random")
    llr = (1.5 + 2 * draw.standard_normal((8, 120))).astype(np.float32)
    for theirs in ("minsum", "boxplus"):
        expected = posteriors(peer, "random", llr, update=theirs, iterations=ITERATIONS, precision="double")
        decoded = ldpc.decode(
            code, llr, iterations=ITERATIONS, schedule="flooding", early_stop=False, **UPDATES[theirs]
        )
        np.testing.assert_allclose(decoded.posterior, expected, rtol=1e-4, atol=1e-4, err_msg=theirs)


BLOCKS = [  # payload, sent bits, bits a symbol: every width of base graph 2, both graphs, with and without fillers
    (24, 100, 2), (100, 408, 2), (192, 600, 4), (288, 576, 2), (360, 1800, 2), (500, 1664, 2), (600, 900, 6),
    (640, 1280, 8), (1000, 2282, 2), (3840, 6000, 4), (3900, 5850, 2), (8448, 11264, 4), (2640, 3000, 6),
]  # fmt: skip


def sent(payload, e, order, bits, rv=0):
    """(block, bits [..., e]) as we encode and match them."""
    block = ldpc.nr_block(payload, payload / e)
    filled = np.pad(bits, ((0, 0), (0, block.fillers)))
    word = ldpc.encode(block.code, filled)
    return block, np.asarray(ldpc.rate_match(block.code, word, e, rv, fillers=block.fillers, modulation_order=order))


@pytest.mark.parametrize(("payload", "e", "order"), BLOCKS)
def test_what_is_sent_is_its_bit_for_bit(peer, payload, e, order):
    bits = np.random.default_rng(e).integers(0, 2, (3, payload), np.uint8)
    answer = peer.ask(
        "encode", k=payload, n=e, bits=bits, answer=peer.folder / "answer.npy", order=order, rv=[0, 1, 2, 3]
    )
    theirs = peer.get("answer.npy")
    for rv in range(4):
        block, ours = sent(payload, e, order, bits, rv)
        np.testing.assert_array_equal(ours, theirs[:, rv], err_msg=f"redundancy version {rv}")
    code = block.code
    assert answer == {"lifting": code.lifting, "checks": code.checks, "bits": code.n, "fillers": block.fillers}


@pytest.mark.parametrize(("payload", "e", "order"), [(100, 408, 2), (640, 1280, 8), (3900, 5850, 2)])
@pytest.mark.parametrize("versions", [None, [0, 2], [0, 2, 3, 1]])
def test_it_decodes_what_we_send_and_we_what_it_sends(peer, payload, e, order, versions):
    """2 dB above where errors begin: that all 8 words decode is certain enough, and the seeds do not change."""
    draw = np.random.default_rng(payload)
    bits = draw.integers(0, 2, (8, payload), np.uint8)
    peer.ask("encode", k=payload, n=e, bits=bits, answer=peer.folder / "answer.npy", order=order, rv=versions)
    theirs = peer.get("answer.npy")
    rounds = versions or [0]
    deviation = 0.55 * np.sqrt(len(rounds))
    blocks = [sent(payload, e, order, bits, rv) for rv in rounds]
    noise = deviation * draw.standard_normal((8, len(rounds), e))
    llr = 2 * (1 - 2.0 * np.stack([ours for _, ours in blocks], 1) + noise) / deviation**2
    peer.ask(
        "decode_sent", k=payload, n=e, llr=llr if versions else llr[:, 0], answer=peer.folder / "answer.npy",
        order=order, rv=versions,
    )  # fmt: skip
    np.testing.assert_array_equal(peer.get("answer.npy"), bits)
    block, gathered = blocks[0][0], None
    llr = (2 * (1 - 2.0 * theirs.reshape(8, len(rounds), e) + noise) / deviation**2).astype(np.float32)
    for number, rv in enumerate(rounds):
        gathered = ldpc.rate_recover(
            block.code, llr[:, number], rv, fillers=block.fillers, modulation_order=order, out=gathered
        )
    decoded = ldpc.decode(block.code, gathered, iterations=20)
    np.testing.assert_array_equal(np.asarray(decoded.posterior)[:, :payload] < 0, bits)


@pytest.mark.parametrize("profile", list("ABCDE"))
def test_frequency_responses_have_its_statistics(peer, profile):
    """Correlation over 5 MHz, and the spread of the power, of 40,000 draws each: 6 standard errors apart at most.

    Normal, that is a false alarm in 10^8 for each of 25 numbers. Its taps are sums of 20 sinusoids, of a fourth moment
    2 - 1/20 where ours have 2, which is allowed for.
    """
    frequencies, draws, spread = np.arange(5) * 1.25e6, 40_000, 100e-9
    peer.ask(
        "tdl", profile=profile, delay_spread=spread, frequencies=frequencies.tolist(), batch=draws,
        answer=peer.folder / "answer.npy",
    )  # fmt: skip
    theirs = peer.get("answer.npy")[:, 0]
    ours = np.asarray(channel.tdl_frequency_response(jax.random.key(1), profile, spread, frequencies, (draws,)))
    for response in (ours, theirs):
        assert response.shape == (draws, 5)
    for of in (lambda h: (h * h[:, :1].conj()).real, lambda h: (h * h[:, :1].conj()).imag):
        one, other = of(ours), of(theirs)
        error = np.sqrt((one.var(0) + other.var(0)) / draws)
        assert (np.abs(one.mean(0) - other.mean(0)) <= 6 * error + 1e-6).all()
    fourth = [(np.abs(h) ** 4).mean() for h in (ours, theirs)]
    error = np.sqrt(sum((np.abs(h[:, 0]) ** 4).var() / draws for h in (ours, theirs)))
    assert abs(fourth[0] - fourth[1]) < 6 * error + 0.05


POINTS = [  # scheme, bits of a block, Es/N0 in dB: QPSK up to scheme 9, 16-QAM up to 16, 64-QAM
    (3, 100, -3.21), (3, 100, -1.43), (4, 500, -1.43), (4, 1000, -1.43), (6, 100, 0.36), (6, 500, 0.36),
    (6, 1000, 0.36), (9, 100, 3.93), (9, 500, 3.93), (11, 500, 3.93), (12, 100, 5.71), (12, 500, 5.71),
    (17, 500, 9.29), (19, 1000, 11.07),
]  # fmt: skip


@functools.partial(jax.jit, static_argnames=("e", "order", "block"))
def arrived(key, word, n0, e, order, block):
    """LLRs [blocks, n] of words that were matched, modulated and disturbed."""
    bits = ldpc.rate_match(block.code, word, e, 0, fillers=block.fillers, modulation_order=order)
    y = channel.awgn(key, channel.modulate(bits, order), n0)
    llr = channel.llr(y, 1.0, n0, order)
    return ldpc.rate_recover(block.code, llr, 0, fillers=block.fillers, modulation_order=order)


def errors(size, e, order, snr_db, blocks, seed):
    """How many of `blocks` random blocks are wrong after 20 iterations of flooding sum-product, as in the table."""
    block, key = ldpc.nr_block(size, size / e), jax.random.key(seed)
    bits = np.random.default_rng(seed).integers(0, 2, (blocks, size), np.uint8)
    word = ldpc.encode(block.code, np.pad(bits, ((0, 0), (0, block.fillers))))
    llr = arrived(key, word, 10 ** (-snr_db / 10), e, order, block)
    decoded = ldpc.decode(
        block.code, np.asarray(llr), iterations=20, update="sum_product", schedule="flooding", clip=20
    )
    return int(((np.asarray(decoded.posterior)[:, :size] < 0) != bits).any(1).sum())


def table_counts(rate):
    """(errors, blocks) behind a rate of the table: batches of 100 until 500 errors, 3,000 blocks at most."""
    for blocks in range(100, 3000, 100):
        if rate * blocks > 499.5 and abs(rate * blocks - round(rate * blocks)) < 1e-3:
            return round(rate * blocks), blocks
    return round(rate * 3000), 3000


@pytest.mark.slow
@pytest.mark.parametrize(("mcs", "size", "snr_db"), POINTS)
def test_block_error_rates_are_those_of_its_table(peer, mcs, size, snr_db):
    """Of two binomials at 99 % (Fisher's exact test); the seeds are fixed, so that it fails always or never."""
    table = peer.ask("bler_points", mcs=mcs, size=size)
    place = int(np.argmin(np.abs(np.array(table["snr_db"]) - snr_db)))
    wrong, among = table_counts(table["bler"][place])
    ours = errors(size, table["coded_bits"], table["order"], table["snr_db"][place], 3000, seed=mcs)
    two = [[wrong, among - wrong], [ours, 3000 - ours]]
    assert scipy.stats.fisher_exact(two).pvalue >= 0.01, f"{ours} of 3000 blocks wrong, in its table {wrong} of {among}"
