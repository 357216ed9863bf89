"""The Golomb coder at the sparsities of the paper's table, beside zlib on packed bits and the arithmetic coder.

    python -m kernels.bench golomb

One update of a convolutional network of 865,482 weights, as one gets it from `sparse_ternary`.
"""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from .. import entropy_coding, golomb

WEIGHTS = 865_482
SHARES = {"1/25": 1 / 25, "1/100": 1 / 100, "1/400": 1 / 400}
MU = 0.01


def packed(mask: np.ndarray, signs: np.ndarray) -> bytes:
    """The mask as bits, then a bit of sign for each selected entry, by zlib."""
    return zlib.compress(np.packbits(mask).tobytes() + np.packbits(signs[mask] < 0).tobytes(), 6)


def run(bench) -> None:
    """Measures encoding and decoding, lengths, and counting bits without coding."""
    rng = np.random.default_rng(0)
    for name, share in SHARES.items():
        mask = rng.random(WEIGHTS) < share
        signs = np.where(mask, np.where(rng.random(WEIGHTS) < 0.5, -1, 1), 0).astype(np.int8)
        levels = signs.astype(np.int32)
        data, codeword = golomb.encode(mask, signs, MU), entropy_coding.encode_tensor(levels)
        if not np.array_equal(golomb.decode(data, WEIGHTS), np.float32(MU) * signs):
            raise AssertionError("decoded values are not those that were encoded")
        bench.compare(
            f"encode, {name} of 865,482",
            {
                "ours": lambda m=mask, s=signs: golomb.encode(m, s, MU) and None,
                "entropy_coding": lambda q=levels: entropy_coding.encode_tensor(q) and None,
                "zlib of bits": lambda m=mask, s=signs: packed(m, s) and None,
            },
            work=WEIGHTS,
            unit="w",
        )
        bench.compare(
            f"decode, {name} of 865,482",
            {
                "ours": lambda d=data: golomb.decode(d, WEIGHTS),
                "entropy_coding": lambda c=codeword: entropy_coding.decode_tensor(c, (WEIGHTS,)),
            },
            work=WEIGHTS,
            unit="w",
        )
        b = golomb.golomb_parameter(mask.mean())
        counted = functools.partial(jax.jit(functools.partial(golomb.golomb_bits, b=b)), jnp.asarray(mask))
        bench.compare(
            f"golomb_bits, {name} of 865,482",
            {"ours, under jit": counted, "ours, on the host": lambda m=mask, b=b: golomb.golomb_bits(m, b) and None},
            work=WEIGHTS,
            unit="w",
        )
        account = golomb.account(data, WEIGHTS)
        k = int(mask.sum())
        p = k / WEIGHTS
        bound = WEIGHTS * (-p * np.log2(p) - (1 - p) * np.log2(1 - p) + p)
        bench.record(
            f"bits, {name} of 865,482",
            selected=k,
            payload_bits=account.payload_bits,
            side_bits=account.side_bits,
            framing_bits=account.framing_bits,
            entropy_bound_bits=float(bound),
            entropy_coding_bits=8 * len(codeword),
            zlib_bits=8 * len(packed(mask, signs)),
        )
