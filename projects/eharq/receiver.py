"""What the receiver makes of LLRs: features from the first part of a word, and whether the whole is the sent word.

On a CPU the decoder's compiled core takes the arrays as they lie in memory; elsewhere all stays on the devices.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kernels import ldpc
from projects.eharq.config import GenerateConfig, LinkConfig


class Outcome(NamedTuple):
    """What became of a batch of words.

    Attributes:
      wrong: int [blocks], how many bits are not the sent ones.
      satisfied: bool [blocks], all checks hold: with wrong bits, an error that no check tells.
      iterations: int [blocks], of the decoder.
    """

    wrong: np.ndarray
    satisfied: np.ndarray
    iterations: np.ndarray

    @property
    def failed(self) -> np.ndarray:
        """Bool [blocks]: the word is not the sent one."""
        return self.wrong > 0

    @property
    def undetected(self) -> np.ndarray:
        """Bool [blocks]: it is not, and all checks hold."""
        return self.failed & self.satisfied


def features(code: ldpc.Code, llr: Any, sent: int, settings: GenerateConfig) -> np.ndarray:
    """Returns float32 [blocks, features], see `blocks.feature_names`: of the first part of a transmission alone.

    Args:
      code: the subcode of its first `sent` bits.
      llr: [blocks, n] of the whole transmission; what comes after the first bits is not looked at.
      sent: bits of the first part.
      settings: of the decoder.
    """
    first = code.punctured * code.lifting
    part = _beginning(llr, first + sent, code.n)
    result = ldpc.decode(
        code, part, iterations=settings.feature_iterations, scale=settings.scale, early_stop=False, statistics=True
    )
    raw = np.asarray(_mean_size(part, first, first + sent))
    columns = (raw[None], np.asarray(result.reliability), np.asarray(result.unsatisfied))
    return np.concatenate(columns).T.astype(np.float32)


def outcome(
    code: ldpc.Code, llr: Any, words: Any, settings: LinkConfig, positions: Sequence[int] | None = None, **options: Any
) -> Outcome:
    """Returns what became of whole words.

    Args:
      code, llr, words: [blocks, n].
      settings: of the decoder.
      positions: bits that are compared; None: all.
      options: of `ldpc.decode`.
    """
    options = {"iterations": settings.iterations, "scale": settings.scale, "early_stop": True} | options
    result = ldpc.decode(code, llr, **options)
    wrong = _wrong_bits(result.posterior, words, None if positions is None else np.asarray(positions))
    return Outcome(np.asarray(wrong), np.asarray(result.satisfied), np.asarray(result.iterations))


def is_on_host(array: Any) -> bool:
    """Whether an array is in the memory of this process: on a CPU."""
    return isinstance(array, np.ndarray) or all(device.platform == "cpu" for device in array.devices())


def _beginning(llr: Any, end: int, n: int) -> Any:
    """The first n LLRs, those from `end` on as nothing was received."""
    if is_on_host(llr):
        part = np.array(np.asarray(llr)[:, :n])
        part[:, end:] = 0
        return part
    return llr[:, :n].at[:, end:].set(0)


def _mean_size(part: Any, first: int, end: int) -> Any:
    if is_on_host(part):
        return np.abs(part[:, first:end]).mean(1)
    return jnp.abs(part[:, first:end]).mean(1)


@jax.jit
def _count_wrong(posterior: jax.Array, words: jax.Array) -> jax.Array:
    return jnp.sum((posterior < 0) != (words != 0), axis=1, dtype=jnp.int32)


def _wrong_bits(posterior: Any, words: Any, positions: np.ndarray | None) -> Any:
    if not is_on_host(posterior):
        if positions is not None:
            posterior, words = posterior[:, positions], words[:, positions]
        return _count_wrong(posterior, words)
    posterior, words = np.asarray(posterior), np.asarray(words)
    if positions is not None:
        posterior, words = posterior[:, positions], words[:, positions]
    return np.count_nonzero((posterior < 0) != words.view(np.bool_), axis=1)
