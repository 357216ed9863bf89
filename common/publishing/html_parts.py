"""Parts of a report that a verb writes as HTML itself, such as coloured text or a sound: rebuilt from what is allowed.

No scripts, no links, nothing that would be loaded: pictures and sounds are data URIs. A part that has anything else, or
whose tags do not nest, is refused whole, so that a run directory from elsewhere can be shown.
"""

import html.parser
import re

VOID = ("br", "img")
TAGS = frozenset(
    "div span p b i em strong small code pre table thead tbody tr th td ul ol li figure figcaption details summary h4 "
    "br img audio".split()
)
ATTRIBUTES = frozenset("class style title alt lang colspan rowspan width height controls preload open src".split())
SOURCES = re.compile(r"data:(image/png|image/svg\+xml|audio/wav);base64,[A-Za-z0-9+/=]*")
LOADING = re.compile(r"url|expression|import|\\|@", re.IGNORECASE)  # what a style could fetch or hide


def rebuilt(text: str) -> str:
    """Returns HTML of the same content as `text`, made anew of allowed tags and attributes.

    Raises:
      ValueError: it has another tag, attribute or source, a comment, or tags that do not nest; the message says which.
    """
    parser = _Parser()
    parser.feed(text)
    parser.close()
    if parser.stack:
        raise ValueError(f"<{parser.stack[-1]}> is not closed")
    return "".join(parser.pieces)


class _Parser(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            raise ValueError(f"the tag <{tag}> is not allowed; there are {', '.join(sorted(TAGS))}")
        self.pieces.append(f"<{tag}{''.join(_attribute(name, value) for name, value in attrs)}>")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack[-1] != tag:
            raise ValueError(f"</{tag}> closes nothing that is open")
        self.pieces.append(f"</{self.stack.pop()}>")

    def handle_data(self, data: str) -> None:
        self.pieces.append(html.escape(data, quote=False))

    def handle_comment(self, data: str) -> None:
        raise ValueError("comments and declarations are not allowed")

    def handle_decl(self, decl: str) -> None:
        self.handle_comment(decl)

    def handle_pi(self, data: str) -> None:
        self.handle_comment(data)

    def unknown_decl(self, data: str) -> None:
        self.handle_comment(data)


def _attribute(name: str, value: str | None) -> str:
    if name not in ATTRIBUTES:
        raise ValueError(f"the attribute {name} is not allowed; there are {', '.join(sorted(ATTRIBUTES))}")
    if name == "src" and not SOURCES.fullmatch(value or ""):
        raise ValueError(f"the source {(value or '')[:40]!r} is not allowed; expected a PNG, SVG or WAV as a data URI")
    if name == "style" and LOADING.search(value or ""):
        raise ValueError(f"the style {(value or '')[:80]!r} is not allowed: it could load something")
    return f" {name}" if value is None else f' {name}="{html.escape(value)}"'
