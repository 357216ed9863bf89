"""Quantisers: from real weights to the integers that the coder takes.

Nearest neighbour; the greedy rate-distortion decision of DeepCABAC (arXiv:1907.11900, section on weighted
rate-distortion quantisation) with the coder's own live contexts as the rate; the trellis of dependent quantisation.
Divisions are in float64 and ties round away from zero, so that the integers do not depend on the weights' dtype.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, SupportsIndex

import numpy as np

from ..array_types import ArrayLike, Int32
from ..threads import checked_jobs
from .checks import checked_importance, checked_weights, is_traced
from .codeword import Options, choose_presets, coding_order, lead, make_options
from .steps import PIECE, real

Levels = Int32[np.ndarray, "..."]
Many = list | tuple  # of tensors; one tensor has one step, rate_weight and importance, several have one each or share


def quantize_uniform(w: ArrayLike, step: float) -> Levels:
    """int32 levels round(w / step), ties away from zero; the shape of w.

    Args:
      w: real weights of any shape and float dtype.
      step: quantisation step, in the unit of the weights, > 0.

    Raises:
      ValueError: w holds NaN or infinity, step is not positive and finite, or a level leaves the legal range.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> entropy_coding.quantize_uniform(np.array([0.24, 0.25, -0.8], np.float32), 0.5).tolist()
      [0, 1, -2]
    """
    w, step = checked_weights(w, step)
    levels = np.empty(w.shape, np.int32)
    flat_w, flat_levels = np.ascontiguousarray(w).reshape(-1), levels.reshape(-1)
    for start in range(0, w.size, PIECE):
        scaled = flat_w[start : start + PIECE].astype(np.float64) / step
        whole = np.trunc(scaled)
        scaled -= whole  # exact, where adding a half and cutting off would round the largest double below 1/2 up
        flat_levels[start : start + PIECE] = whole + np.sign(scaled) * (np.abs(scaled) >= 0.5)
    return levels


def quantize_rdo(
    w: ArrayLike | Many,
    step: Any,
    rate_weight: Any,
    *,
    importance: Any = None,
    n_unary: SupportsIndex = 11,
    scan: SupportsIndex = 0,
    profile: SupportsIndex = 0,
    jobs: int | None = None,
    implementation: str | None = None,
) -> Any:
    """int32 levels that lower sum F (w / step - q)^2 + rate_weight * bits, decided greedily in coding order.

    Each weight chooses among 0, the nearest level and the one below it in magnitude, at the price that the coder's
    contexts set at that moment. The contexts start from the presets that suit the levels of a first pass (over an
    eighth of a large tensor).

    Args:
      w: real weights of any shape; or a list of tensors (layers, or one tensor several times as candidates), decided in
        parallel, for which step, rate_weight and importance may be lists as well. Returns a list then.
      step: quantisation step, > 0.
      rate_weight: price of a bit in squared steps, >= 0. ln(2) / 6 = 0.1155 is the slope of a uniform quantiser at high
        rate; 0 gives the nearest level.
      importance: F, of the shape of w, >= 0 (1 / sigma^2 for DC-v1, up to a factor); 1 everywhere by default.
      n_unary, scan, profile: as for `encode_tensor`.
      jobs: threads of "compiled", over tensors and, with a block scan, over the rows of blocks of each; by default one
        a core.
      implementation: None takes "compiled" (CPU threads) for concrete arrays and "xla" for JAX tracers. "xla" is a loop
        over the weights for any device, which jits and vmaps (over tensors, steps, rate weights). Of a list, tensors of
        one shape are decided in one program, and rows of blocks beside each other. Concrete arrays, and traced ones in
        64-bit mode, get the levels of "compiled" to the last one: its prices are the same integers, errors and costs
        the same float64 (which a TPU only emulates). Without 64-bit mode traced tensors are decided in float32: of a
        million Laplacian levels, greedy and on the trellis, none differed. The floor is the loop: two to three passes
        of one step a weight, on a GPU some launches each, which took `rate_exact`'s about 20 microseconds on an H200
        however small the batch. A single large tensor belongs on the host; what a device is for is hundreds of
        candidates, or of layers of one shape, beside each other.

    Returns:
      int32 of the shape of w, NumPy's or, of "xla", JAX's; for a list a list, of NumPy arrays unless traced.

    Raises:
      ValueError: as `quantize_uniform`; rate_weight is negative; importance has another shape or a bad value. Traced
        ones that would be refused get the level -2^31 everywhere, which no coder takes.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> w = np.array([0.6, 0.1, -0.52, 2.0], np.float32)
      >>> entropy_coding.quantize_rdo(w, step=1.0, rate_weight=0.5).tolist()  # 0.6 is not worth its bits
      [0, 0, 0, 2]
    """
    coder = {"n_unary": n_unary, "scan": scan, "profile": profile}
    if _is_xla(implementation, (w, step, rate_weight, importance)):
        return _by_xla("rdo", w, step, rate_weight, importance, jobs, coder)
    if isinstance(w, Many):
        return _many(quantize_rdo, w, step, rate_weight, importance, jobs, coder)
    w, step = checked_weights(w, step)
    importance = checked_importance(w, rate_weight, importance)
    options = make_options(w.shape, n_unary, False, scan, profile)
    if rate_weight == 0:
        return quantize_uniform(w, step)
    from .core import greedy

    matrix = (options.height, options.width)
    values = real(w).reshape(matrix)
    weights = np.ones((1, 1)) if importance is None else np.require(importance, None, ("C", "A")).reshape(matrix)

    def decide(presets, end=None, rows=slice(None)):
        own = weights[rows, :end] if weights.size > 1 else weights
        return greedy.decide(values[rows, :end], step, own, float(rate_weight), options.n_unary, options.block, presets)

    def decide_all(presets):
        bands = _bands(options, checked_jobs(jobs))
        if len(bands) < 2:
            return decide(presets)
        with ThreadPoolExecutor(len(bands)) as pool:  # contexts start anew at each row of blocks
            return np.concatenate(list(pool.map(lambda rows: decide(presets, rows=rows), bands)))

    end = lead(options)
    levels = decide(options.no_presets(), end) if end else decide_all(options.no_presets())
    return decide_all(choose_presets(levels, options, sampled=True)).reshape(w.shape)


def quantize_trellis(
    w: ArrayLike | Many,
    step: Any,
    rate_weight: Any = 0.0,
    *,
    importance: Any = None,
    n_unary: SupportsIndex = 11,
    scan: SupportsIndex = 0,
    profile: SupportsIndex = 0,
    jobs: int | None = None,
    implementation: str | None = None,
) -> Any:
    """int32 grid integers of dependent quantisation, w ~ step * x, for `encode_tensor(x, dq=True)`.

    Viterbi over the eight states of the trellis for the least sum of F (w / step - x)^2 + rate_weight * bits; every
    survivor carries its own contexts, so that the bits are those the coder will spend along it. The grid is twice as
    dense as what one state may use: compare with a uniform quantiser of step 2 * step, whose squared error is about
    4/3 as large at high rate.

    Args:
      w: real weights of any shape, or a list of tensors, as for `quantize_rdo`. (Rows of blocks follow one another: the
        trellis runs through them.)
      step: step of the grid, > 0.
      rate_weight: price of a bit in squared steps, >= 0; 4 * 0.7 * ln(2) / 6 = 0.32 is the codec's balance, 0 the
        least error.
      importance, n_unary, scan, profile, jobs, implementation: as for `quantize_rdo`; profile 1 needs scan 0. "xla"
        carries eight survivors along: a step takes it several times as long.

    Raises:
      ValueError: as `quantize_rdo`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> w = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
      >>> x = entropy_coding.quantize_trellis(w, step=0.1)
      >>> bool(np.abs(w - 0.1 * x).max() < 0.25), len(entropy_coding.encode_tensor(x, dq=True)) > 0
      (True, True)
    """
    if profile and scan:
        raise ValueError("dependent quantisation with a block scan cannot skip rows: use profile=0 or scan=0")
    coder = {"n_unary": n_unary, "scan": scan, "profile": profile}
    if _is_xla(implementation, (w, step, rate_weight, importance)):
        return _by_xla("trellis", w, step, rate_weight, importance, jobs, coder)
    if isinstance(w, Many):
        return _many(quantize_trellis, w, step, rate_weight, importance, jobs, coder)
    w, step = checked_weights(w, step, 2)  # its candidates lie up to two steps further out
    importance = checked_importance(w, rate_weight, importance)
    checked_jobs(jobs)
    options = make_options(w.shape, n_unary, True, scan, profile)
    weights = np.ones(1) if importance is None else np.require(importance, None, ("C", "A")).reshape(-1)
    scale = float(weights.max(initial=0)) or 1.0  # costs of any unit stay far from overflow
    if not np.isfinite(rate_weight / scale):
        raise ValueError(f"rate_weight is beyond what importances of at most {scale} can be weighed against")
    return _best_path(real(w).reshape(-1), step, weights / scale, rate_weight / scale, options).reshape(w.shape)


def _best_path(values, step: float, weights, rate_weight: float, options: Options) -> Int32[np.ndarray, " values"]:
    """Grid integers of weights [values] in storage order; weights: of the squared errors, of the same size or 1."""
    from .core import trellis

    order, restarts = coding_order(options)
    if order is not None:
        values = values[order]
        weights = weights[order] if weights.size > 1 else weights
    if rate_weight == 0:
        return _put_back(trellis.nearest(values, step, weights), order)
    largest = float(max(values.max(initial=0), -values.min(initial=0)))
    num_contexts = trellis.used_contexts(largest / step, options.n_unary, options.num_contexts)

    def decide(presets, end=None):
        ends = restarts if end is None else np.array([end])
        return trellis.decide(
            values[:end], step, weights[:end], float(rate_weight), options.n_unary, ends, presets, num_contexts
        )

    first = _put_back(decide(options.no_presets(), lead(options)), order)
    matrix = np.ascontiguousarray(first.reshape(options.height, -1))
    return _put_back(decide(choose_presets(matrix, options, sampled=True)), order)


def _is_xla(implementation: str | None, arguments) -> bool:
    """Whether the XLA form decides: where it is asked for, or something is traced."""
    if implementation not in (None, "compiled", "xla"):
        raise ValueError(f"implementation={implementation!r} is neither 'compiled' nor 'xla'")
    return implementation == "xla" or (implementation is None and is_traced(arguments))


def _by_xla(kind: str, w, step, rate_weight, importance, jobs, coder: dict) -> Any:
    from .xla import batches

    checked_jobs(jobs)
    if not isinstance(w, Many):
        return batches.decide_one(kind, w, step, rate_weight, importance, coder)
    return batches.decide_many(kind, w, coder, **_one_each(w, step, rate_weight, importance))


def _many(quantize: Callable, tensors: Many, step, rate_weight, importance, jobs, options: dict) -> list[Levels]:
    """One quantiser over a list of tensors on threads; scalars belong to all of them."""
    arguments = _one_each(tensors, step, rate_weight, importance)
    with ThreadPoolExecutor(checked_jobs(jobs)) as pool:
        return list(
            pool.map(
                lambda w, step, rate, weight: quantize(w, step, rate, importance=weight, jobs=1, **options),
                tensors, *arguments.values(),
            )
        )  # fmt: skip


def _bands(options: Options, count: int) -> list[slice]:
    """Rows of a matrix in a block scan as up to `count` runs of whole rows of blocks."""
    if not options.block or count < 2:
        return []
    rows = -(-options.height // options.block)
    edges = np.unique(np.linspace(0, rows, min(count, rows) + 1).astype(int)) * options.block
    return [slice(start, end) for start, end in zip(edges[:-1], edges[1:], strict=True)]


def _put_back(levels: Int32[np.ndarray, " values"], order) -> Int32[np.ndarray, " values"]:
    """Levels in coding order, in storage order."""
    if order is None:
        return levels
    stored = np.empty_like(levels)
    stored[order] = levels
    return stored


def _one_each(tensors: Many, step, rate_weight, importance) -> dict[str, list]:
    """Step, rate weight and importance of each of several tensors; what is no list belongs to all."""
    arguments: dict[str, Any] = {"step": step, "rate_weight": rate_weight, "importance": importance}
    for name, value in arguments.items():
        if not isinstance(value, Many):
            arguments[name] = [value] * len(tensors)
        elif len(value) != len(tensors):
            raise ValueError(
                f"{name} has {len(value)} entries for {len(tensors)} tensors: give one each, or one for all"
            )
    return arguments
