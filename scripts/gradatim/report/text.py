"""Names that come from elsewhere, made fit to print: one line, of bounded length, no control characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from gradatim.errors import printable

_SPACES = re.compile(r"\s+")


def one_line(text: str, limit: int = 300) -> str:
    """The text on one line, of at most ``limit`` characters."""
    line = _SPACES.sub(" ", printable(text)).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def width_of(text: str, size: float = 12.0) -> float:
    """About how wide a text is in a sans-serif font of ``size`` pixels."""
    return size * sum(_advance(letter) for letter in text)


def fitting(text: str, width: float, size: float = 12.0) -> str:
    """The text on one line, cut with an ellipsis so that it is about ``width`` pixels wide at most."""
    line = one_line(text)
    if width_of(line, size) <= width:
        return line
    kept = ""
    for letter in line:
        if width_of(kept + letter + "…", size) > width:
            break
        kept += letter
    return kept.rstrip() + "…"


def _advance(letter: str) -> float:
    if letter in "iljtfrI.,:;|![]()'` \u00a0\u202f":
        return 0.31
    if letter in "mwMW@%—…":
        return 0.88
    if letter.isupper():
        return 0.69
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    return 0.56


def table(head: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> str:
    """A table in GitHub's markdown; ``alignment`` has one of ``l``, ``r``, ``c`` a column."""
    marks = {"l": ":--", "r": "--:", "c": ":-:"}
    lines = [head, [marks[letter] for letter in alignment], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
