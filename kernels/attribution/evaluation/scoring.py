"""What of a network's outputs is measured: the score of each sample, and the checks that all measures share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...array_types import AnyArray, Array, Count, Float, Key, RandomKey, Real
from .. import finite
from ..arguments import Parameters, PyTree, Same, Structure, check_not_empty, hashable, plain
from ..attributors import repeated
from ..attributors.repeated import Explainer
from ..chunks import check_batch_size, in_chunks
from ..engine import has_one_value, read
from ..target import Target, starting_relevance

SCORES = ("logit", "probability")
Score = str | Callable  # "logit", "probability", or a function of the outputs that gives what the target chooses from


@dataclasses.dataclass(frozen=True)
class Scorer:
    """`scorer(arrays, x, target) -> [batch]`, static under jit.

    Attributes:
        fn: `fn(params, x)` -> outputs `[batch, classes]`.
        structure: of params, whose arrays are an argument of each call.
        score: what is taken of the outputs.
        target: a function of these; None where it is an argument of each call.
        one_value: whether the outputs are `[batch]`.
    """

    fn: Callable
    structure: Structure
    score: Any
    target: Callable | None
    one_value: bool

    def __call__(self, arrays, x, target):
        """Returns the score of each sample, `[batch]`."""
        y = scaled(self.fn(self.structure.with_arrays(arrays), x), self.score)
        return repeated.score(y, self.target or target, self.one_value)


def scaled(y: Array, score: Any) -> Array:
    """Returns logits as they are, their probabilities, or what a function makes of them."""
    if score == "logit":
        return y
    if score == "probability":
        return jax.nn.softmax(y, axis=-1)
    return (score.value if isinstance(score, Same) else score)(y)


def prepare(
    fn: Callable, params: PyTree, x: PyTree, target: Target, score: Score, batch_size: Count | None = None
) -> tuple[Scorer, list, Any]:
    """Returns the scorer, the arrays of params, and the target as an array; None when it is a function.

    Args:
        fn, params, x, target, score: as for `pixel_flipping`.
        batch_size: samples in one pass of `fn`.

    Raises:
        ValueError: inputs or outputs that are not finite, a target that chooses nothing, an unknown score,
            probabilities of what are probabilities already.
    """
    if not callable(score) and score not in SCORES:
        raise ValueError(f"score={score!r}: expected one of {', '.join(SCORES)}, or a function of the outputs")
    parameters = Parameters.of(params)
    explainer = Explainer(plain(fn), parameters.structure, None, (), None, False)
    if batch_size is None or check_batch_size(batch_size, x) <= batch_size:
        y = repeated.forward(explainer, parameters.arrays, x)
    else:
        y, _ = in_chunks(
            lambda part, _: (repeated.forward(explainer, parameters.arrays, part), ()), x, None, batch_size
        )
    finite.check_outputs(parameters, y)
    one_value = y.ndim == 1 and has_one_value(read(fn, params, x))
    if score == "probability":
        _check_logits(y, one_value)
    y = scaled(y, score)
    start = starting_relevance(y, target, one_value)  # refuses what does not fit before the work begins
    if target is not None and not callable(target) and not isinstance(target, str):
        if not jnp.issubdtype(jnp.result_type(target), jnp.integer):
            raise ValueError(
                "target is an array of floats, which scores every input alike: give classes, or a function of the "
                "outputs that weights them"
            )
    scorer = Scorer(plain(fn), parameters.structure, hashable(score), target if callable(target) else None, one_value)
    if isinstance(target, str):
        target = jnp.zeros(y.shape, int) if one_value or y.ndim == 0 else jnp.argmax(y, axis=-1)
    if start.ndim == 0 or start.shape[0] != jnp.shape(x)[0]:
        raise ValueError(f"fn gives an output of shape {start.shape} for {jnp.shape(x)[0]} samples: expected one each")
    return scorer, parameters.arrays, None if target is None or callable(target) else jnp.asarray(target)


def _check_logits(y, one_value: bool) -> None:
    if one_value or y.ndim < 2:
        raise ValueError(
            f"score='probability' is of several outputs a sample; the output has shape {y.shape}. Take score='logit', "
            "or a function such as jax.nn.sigmoid"
        )
    if isinstance(y, jax.core.Tracer):
        return
    values = np.asarray(y, np.float64)
    if (values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-4):
        raise ValueError(
            "score='probability' takes the softmax of the outputs, and these are probabilities already: "
            "score='logit' takes them as they are"
        )


def check_counts(least: int = 1, **counts: Count) -> None:
    """Raises ValueError for a number that is no integer of at least `least`, by its name."""
    from ...scalars import whole

    for name, value in counts.items():
        whole(name, value, least)


def check_one_of(name: str, value: Any, names: tuple[str, ...]) -> None:
    """Raises ValueError for an option that there is not."""
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(names)}")


def as_maps(name: str, maps: Any) -> Float[Array, " batch *shape"]:
    """Returns maps `[batch, ...]` as floating-point numbers.

    Raises:
        ValueError: no axis of samples or nothing on it, no numbers, NaN or infinite ones where they can be seen.
    """
    if not isinstance(maps, (jax.Array, np.ndarray)):
        hint = ": attribute returns (outputs, relevance), take [1]" if isinstance(maps, tuple) else ""
        raise ValueError(f"{name} is {type(maps).__name__}; expected an array [batch, ...]{hint}")
    check_not_empty(name, maps)
    if maps.ndim < 2:
        raise ValueError(f"{name} has shape {maps.shape}: expected [batch, ...] with the map of each sample")
    if not jnp.issubdtype(maps.dtype, jnp.floating):
        raise ValueError(f"{name} is {maps.dtype}: expected floating-point numbers")
    if not isinstance(maps, jax.core.Tracer):
        broken = ~np.isfinite(np.asarray(maps, np.float64)).reshape(len(maps), -1).all(-1)
        if broken.any():
            raise ValueError(
                f"{name} of sample {int(np.argmax(broken))} has NaN or infinite values: there is nothing to rank or "
                "compare. See the explanation that it comes from."
            )
    return jnp.asarray(maps)


def as_samples(x: Any) -> Float[Array, " batch *shape"]:
    """Returns inputs `[batch, ...]` as an array of JAX.

    Raises:
        ValueError: a pytree, no axis of samples or nothing on it, no floating-point numbers, NaN or infinite ones.
    """
    if not isinstance(x, (jax.Array, np.ndarray)):
        raise ValueError(f"x is {type(x).__name__}: expected one array [batch, ...], which is what is perturbed")
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}: expected [batch, ...]; a single sample is x[None]")
    repeated.check_inputs(x)
    return jnp.asarray(x)


def like_inputs(relevance: Any, x: Real[AnyArray, " batch *shape"]) -> Float[Array, " batch *shape"]:
    """Returns relevance in the shape of `x`, along whose axes of length 1 it is spread.

    Raises:
        ValueError: as `as_maps`; a shape that does not fit.
    """
    maps = as_maps("relevance", relevance)
    same = maps.ndim == x.ndim and maps.shape[0] == x.shape[0]
    if not same or any(one not in (1, side) for one, side in zip(maps.shape, x.shape, strict=True)):
        raise ValueError(
            f"relevance has shape {maps.shape} and x {x.shape}: expected the same, or 1 along an axis of channels"
        )
    return jnp.broadcast_to(maps, x.shape)


def sample_keys(key: RandomKey | Key[Array, " batch"] | None, batch: int, why: str) -> Key[Array, " batch"]:
    """Returns a key for each sample: the number of each in the batch is folded into one for all.

    Raises:
        ValueError: no key, or none of one of these forms; `why` says what it is for.
    """
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == (batch,):
        return key
    one = one_key(key, why)
    return jax.vmap(lambda number: jax.random.fold_in(one, number))(jnp.arange(batch))


def one_key(key: RandomKey | None, why: str) -> Key[Array, ""]:
    """Returns a key of `jax.random.key`, also from raw words; `why` says what it is for.

    Raises:
        ValueError: no key, or several.
    """
    dtype = getattr(key, "dtype", None)
    if key is None:
        raise ValueError(f"key=None: {why}; give a key, jax.random.key(seed)")
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
        return key
    if dtype == jnp.uint32 and jnp.shape(key) == jax.random.key_data(jax.random.key(0)).shape:
        return jax.random.wrap_key_data(jnp.asarray(key))
    what = f"of shape {jnp.shape(key)} and dtype {dtype}" if dtype is not None else repr(key)
    raise ValueError(f"key is {what}: expected jax.random.key(seed), or one a sample where samples may have theirs.")
