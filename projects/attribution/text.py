"""Relevance as coloured text: characters or tokens on the colours of a map, as HTML for the report of a run."""

from collections.abc import Mapping, Sequence

import numpy as np

from common.publishing.report_parts import escape
from kernels import attribution
from projects.attribution.agreement import Sentence

CELL = "white-space:pre;padding:.12em 0;font-family:monospace;font-size:1.02rem"
TABLE_CELL = "white-space:nowrap"


def colours(relevance: np.ndarray, cmap: str = "bwr", level: float = 1.0) -> np.ndarray:
    """Returns uint8 `[pieces, 3]` for relevance `[pieces]`: zero is the centre of the map, the largest its end."""
    return attribution.imgify(np.asarray(relevance)[None], cmap=cmap, level=level, symmetric=True)[0]


def ink(ground: np.ndarray) -> str:
    """Returns black or white, whichever has more contrast on a ground of uint8 `[3]` by the formula of WCAG 2."""
    share = np.asarray(ground, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "#000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#fff"


def coloured(pieces: Sequence[str], relevance: np.ndarray, cmap: str = "bwr", level: float = 1.0) -> str:
    """Returns HTML of a text in pieces, each on the colour of its relevance, which shows when one points at it.

    Args:
      pieces: characters or tokens, any text.
      relevance: `[pieces]`.
      cmap, level: as for `kernels.attribution.palette`.

    Raises:
      ValueError: not one number a piece, or none at all.
    """
    if np.shape(relevance) != (len(pieces),) or not len(pieces):
        raise ValueError(
            f"relevance of shape {np.shape(relevance)}: expected one number for each of {len(pieces)} pieces"
        )
    spans = []
    for piece, value, ground in zip(pieces, relevance, colours(relevance, cmap, level), strict=True):
        red, green, blue = (int(channel) for channel in ground)
        style = f"background:#{red:02x}{green:02x}{blue:02x};color:{ink(ground)}"
        spans.append(f'<span style="{style}" title="{value:+.3g}">{escape(piece)}</span>')
    return f'<span style="{CELL}">{"".join(spans)}</span>'


def legend(cmap: str = "bwr", level: float = 1.0, low: str = "speaks against", high: str = "speaks for") -> str:
    """Returns HTML of a bar of the map's colours between two words."""
    steps = colours(np.linspace(-1, 1, 33), cmap, level)
    bar = "".join(
        f'<span style="background:#{red:02x}{green:02x}{blue:02x};white-space:pre"> </span>'
        for red, green, blue in steps
    )
    return f'<p><small>{escape(low)} <span style="font-family:monospace">{bar}</span> {escape(high)}</small></p>'


def table(
    sentences: Sequence[Sentence],
    relevance: np.ndarray,
    difference: np.ndarray,
    cmap: str = "bwr",
    level: float = 1.0,
) -> str:
    """Returns HTML with a row for each sentence: its text up to the verb's stem in colours, and the verb with the
    ending that is predicted and with the true one.

    Args:
      sentences: of them.
      relevance: of their characters, `[sentences, places]`; places behind the stem are not shown.
      difference: logit(singular) - logit(plural), `[sentences]`.
      cmap, level: as for `kernels.attribution.palette`.
    """
    rows = []
    for sentence, values, contrast in zip(sentences, relevance, difference, strict=True):
        end = sentence.stem_end + 1
        stem = sentence.text[:end].rpartition(" ")[2]
        predicted, true = (_word(stem, is_singular) for is_singular in (contrast > 0, sentence.is_singular))
        mark = "trusted" if predicted == true else "unusable"
        cells = [
            coloured(sentence.text[:end], values[:end], cmap, level),
            f'<span class="{mark}">{escape(predicted)}</span>',
            escape(true),
            f"{contrast:+.1f}".replace("-", "\N{MINUS SIGN}"),
        ]
        rows.append("<tr>" + "".join(f'<td style="{TABLE_CELL}">{cell}</td>' for cell in cells) + "</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in ("text", "predicted", "true", "difference"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def page(by_method: Mapping[str, str], cmap: str = "bwr", level: float = 1.0) -> str:
    """Returns the tables of several methods under their names, below a legend."""
    parts = [legend(cmap, level, "speaks for the plural", "speaks for the singular")]
    return "".join([*parts, *(f"<h4>{escape(name)}</h4>{body}" for name, body in by_method.items())])


def _word(stem: str, is_singular: bool) -> str:
    return stem + ("s" if is_singular else "")
