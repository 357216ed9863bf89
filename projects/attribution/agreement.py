"""A language in which the number of the verb hangs on the first noun, and on nothing else: what explains it is known.

    the old dogs by the tree of the king run.
    the king with the red birds sleeps.

A sentence is a noun phrase, up to two more of them behind prepositions, a verb and a full stop. A phrase is "the", in
half of the cases an adjective, and a noun, singular or plural alike often. The plural of a noun is the noun and an s;
the verb has an s if the first noun, the subject, has none. Other nouns between subject and verb are attractors where
their number is the other one. Everything is drawn uniformly and independently from the seed.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

NOUNS = ("bird", "boy", "cat", "cow", "dog", "girl", "hen", "king", "lion", "tree")
VERBS = ("fall", "jump", "rest", "run", "sing", "sleep", "wait", "work")
ADJECTIVES = ("big", "old", "red", "shy")
PREPOSITIONS = ("by", "near", "of", "with")
SINGULAR, PLURAL = "s", "."  # what follows the stem of the verb
END = "\n"  # behind the full stop, and to the end of an array
CHARACTERS = END + "".join(sorted({*" .s", *"".join(("the", *NOUNS, *VERBS, *ADJECTIVES, *PREPOSITIONS))}))
OTHERS = ("any", "opposite", "same")
MOST_BETWEEN = 2  # nouns between subject and verb
LONGEST = (
    (MOST_BETWEEN + 1) * len("the  s ") + MOST_BETWEEN * (max(map(len, PREPOSITIONS)) + 1)
    + (MOST_BETWEEN + 1) * (max(map(len, NOUNS)) + max(map(len, ADJECTIVES))) + max(map(len, VERBS)) + len("s.")
)  # fmt: skip


class Sentence(NamedTuple):
    """A sentence and what is known of it.

    Attributes:
      text: with its full stop.
      subject, between: places of the noun that decides and of the other nouns in the text. A place ends behind the
        space that follows the noun: that it comes, and no s, is what tells a singular.
      is_singular: the number of subject and verb.
      stem_end: place of the last character of the verb's stem; what follows tells the number.
    """

    text: str
    subject: slice
    between: tuple[slice, ...]
    is_singular: bool
    stem_end: int


def sentences(
    count: int,
    seed: int | Sequence[int],
    *,
    between: int | None = None,
    others: str = "any",
    without: Collection[str] = (),
) -> list[Sentence]:
    """Returns different sentences in the order in which they are drawn.

    Args:
      count: of them.
      seed: of the draws, one number or several.
      between: nouns between subject and verb, 0 to 2; None: each number alike often.
      others: number of these nouns: "any"; "opposite", all are attractors; "same" as the subject's, none is.
      without: texts that are passed over, such as those of a training.

    Raises:
      ValueError: `between` is out of range, `others` is unknown, or there are not so many sentences.
    """
    if others not in OTHERS:
        raise ValueError(f"others is {others!r}: expected one of {', '.join(OTHERS)}")
    if between is not None and not 0 <= between <= MOST_BETWEEN:
        raise ValueError(f"between is {between}: expected 0 to {MOST_BETWEEN} nouns")
    random, seen, result = np.random.default_rng(seed), set(without), list[Sentence]()
    draws = 20 * count + 1000
    for _ in range(draws):
        if len(result) == count:
            break
        sentence = _draw(random, between, others)
        if sentence.text not in seen:
            seen.add(sentence.text)
            result.append(sentence)
    if len(result) < count:
        raise ValueError(f"count is {count}: after {draws} draws there are {len(result)} new sentences")
    return result


def _draw(random: np.random.Generator, between: int | None, others: str) -> Sentence:
    def one(words: Sequence[str]) -> str:
        return words[random.integers(len(words))]

    is_singular = bool(random.integers(2))
    count = int(random.integers(MOST_BETWEEN + 1)) if between is None else between
    text, nouns = "", list[slice]()
    for number in range(count + 1):
        is_drawn = number > 0 and others == "any"
        has_s = bool(random.integers(2)) if is_drawn else is_singular == (number > 0 and others == "opposite")
        text += f"{one(PREPOSITIONS)} the " if number else "the "
        text += f"{one(ADJECTIVES)} " if random.integers(2) else ""
        start = len(text)
        text += one(NOUNS) + ("s " if has_s else " ")
        nouns.append(slice(start, len(text)))
    text += one(VERBS)
    stem_end = len(text) - 1
    return Sentence(text + ("s." if is_singular else "."), nouns[0], tuple(nouns[1:]), is_singular, stem_end)


def encoded(texts: Sequence[str]) -> np.ndarray:
    """Returns numbers of characters, int32 `[texts, LONGEST + 1]`, with ends behind each text.

    Raises:
      ValueError: a character that the language does not have, or a text that is too long.
    """
    numbers = {character: number for number, character in enumerate(CHARACTERS)}
    result = np.full((len(texts), LONGEST + 1), numbers[END], np.int32)
    for row, text in enumerate(texts):
        strange = sorted(set(text) - set(CHARACTERS))
        if strange or len(text) > LONGEST:
            what = f"{len(text)} characters" if not strange else f"the character {strange[0]!r}"
            raise ValueError(f"{text!r:.80} has {what}: expected {LONGEST} at most, of {CHARACTERS.strip()!r}")
        result[row, : len(text)] = [numbers[character] for character in text]
    return result
