"""Calls of the radio kernels that have to lower for every platform, see test_portable.py."""

import jax
import numpy as np

from kernels import channel, ldpc

NR, PARITY = ldpc.qc_code(2, 2), ldpc.sparse_code(np.ones((1, 4), int))
SYMBOLS = np.exp(1j * np.arange(6)).astype(np.complex64)
SUBCARRIERS = np.arange(6, dtype=np.float32) * 15e3
CHANNEL_MODES = channel.channel_modes("C", 1e-7, SUBCARRIERS)
IN_TIME = {"times": (0.0, 0.004), "doppler": 8.0}


def radio_calls(keyed, seed: int) -> dict[str, dict[str, tuple]]:
    """Room -> name -> (function, its arguments); keyed: makes a function of a number, from which the key comes."""
    return {
        "ldpc": {
            "decode": (
                lambda llr: (
                    ldpc.decode(NR, llr, statistics=True),
                    ldpc.decode(PARITY, llr[:4], update="sum_product", schedule="flooding", early_stop=False),
                ),
                np.ones(104, np.float32),
            ),
            "encode": (lambda bits: (ldpc.encode(NR, bits), ldpc.encode(PARITY, bits[:3])), np.ones(20, np.uint8)),
            "rate_match": (lambda word: ldpc.rate_match(NR, word, 120, 2, modulation_order=2), np.ones(104, np.uint8)),
            "rate_recover": (lambda llr: ldpc.rate_recover(NR, llr, 2, fillers=3), np.ones((2, 120), np.float32)),
            "syndrome": (lambda word: ldpc.syndrome(NR, word), np.ones((3, 104), np.uint8)),
        },
        "channel": {
            "awgn": (keyed(channel.awgn), seed, SYMBOLS, np.float32(0.5)),
            "later_response": (
                keyed(channel.later_response, "A", 1e-7, SUBCARRIERS, 0.004, 8.0),
                seed,
                SYMBOLS,
            ),
            "llr": (lambda y, n0: channel.llr(y, 1.0, n0, 8), SYMBOLS, np.float32(0.5)),
            "modes_response": (lambda c: channel.modes_response(CHANNEL_MODES, c), SYMBOLS),
            "modulate": (lambda bits: channel.modulate(bits, 6), np.array([0, 1, 1, 0, 0, 1], np.int32)),
            "stratified_modes": (
                lambda seed, upper: channel.stratified_modes(jax.random.key(seed), CHANNEL_MODES, 0.0, upper, (4,)),
                seed,
                np.float32(0.1),
            ),
            "tdl_frequency_response": (
                lambda seed, spread, places: channel.tdl_frequency_response(
                    jax.random.key(seed), "D", spread, places, (4,), **IN_TIME
                ),
                seed,
                np.float32(1e-7),
                SUBCARRIERS,
            ),
            "tdl_taps": (keyed(channel.tdl_taps, "E", (4,), **IN_TIME), seed),
        },
    }
