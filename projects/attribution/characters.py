"""The character transformer on the language of `agreement`: its training, its accuracy, and what its verbs hang on."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common import models
from common.runs.run_directory import Run
from common.study import statistics
from common.training import optimizers, step, supervised
from kernels import attribution
from kernels.attribution import composites
from projects.attribution import agreement
from projects.attribution.agreement import Sentence

METHODS = ("gradient_times_input", "attnlrp", "cp_lrp", "random")
EPSILON = 1e-6  # of the composites by default
BATCH = 50  # sentences at a time in an explanation


class Functions(NamedTuple):
    """What a transformer computes, pure functions `(params, x)` of weights as a tree.

    Attributes:
      whole: characters `[batch, time]` to logits `[batch, time, vocabulary]`.
      embed, decode: its two halves, with embedded characters `[batch, time, features]` between them.
    """

    whole: Callable
    embed: Callable
    decode: Callable


def functions(module: models.CharacterTransformer) -> Functions:
    """Returns the functions of a module, whose weights do not matter."""
    return Functions(*(models.apply_function(module, name) for name in ("__call__", "embed", "decode")))


def create(seed: int, width: float = 1.0, blocks: int = 2) -> models.CharacterTransformer:
    """Returns an untrained transformer for the characters of the language."""
    return models.CharacterTransformer(
        len(agreement.CHARACTERS), agreement.LONGEST, rngs=nnx.Rngs(seed), width=width, blocks=blocks
    )


def train(
    module: models.CharacterTransformer,
    run: Run,
    sentences: Sequence[Sentence],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> dict:
    """Returns the weights after training on the next character, ends behind a sentence included.

    Checkpoints and metrics go to the run, which resumes.
    """
    text = agreement.encoded([sentence.text for sentence in sentences])
    steps = epochs * (len(text) // batch_size)
    optimizer = optimizers.make_optimizer("adamw", steps=steps, learning_rate=learning_rate, weight_decay=0.01)
    merge, state = step.initial_state(module, optimizer, seed)
    state = supervised.train(
        run,
        step.make_step(merge, optimizer, lambda key, characters: characters),
        state,
        {"images": text[:, :-1], "labels": text[:, 1:]},
        supervised.Plan(epochs=epochs, batch_size=batch_size, seed=seed, description="characters"),
    )
    return models.to_tree(merge(state.parameters, state.statistics))


def right_endings(network: Functions, params: Mapping, sentences: Sequence[Sentence]) -> np.ndarray:
    """Returns bool `[sentences]`: whether the right ending of the verb is likelier than the other one."""
    difference = np.concatenate([
        np.asarray(_difference(network.whole, params, *_inputs(part))) for part in _batches(sentences)
    ])[: len(sentences)]  # fmt: skip
    return (difference > 0) == np.array([sentence.is_singular for sentence in sentences])


def explain(
    method: str,
    network: Functions,
    params: Mapping,
    sentences: Sequence[Sentence],
    seed: int = 0,
    epsilon: float = EPSILON,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns logit(singular) - logit(plural) at the verb `[sentences]`, and the relevance of all characters for it
    `[sentences, LONGEST]`.

    Relevance starts from both logits, the plural's with the other sign, so that its sum is to be their difference.

    Args:
      method: "attnlrp", "cp_lrp"; "gradient_times_input", of the embedded characters with their positions; "random",
        normal numbers.
      seed: of "random".
      epsilon: stabiliser of all denominators, of "attnlrp" and "cp_lrp".

    Raises:
      ValueError: an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    contrasts, maps = [], []
    for part in _batches(sentences):
        characters, places = _inputs(part)
        if method == "gradient_times_input":
            difference, relevance = _gradient_times_input(network.embed, network.decode, params, characters, places)
        elif method == "random":
            difference = _difference(network.whole, params, characters, places)
            random = np.random.default_rng([seed, len(maps)])
            before = np.arange(agreement.LONGEST) <= places[:, None]
            relevance = np.where(before, random.normal(size=characters.shape), 0.0).astype(np.float32)
        else:
            difference, relevance = _relevance(network.whole, method, epsilon, params, characters, places)
        contrasts.append(np.asarray(difference))
        maps.append(np.asarray(relevance))
    return tuple(np.concatenate(arrays)[: len(sentences)] for arrays in (contrasts, maps))


def subject_shares(relevance: np.ndarray, sentences: Sequence[Sentence], net: bool = False) -> np.ndarray:
    """Returns by sentence what share the subject has of the relevance on subject and other nouns.

    float64 `[sentences]`; 1 is the truth, for sentences that have other nouns. NaN where neither has any.

    Args:
      relevance: of their characters, `[sentences, places]`.
      sentences: of them.
      net: relevance is added up over each noun before its absolute value is taken, so that what speaks for and against
        within a noun cancels; else absolute values of the characters are added up.
    """
    shares = []
    for row, sentence in zip(relevance.astype(np.float64), sentences, strict=True):
        parts = [row[place] for place in (sentence.subject, *sentence.between)]
        subject, *others = (abs(part.sum()) if net else np.abs(part).sum() for part in parts)
        whole = subject + sum(others)
        shares.append(subject / whole if whole > 0 else np.nan)
    return np.array(shares)


def summary(shares: np.ndarray) -> dict:
    """Returns the mean share with its 95 % interval, and how many sentences have none."""
    finite = shares[np.isfinite(shares)]
    if not len(finite):
        return {"mean": None, "low": None, "high": None, "without": len(shares)}
    whole = statistics.over_seeds(finite)
    return {"mean": whole.mean, "low": whole.low, "high": whole.high, "without": len(shares) - len(finite)}


def _batches(sentences: Sequence[Sentence]) -> Iterator[list[Sentence]]:
    """Yields BATCH sentences at a time, the last ones filled up with the first: one compiled program serves all."""
    size = min(BATCH, len(sentences))
    for start in range(0, len(sentences), size):
        part = list(sentences[start : start + size])
        yield part + list(sentences[: size - len(part)])


def _inputs(sentences: Sequence[Sentence]) -> tuple[np.ndarray, np.ndarray]:
    """Returns characters `[batch, LONGEST]` and the places at which the verb's ending is predicted `[batch]`."""
    characters = agreement.encoded([sentence.text for sentence in sentences])[:, :-1]
    return characters, np.array([sentence.stem_end for sentence in sentences], np.int32)


def _contrast(places: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns 1 at the singular's ending, -1 at the plural's, where it is predicted; 0 elsewhere."""
    signs = np.zeros(shape[-1], np.float32)
    signs[agreement.CHARACTERS.index(agreement.SINGULAR)] = 1
    signs[agreement.CHARACTERS.index(agreement.PLURAL)] = -1
    return (jnp.arange(shape[1]) == places[:, None])[..., None] * signs


@functools.partial(jax.jit, static_argnums=0)
def _difference(fn, params, characters, places):
    logits = fn(params, characters)
    return jnp.sum(logits * _contrast(places, logits.shape), (1, 2))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _relevance(fn, method, epsilon, params, characters, places):
    logits = fn(params, characters)
    start = logits * _contrast(places, logits.shape)
    rules = composites.BY_NAME[method](epsilon, epsilon)
    return start.sum((1, 2)), attribution.attribute(fn, params, characters, target=start, rules=rules)[1]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _gradient_times_input(embed, decode, params, characters, places):
    shape = (*characters.shape, len(agreement.CHARACTERS))
    contrast = _contrast(places, shape)
    logits, product = attribution.gradient(decode, params, embed(params, characters), target=contrast, times_input=True)
    return jnp.sum(logits * contrast, (1, 2)), product.sum(-1)
