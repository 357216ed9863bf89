"""Belief propagation on any LDPC code: min-sum and sum-product, layered and flooding, by words.

Row after row of checks, an edge's message says what the other bits of its check say about the bit; the posterior of a
bit is its channel's log-likelihood ratio (LLR) plus all messages. Layered, a row reads the posteriors that the rows
before it wrote; flooding, those of the iteration before. An LLR is log P(bit 0) / P(bit 1).
Source: R. Gallager, IRE Trans. Inf. Theory 8, 21 (1962); D. Hocevar, SiPS 2004 (layered); J. Chen, M. Fossorier, IEEE
Trans. Commun. 50, 406 (2002) (normalised and offset min-sum).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import scalars
from ..array_types import AnyArray, Bool, Count, Float, Int32, Numbers, Scalar, UInt8
from ..threads import checked_jobs
from . import lanes, xla
from .codes import Code, checked_code
from .messages import UNKNOWN

UPDATES = ("min_sum", "sum_product")
SCHEDULES = ("layered", "flooding")
NORMALISATION = 0.75  # of min-sum's messages, which are too large without


class Decoded(NamedTuple):
    """Words after belief propagation.

    Attributes:
      posterior: LLRs [..., n]; a word that had satisfied its checks keeps those of that iteration, with early_stop.
      satisfied: bool [...], whether `bits` is a word of the code, which need not be the one that was sent.
      iterations: int32 [...], how many were made.
      reliability: [iterations + 1, ...], with `statistics`: mean |posterior| over the bits of the code after each
        iteration, the first of the channel's LLRs. Of a word that stopped, the last value stays.
      unsatisfied: the same of the share of checks that are violated.
    """

    posterior: Float[AnyArray, "..."]
    satisfied: Bool[AnyArray, "..."]
    iterations: Int32[AnyArray, "..."]
    reliability: Float[AnyArray, "..."] | None
    unsatisfied: Float[AnyArray, "..."] | None

    @property
    def bits(self) -> UInt8[AnyArray, "..."]:
        """Hard decisions, uint8 [..., n]: 1 where the posterior is below 0."""
        return (self.posterior < 0).astype(np.uint8)


def decode(
    code: Code,
    llr: Float[AnyArray, "*batch n"],
    *,
    iterations: Count = 20,
    update: str = "min_sum",
    schedule: str = "layered",
    scale: Numbers | None = None,
    offset: Numbers = 0.0,
    clip: Scalar | None = None,
    early_stop: bool = True,
    statistics: bool = False,
    implementation: str | None = None,
    jobs: int | None = None,
) -> Decoded:
    """Decodes words of a code.

    What a word becomes depends on it alone, not on its batch: to the bit in the compiled core, up to rounding in XLA.
    A check's message to a bit is scale * max(|m| - offset, 0) with the sign of m, where m is the smallest magnitude of
    its other edges with the product of their signs ("min_sum"), or the LLR of their sum modulo 2 ("sum_product").

    Args:
      code: of `qc_code`, `sparse_code`, `read_alist`, `subcode`. Static under `jax.jit`.
      llr: log P(0) / P(1) of each bit, as `rate_recover` gives them: 0 where nothing is known. float32, or float64
        where JAX has 64 bits (NumPy's is rounded to float32 else); half precision is computed in float32.
      iterations: at most, at least 1.
      update: "min_sum" or "sum_product".
      schedule: "layered", row after row of circulants (of a code with lifting 1: check after check), or "flooding", all
        at once. Layered needs about half the iterations; not with scale 1 and offset 0 at low signal-to-noise ratios.
      scale: None is 0.75 of min-sum (normalised), 1 of sum-product. Or numbers of at least 0: one, [iterations], or
        [iterations, rows] (of a code with lifting 1, of its checks); JAX differentiates with respect to them.
      offset: at least 0, in the same forms; 0.3 to 0.5 with scale 1 is offset min-sum.
      clip: the largest magnitude of a message that enters a check; None: none that a float32 would notice.
      early_stop: whether a word whose checks are all satisfied after an iteration is ready. JAX cannot differentiate
        it in reverse.
      statistics: whether reliability and unsatisfied are measured.
      implementation: None takes "compiled", the CPU's core, for concrete float32 on a CPU, else "xla". The first
        returns arrays of NumPy and differs from the second by rounding.
      jobs: threads of the compiled core, None: one a core.

    Returns:
      `Decoded`.

    Raises:
      ValueError: an argument is out of range or unknown, llr has another length than n or, concrete, holds NaN or
        infinite values (what is certain has an LLR of `LLR_MAX`).

    Example:
      >>> import numpy as np
      >>> from havel.kernels import ldpc
      >>> code = ldpc.qc_code(2, 6)
      >>> word = ldpc.encode(code, np.arange(60) % 2)
      >>> noise = np.random.default_rng(0).normal(size=code.n)
      >>> bool((ldpc.decode(code, np.float32(4 - 8.0 * word + 2 * noise)).bits == word).all())
      True
    """
    code = checked_code(code)
    rule = xla.Rule(
        scalars.whole("iterations", iterations, 1),
        _choice("update", update, UPDATES),
        _choice("schedule", schedule, SCHEDULES),
        bool(early_stop),
        bool(statistics),
    )
    if scale is None:
        scale = NORMALISATION if update == "min_sum" else 1.0
    for name, value in (("scale", scale), ("offset", offset)):
        _check_by_row(name, value, rule, code)
    largest = UNKNOWN if clip is None else scalars.real("clip", clip, "a number > 0, or None", scalars.positive)
    values = _checked_llr(code, llr)
    words = values.reshape(-1, code.n)
    if _is_compiled(implementation, values, scale, offset):
        factor, less = (np.ascontiguousarray(_by_row(np, one, rule, code), np.float32) for one in (scale, offset))
        words = np.ascontiguousarray(words)
        flat = lanes.decode(code, words, factor, less, min(largest, UNKNOWN), rule, checked_jobs(jobs))
    else:
        dtype = words.dtype if words.dtype == jnp.float64 else jnp.float32
        factor, less = (_by_row(jnp, one, rule, code).astype(dtype) for one in (scale, offset))
        words = jnp.asarray(words, dtype)
        flat = xla.decode(code, words, factor, less, jnp.asarray(min(largest, UNKNOWN), dtype), rule)
    posterior, satisfied, stopped, *trace = flat
    shape = values.shape[:-1]
    trace = [None if one is None else one.reshape(-1, *shape) for one in trace]
    return Decoded(posterior.reshape(*shape, code.n), satisfied.reshape(shape), stopped.reshape(shape), *trace)


def _choice(name: str, value, names: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in names:
        raise scalars.refusal(name, value, " or ".join(map(repr, names)))
    return value


def _checked_llr(code: Code, llr):
    """An array of JAX, or of NumPy in float32 where it is concrete."""
    concrete = not scalars.is_traced(llr)
    try:
        with np.errstate(over="ignore"):  # infinite then, and refused
            array = jnp.asarray(llr) if not concrete or isinstance(llr, jax.Array) else np.asarray(llr)
            if isinstance(array, np.ndarray) and jnp.issubdtype(array.dtype, jnp.floating):
                wide = jax.config.jax_enable_x64  # type: ignore[attr-defined]  # options are not in JAX's annotations
                array = array.astype(np.float64 if wide and array.dtype == np.float64 else np.float32, copy=False)
    except (TypeError, ValueError):
        array = np.zeros(0, object)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"llr has dtype {array.dtype}: expected floating-point numbers, log P(0) / P(1) of each bit; bits b are "
            "certain as (1 - 2 b) * LLR_MAX"
        )
    if array.ndim == 0 or array.shape[-1] != code.n:
        raise ValueError(
            f"llr has shape {array.shape}: expected [..., {code.n}], the bits of {code!r}, punctured ones with 0 "
            "included, as rate_recover returns them"
        )
    if concrete:
        finite = np.isfinite(np.asarray(array)).all(axis=-1).reshape(-1)
        if not finite.all():
            raise ValueError(
                f"llr holds NaN or infinite values in {np.sum(~finite)} of {finite.size} words, first in number "
                f"{np.argmin(finite)}: mend them; a bit that is certain has an LLR of ldpc.LLR_MAX"
            )
    return array


def _check_by_row(name: str, value, rule: xla.Rule, code: Code) -> None:
    """Numbers of at least 0, of a legal shape."""
    scalars.reals(name, value, "numbers >= 0", lambda numbers: np.isfinite(numbers) & (numbers >= 0))
    shape, full = np.shape(value), (rule.iterations, len(code.rows))
    if shape not in ((), full[:1], full, (1, full[1]), (full[0], 1)):
        raise ValueError(
            f"{name} has shape {shape}: expected one number, [iterations] = [{full[0]}], or [iterations, rows] = "
            f"{list(full)}"
        )


def _by_row(numpy, value, rule: xla.Rule, code: Code):
    """[iterations, rows], of NumPy or of JAX."""
    numbers = numpy.asarray(value)
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    return numpy.broadcast_to(numbers, (rule.iterations, len(code.rows)))


def _is_compiled(implementation: str | None, values, *factors) -> bool:
    if implementation not in (None, "compiled", "xla"):
        raise ValueError(f"implementation={implementation!r} is neither 'compiled' nor 'xla'")
    traced = scalars.is_traced(values) or any(map(scalars.is_traced, factors))
    if implementation == "compiled" and (traced or values.dtype == jnp.float64):
        what = "traced" if traced else "float64"
        raise ValueError(f"implementation='compiled' with {what} arguments: leave it to implementation=None")
    if traced or values.dtype == jnp.float64 or implementation == "xla":
        return False
    platform = next(iter(values.devices())).platform if isinstance(values, jax.Array) else jax.default_backend()
    return implementation == "compiled" or platform == "cpu"
