"""Quantisers: from real weights to the integers that the coder takes, and back.

Uniform reconstruction w = step * q; nearest neighbour, or the greedy rate-distortion decision of DeepCABAC
(arXiv:1907.11900, section on weighted rate-distortion quantisation) with the coder's own live contexts as the rate.
Divisions are in float64 and ties round away from zero, so that the integers do not depend on the weights' dtype.
"""

import operator
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .constants import MAX_ABS_LEVEL
from .tensor import Options, matrix_shape, plan

QP_RANGE = -1000, 999
_PIECE = 1 << 16  # values at a time


def qp_to_step(qp: int, density: int = 2) -> float:
    """Quantisation step of an NNC quantisation parameter: (K + qp mod K) * 2^(floor(qp / K) - log2 K), K = 2^density.

    With density 2, every 4 of qp double the step: qp 0 is 1.0, qp -32 is 2^-8.

    Raises:
      ValueError: qp is no integer, or beyond -1000 to 999.
    """
    if isinstance(qp, (bool, np.bool_)) or not hasattr(qp, "__index__"):
        raise ValueError(f"qp={qp!r} is no integer")
    qp = operator.index(qp)
    if not QP_RANGE[0] <= qp <= QP_RANGE[1]:
        raise ValueError(f"qp={qp} is not between {QP_RANGE[0]} and {QP_RANGE[1]}")
    steps = 1 << density
    return float(steps + qp % steps) * 2.0 ** (qp // steps - density)


def quantize_uniform(w, step: float) -> np.ndarray:
    """int32 levels round(w / step), ties away from zero; the shape of w.

    Args:
      w: real weights of any shape and float dtype.
      step: quantisation step, in the unit of the weights, > 0.

    Raises:
      ValueError: w holds NaN or infinity, step is not positive and finite, or a level leaves the legal range.
    """
    w, step = checked_weights(w, step)
    levels = np.empty(w.shape, np.int32)
    flat_w, flat_levels = np.ascontiguousarray(w).reshape(-1), levels.reshape(-1)
    for start in range(0, w.size, _PIECE):  # in pieces, so that no float64 copy of a large tensor is made
        scaled = flat_w[start : start + _PIECE].astype(np.float64) / step
        whole = np.trunc(scaled)
        scaled -= whole  # exact, where adding a half and cutting off would round the largest double below 1/2 up
        flat_levels[start : start + _PIECE] = whole + np.sign(scaled) * (np.abs(scaled) >= 0.5)
    return levels


def quantize_rdo(
    w,
    step,
    rate_weight,
    *,
    importance=None,
    n_unary: int = 11,
    scan: int = 0,
    profile: int = 0,
    jobs: int | None = None,
):
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
      jobs: threads, over tensors and, with a block scan, over the rows of blocks of each; by default one a core.

    Raises:
      ValueError: as `quantize_uniform`; rate_weight is negative; importance has another shape or a bad value.
    """
    if isinstance(w, (list, tuple)):
        options = {"n_unary": n_unary, "scan": scan, "profile": profile}
        return _many(quantize_rdo, w, step, rate_weight, importance, jobs, options)
    w, step = checked_weights(w, step)
    importance = checked_importance(w, rate_weight, importance)
    options = Options(n_unary, False, scan, profile, *matrix_shape(w.shape))
    if rate_weight == 0:
        return quantize_uniform(w, step)
    from . import rdo

    matrix = (options.height, options.width)
    flat = _real(w).reshape(matrix)
    weight = np.ones((1, 1)) if importance is None else np.require(importance, None, "CA").reshape(matrix)

    def decide(chosen, end=None, rows=slice(None)):
        weights = weight[rows, :end] if weight.size > 1 else weight
        return rdo.decide(flat[rows, :end], step, weights, float(rate_weight), n_unary, options.block, chosen)

    def decide_all(chosen):
        bands = _bands(options, checked_jobs(jobs))
        if len(bands) < 2:
            return decide(chosen)
        with ThreadPoolExecutor(len(bands)) as pool:  # contexts start anew at each row of blocks
            return np.concatenate(list(pool.map(lambda rows: decide(chosen, rows=rows), bands)))

    levels = decide(options.no_presets(), _lead(options)) if _lead(options) else decide_all(options.no_presets())
    return decide_all(_starting_states(levels, options)).reshape(w.shape)


def quantize_trellis(
    w, step, rate_weight=0.0, *, importance=None, n_unary: int = 11, scan: int = 0, profile: int = 0,
    jobs: int | None = None,
):  # fmt: skip
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
      importance, n_unary, scan, profile, jobs: as for `quantize_rdo`; profile 1 needs scan 0.

    Raises:
      ValueError: as `quantize_rdo`.
    """
    if isinstance(w, (list, tuple)):
        options = {"n_unary": n_unary, "scan": scan, "profile": profile}
        return _many(quantize_trellis, w, step, rate_weight, importance, jobs, options)
    w, step = checked_weights(w, step, 2)  # its candidates lie up to two steps further out
    importance = checked_importance(w, rate_weight, importance)
    if profile and scan:
        raise ValueError("dependent quantisation with a block scan cannot skip rows: use profile=0 or scan=0")
    from . import trellis

    options = Options(n_unary, True, scan, profile, *matrix_shape(w.shape))
    order, restarts = _coding_order(options)
    flat = _real(w).reshape(-1)
    weight = np.ones(1) if importance is None else np.require(importance, None, "CA").reshape(-1)
    scale = float(weight.max(initial=0)) or 1.0  # costs of any unit stay far from overflow
    weight, rate_weight = weight / scale, rate_weight / scale
    if not np.isfinite(rate_weight):
        raise ValueError(f"rate_weight is beyond what importances of at most {scale} can be weighed against")
    if order is not None:
        flat = flat[order]
        weight = weight[order] if weight.size > 1 else weight
    largest = float(max(flat.max(initial=0), -flat.min(initial=0)))
    used = trellis.used_contexts(largest / step, n_unary, options.num_contexts)

    def decide(chosen, end=None):
        ends = restarts if end is None else np.array([end])
        return trellis.decide(flat[:end], step, weight[:end], float(rate_weight), n_unary, ends, chosen, used)

    if rate_weight == 0:
        return _put_back(trellis.nearest(flat, step, weight), order).reshape(w.shape)
    first = _put_back(decide(options.no_presets(), _lead(options)), order)
    levels = decide(_starting_states(first.reshape(options.height, -1), options))
    return _put_back(levels, order).reshape(w.shape)


def _real(w) -> np.ndarray:
    """Weights as a C-ordered float32 or float64 array, unchanged in value."""
    return np.require(w, np.float64 if w.dtype.itemsize == 8 else np.float32, "CA")


def _many(quantize, tensors, step, rate_weight, importance, jobs, options) -> list[np.ndarray]:
    """One quantiser over a list of tensors on threads; scalars belong to all of them."""
    given = {"step": step, "rate_weight": rate_weight, "importance": importance}
    for name, value in given.items():
        if not isinstance(value, (list, tuple)):
            given[name] = [value] * len(tensors)
        elif len(value) != len(tensors):
            raise ValueError(
                f"{name} has {len(value)} entries for {len(tensors)} tensors: give one each, or one for all"
            )
    with ThreadPoolExecutor(checked_jobs(jobs)) as pool:
        return list(
            pool.map(
                lambda w, step, rate, weight: quantize(w, step, rate, importance=weight, jobs=1, **options),
                tensors, *given.values(),
            )
        )  # fmt: skip


def _bands(options, count: int) -> list[slice]:
    """Rows of a matrix in a block scan as up to `count` runs of whole rows of blocks."""
    if not options.block or count < 2:
        return []
    rows = -(-options.height // options.block)
    edges = np.unique(np.linspace(0, rows, min(count, rows) + 1).astype(int)) * options.block
    return [slice(start, end) for start, end in zip(edges[:-1], edges[1:], strict=True)]


def _lead(options) -> int | None:
    """How much of one long row the first pass is run on; None: all of a matrix."""
    return max(options.width >> 3, min(options.width, 1 << 14)) if options.height == 1 else None


def _starting_states(matrix, options) -> np.ndarray:
    """Presets that suit levels [height, width] in storage order."""
    return plan(np.ascontiguousarray(matrix), options, sampled=True)


def _put_back(levels, order) -> np.ndarray:
    """Levels in coding order, in storage order."""
    if order is None:
        return levels
    stored = np.empty_like(levels)
    stored[order] = levels
    return stored


def fitted_step(w, q, step: float, *, importance=None) -> float:
    """The step at which levels reconstruct weights with the least squared error, sum F w q / sum F q^2.

    Args:
      w: real weights of any shape.
      q: their levels, which were decided with `step`.
      step: returned where the levels say nothing (all zero) or the best step is not positive.
      importance: F, of the shape of w; 1 everywhere by default.

    Raises:
      ValueError: as `quantize_rdo`; TypeError: q holds no integers.
    """
    q = np.asarray(q)
    if q.dtype.kind not in "iub":
        raise TypeError(f"levels must be integers, not {q.dtype}")
    if q.size and max(-int(q.min()), int(q.max())) > MAX_ABS_LEVEL:
        raise ValueError(f"a level is beyond the legal range |q| <= {MAX_ABS_LEVEL}")
    if q.shape != np.shape(w):
        raise ValueError(f"the levels have shape {q.shape}, the weights {np.shape(w)}")
    w, step = checked_weights(w, step, -1)  # the levels are there: any step will do
    importance = checked_importance(w, 0.0, importance)
    product, square = _sums(w, q, importance)
    best = product / square if square > 0 else 0.0
    return best if 0 < best < np.inf else float(step)


def error_beside(w, q, step: float) -> float:
    """Squared error of levels less the sum of the squared weights, which is the same in every order."""
    product, square = _sums(w, q, None)
    return step * (step * square - 2 * product)


def sum_of_squares(w) -> float:
    """Sum of squares of weights of any shape and float dtype, in float64."""
    flat = _real(w).reshape(-1)
    return sum(float(np.square(flat[i : i + _PIECE], dtype=np.float64).sum()) for i in range(0, flat.size, _PIECE))


def checked_jobs(jobs: int | None) -> int:
    """The number of threads: as given, or one a core."""
    if jobs is None:
        return os.cpu_count() or 1
    if isinstance(jobs, bool) or not hasattr(jobs, "__index__") or operator.index(jobs) < 1:
        raise ValueError(f"jobs={jobs!r} must be an integer of at least 1, or None for one a core")
    return operator.index(jobs)


def _sums(w, q, importance) -> list[float]:
    """sum F w q and sum F q^2."""
    from . import fitting

    found = np.empty(2)
    weights = np.ones(1) if importance is None else np.require(importance, None, "CA").reshape(-1)
    fitting.sums(_real(w).reshape(-1), np.require(q, np.int32, "CA").reshape(-1), weights, found)
    return found.tolist()


def _coding_order(options) -> tuple[np.ndarray | None, np.ndarray]:
    """Flat indices in coding order (None: the storage order), and where contexts start anew, the end last."""
    height, width, block = options.height, options.width, options.block
    if not block:
        return None, np.array([height * width], np.int64)
    index = np.arange(height * width).reshape(height, width)
    pieces = [
        index[top : top + block, left : left + block].reshape(-1)
        for top in range(0, height, block)
        for left in range(0, width, block)
    ]
    restarts = np.minimum(np.arange(block, height + block, block), height) * width
    return np.concatenate(pieces), restarts.astype(np.int64)


def dequantize(q, step: float, dtype=np.float32) -> np.ndarray:
    """step * q, computed in float64 and rounded once to `dtype`; the shape of q."""
    q = np.asarray(q)
    out = np.empty(q.shape, dtype)
    flat_q, flat_out = np.ascontiguousarray(q).reshape(-1), out.reshape(-1)
    for start in range(0, q.size, _PIECE):
        piece = slice(start, start + _PIECE)
        flat_out[piece] = (flat_q[piece] * np.float64(step)).astype(dtype)
    return out


def checked_importance(w, rate_weight, importance):
    """Importance as float64, or None; ValueError for one of another shape or with values that make no sense."""
    if not (np.isfinite(rate_weight) and rate_weight >= 0):
        raise ValueError(f"rate_weight={rate_weight} must be a finite number >= 0")
    if importance is not None:
        importance = np.asarray(importance, np.float64)
        if importance.shape != w.shape:
            raise ValueError(f"importance has shape {importance.shape}, the weights {w.shape}")
        if not (np.isfinite(importance).all() and (importance >= 0).all()):
            raise ValueError("importance holds NaN, infinity or a negative value")
    return importance


def checked_weights(w, step, margin: int = 0):
    """Weights as an array in the machine's byte order and the step as a float, or an error that says what is wrong;
    `margin` levels beyond the nearest one must be legal, too (-1: no level is to be made)."""
    w = np.asarray(w)
    w = w.astype(w.dtype.newbyteorder("="), copy=False)
    if w.dtype.kind not in "fV" and w.dtype.name not in ("bfloat16",):
        raise ValueError(f"weights must be floating point, not {w.dtype}; integers need no quantiser")
    if w.dtype.itemsize > 8:
        raise ValueError(f"weights of dtype {w.dtype} are wider than the float64 that quantisers compute in: cast them")
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"step={step} must be a finite number > 0")
    if w.size:
        with np.errstate(invalid="ignore"):  # bfloat16 warns of what is found below
            largest = float(max(w.max(), -w.min()))
        if not np.isfinite(largest):
            bad = int(np.count_nonzero(~np.isfinite(w.astype(np.float32))))
            raise ValueError(f"the weights hold {bad} NaN or infinite values of {w.size}")
        if margin >= 0 and largest / step > MAX_ABS_LEVEL - margin:
            raise ValueError(
                f"step={step} is too small for a largest weight of {largest}: the smallest legal step is "
                f"{largest / MAX_ABS_LEVEL * (1 + 1e-5):.6g}"
            )
    return w, float(step)
