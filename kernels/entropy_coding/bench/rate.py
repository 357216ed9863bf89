"""Benchmark of the rate estimates: prototypes of the JAX form, both implementations, and what they cannot go below.

The floor of the compiled form is a chain: a context's next place is one dependent load, about 6 cycles a bin, however
many units a core has (runs of zeros are one such chain). That of the JAX form is its arithmetic: about 45 vector
instructions for 8 lanes (contexts times tensors) a weight of each loop, at two a cycle.
"""

import functools
import os

import numpy as np

from .. import rate_exact, rate_static

CHAIN_CYCLES, LANE_INSTRUCTIONS, LANES, ISSUED = 6, 45, 8, 2
TENSORS, SIZE = 256, 1 << 14
SCALES = {"90 % zeros": 0.217, "3.0 bits a weight": 1.335}


def run(bench, hertz: float, context_bins) -> None:
    """Prototypes on a part of the data, then the estimates on all of it."""
    import jax

    plain = functools.partial(rate_exact, presets=False)
    for name, scale in SCALES.items():
        q = np.rint(np.random.default_rng(0).laplace(0, scale, (TENSORS, SIZE))).astype(np.int32)
        largest = int(np.abs(q).max())
        tensors, cores = list(q), os.cpu_count()
        bits = float(plain(tensors).sum())
        facts = {"unit": "w", "work": q.size, "bits_per_weight": bits / q.size, "tensors": TENSORS}
        floor = context_bins(q) * CHAIN_CYCLES / hertz
        bench.compare(
            f"rate_exact, compiled, {cores} threads, {name}", {"ours": lambda t=tensors: _drop(plain(t))},
            floor_s=floor / cores, **facts,
        )  # fmt: skip
        bench.compare(
            f"rate_exact, compiled, 1 thread, {name}", {"ours": lambda t=tensors: _drop(plain(t, jobs=1))},
            floor_s=floor, **facts,
        )  # fmt: skip
        for bound in (None, largest):
            rate = jax.jit(jax.vmap(lambda x, bound=bound: plain(x, max_level=bound)))
            bench.compare(
                f"rate_exact, JAX, {'no bound' if bound is None else 'known bound'}, {name}",
                {"ours": lambda rate=rate, q=q: _drop(rate(q).block_until_ready())},
                floor_s=_lane_steps(q, bound) * LANE_INSTRUCTIONS / LANES / ISSUED / hertz, **facts,
            )  # fmt: skip
        static = jax.jit(jax.vmap(rate_static))
        bench.compare(
            f"rate_static, JAX, {name}", {"ours": lambda rate=static, q=q: _drop(rate(q).block_until_ready())}, **facts
        )
        prototypes(bench, name, q[:, : SIZE // 8], largest)


def prototypes(bench, name: str, q, largest: int) -> None:
    """The same recursion in one loop for all contexts."""
    from . import rate_prototypes

    if largest > 11:
        q, largest = q.clip(-11, 11), 11  # they leave the prefix out
    contestants = {
        form.__name__: lambda form=form: _drop(form(q, 11, largest).block_until_ready())
        for form in (rate_prototypes.one_hot, rate_prototypes.gather)
    }
    bench.compare(f"prototypes of the JAX form, {name}", contestants, unit="w", work=q.size, page=False)


def _lane_steps(q, bound: int | None) -> int:
    """Contexts times steps times tensors of the three loops."""
    largest = 2**31 if bound is None else bound
    longest = [int((np.abs(q) > limit).sum(axis=1).max()) for limit in (0, 11)]
    steps = 3 * q.shape[1] + (3 + 2 * min(11, largest)) * longest[0]
    if largest > 11:
        steps += (largest - 11).bit_length() * longest[1]
    return steps * q.shape[0]


def _drop(_) -> None:
    """Forgets a result, so that the caller is timed."""
