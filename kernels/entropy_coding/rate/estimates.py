"""Rate estimates: how many bits the coder will spend on integers, without coding them.

`rate_exact` runs the coder's probability states and charges every bin what the coder spends on it on average;
`rate_static` charges each context the entropy of all its bins at once; `rate_static_soft` is its differentiable form
for soft assignments. Source: DeepCABAC (arXiv:1907.11900) and ISO/IEC 15938-17, whose own cost table is up to 1 % too
low. Headers (9 bytes a codeword, three bits more for every preset) are not counted.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, SupportsIndex

import numpy as np

from ...array_types import Array, ArrayLike, Float64
from ...scalars import whole
from ...threads import checked_jobs
from ..checks import is_traced
from ..codeword import checked_levels, checked_unary, choose_presets, skip_bits, skipped_rows
from ..core.constants import COST_UNIT


def rate_exact(
    q: ArrayLike | Sequence[ArrayLike],
    *,
    n_unary: SupportsIndex = 11,
    presets: bool = True,
    dq: bool = False,
    scan: SupportsIndex = 0,
    profile: SupportsIndex = 0,
    implementation: str | None = None,
    max_level: int | None = None,
    jobs: int | None = None,
) -> float | Float64[np.ndarray, " tensors"] | Array:
    """Bits of integers under the true state recursion; within 0.1 % of a long codeword.

    Args:
      q: one integer tensor, or a list of tensors of any shapes (candidates, layers), rated in parallel.
      n_unary, dq, scan, profile: coder options, see `encode_tensor`.
      presets: charge the best starting states, as `encode_tensor` chooses them by default, instead of the neutral ones.
        Choosing them takes several times as long, and the values: a traced q needs presets=False, the bits of
        `encode_tensor(q, presets=False)`.
      implementation: None takes "compiled" for concrete arrays (CPU threads) and "xla" for JAX tracers; "xla" is a loop
        over the weights that jits and vmaps (over tensors or candidates, which is what makes it fast), to the same
        bits as far as a float32 holds them, for scan 0 of profile 0 without presets and dq. A list is padded to a few
        sizes, so that there are few compilations.
      max_level: for "xla", a bound on |q| that the caller knows: fewer contexts are then carried along.
      jobs: threads of "compiled"; by default one a core.

    Returns:
      A float (float64 array for a list); "xla": a float32 scalar.

    Raises:
      ValueError, TypeError: as `encode_tensor`; an option that the implementation does not have.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> q = np.random.default_rng(0).integers(-1, 2, (100, 100))
      >>> bits, file = entropy_coding.rate_exact(q), 8 * entropy_coding.stream_length(q)
      >>> abs(bits / file - 1) < 0.02
      True
    """
    if implementation not in (None, "compiled", "xla"):
        raise ValueError(f"implementation={implementation!r} is neither 'compiled' nor 'xla'")
    is_plain = not (presets or dq or scan or profile)
    if implementation == "xla" or (implementation is None and is_traced(q)):
        if not is_plain:
            raise ValueError(
                "the XLA form, which rates traced tensors, knows scan 0 of profile 0 without presets and dependent "
                "quantisation: rate_exact(q, presets=False)"
            )
        return _bits_by_scan(q, n_unary, max_level)
    options, jobs = (n_unary, dq, scan, profile), checked_jobs(jobs)
    if isinstance(q, list | tuple):
        if is_plain:
            return _plain_bits(q, n_unary, jobs)
        with ThreadPoolExecutor(jobs) as pool:
            return np.array(list(pool.map(lambda one: _compiled_bits(one, options, presets), q)))
    return _compiled_bits(q, options, presets)


def _bits_by_scan(q, n_unary, max_level):
    from . import scan

    several = isinstance(q, list | tuple) and (not q or any(hasattr(one, "dtype") for one in q))
    for one in q if several else [q]:
        _check(one, n_unary, max_level)
    if several and any(is_traced(one) for one in q):
        return scan.exact_stack(q, n_unary, max_level)
    return (scan.exact_list if several else scan.exact)(q, n_unary, max_level)


def rate_static(q: ArrayLike, *, n_unary: int = 11) -> Array:
    """Bits of integers if every context coded its bins at their overall frequencies: a float32 scalar, jittable.

    A stream of constant statistics costs up to about 5 % more, for adapting to them. One whose statistics change
    along the coding order costs less, however much: zeros, then as many values of -2 to 1, 79 % of this.

    Args:
      q: integers of any shape, read in storage order (scan 0).
      n_unary: number of unary flags.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> round(float(entropy_coding.rate_static(np.array([0, 0, 1, 1]))), 1)
      2.8
    """
    from . import counts

    _check(q, n_unary, None)
    return counts.static(q, n_unary)


def rate_static_soft(probabilities: ArrayLike, levels: Sequence[int], *, n_unary: int = 11) -> Array:
    """Differentiable `rate_static` of soft assignments: bits, a scalar in the dtype of the probabilities.

    Counts of bins become their expectations under independent weights; one-hot rows give `rate_static` of the integers.

    Args:
      probabilities: [weights, choices], rows sum to 1, weights in coding order.
      levels: the integer that each choice stands for, a sequence of Python ints.
      n_unary: number of unary flags.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> hard = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]  # choices 0 and 1 of four weights
      >>> round(float(entropy_coding.rate_static_soft(hard, (0, 1))), 1)
      2.8
    """
    from . import counts

    n_unary = checked_unary(n_unary)
    shape = np.shape(probabilities)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != len(levels):
        raise ValueError(f"probabilities of shape {shape} are not [weights, choices] for {len(levels)} levels")
    return counts.static_soft(probabilities, tuple(int(level) for level in levels), n_unary)


def _check(q, n_unary, max_level) -> None:
    """Refuses what the JAX forms would silently take for something else; ranges are only known of concrete arrays."""
    checked_unary(n_unary)
    if max_level is not None:
        whole("max_level", max_level, 0, why=", or None where no bound is known")
    if is_traced(q):
        if q.dtype.kind not in "iub":
            raise TypeError(f"levels must be integers, not {q.dtype}: quantise first (quantize_uniform)")
        return
    levels, _ = checked_levels(q, n_unary)
    largest = max(int(levels.max(initial=0)), -int(levels.min(initial=0)))
    if max_level is not None and largest > max_level:
        raise ValueError(f"max_level={max_level} is no bound on |q|: there is a level of magnitude {largest}")


def _plain_bits(tensors, n_unary, jobs) -> np.ndarray:
    """Bits of many tensors without further options, a run of them a thread: no Python between one and the next."""
    from ..core import rate

    if not tensors:
        return np.zeros(0)
    flat = [np.asarray(q).reshape(-1) for q in tensors]
    if any(q.dtype != flat[0].dtype or q.dtype.kind not in "iub" for q in flat):
        flat = [checked_levels(q, n_unary)[0].reshape(-1) for q in flat]  # names the one that is none
    levels, options = checked_levels(np.concatenate(flat)[None], n_unary)
    levels, ends = levels.reshape(-1), np.cumsum([q.size for q in flat])
    bits, no_skips = np.zeros(len(tensors), np.int64), np.zeros(1, np.uint8)
    # Runs of about the same number of values.
    edges = np.unique([0, *np.searchsorted(ends, ends[-1] * np.arange(1, jobs) / jobs), len(tensors)])

    def run(first, last):
        contexts = np.empty(options.num_contexts, np.uint32)
        rate.costs(levels, ends, first, last, options.n_unary, no_skips, options.no_presets(), contexts, bits)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, edges[:-1], edges[1:]))
    return bits * COST_UNIT


def _compiled_bits(q: Any, coder_options: tuple, presets: bool) -> float:
    from ..core import rate

    levels, options = checked_levels(q, *coder_options)
    skipped = skipped_rows(levels, options)
    states = choose_presets(levels, options) if presets else options.no_presets()
    bits = rate.cost(levels, options.n_unary, options.dq, options.block, skipped, states) * COST_UNIT
    return float(bits + skip_bits(skipped))
