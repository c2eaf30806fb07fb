"""Corrupted text: one string in, one string out, by the item's own generator."""

from __future__ import annotations

import re
from itertools import accumulate

import numpy as np

from gradatim.perturb.catalogue import TEXT, TYPO_KINDS
from gradatim.perturb.single import in_a_file

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LOOKALIKES = dict(zip("aceopxyijsABCEHIKMOPTXY", "асеорхуіјѕАВСЕНІКМОРТХУ", strict=True))  # noqa: RUF001
_INVISIBLE = ("\u200b", "\u200c", "\u200d", "\u2060")


def corrupt_text(text: str, name: str, severity: int, generator: np.random.Generator) -> str:
    """Apply one corruption of the catalogue to one text."""
    level = TEXT[name][severity - 1]
    if (alone := in_a_file(name)) is not None:
        return str(alone(text, level, generator))
    if name == "typos":
        return _typos(text, level, generator)
    if name == "word_drop":
        return _without_words(text, level, generator)
    if name == "case_change":
        parts = re.split(r"(\s+)", text)
        hits = generator.random(len(parts)) < level
        return "".join(part.swapcase() if hit else part for part, hit in zip(parts, hits, strict=True))
    hits = generator.random(len(text)) < level
    if name == "homoglyphs":
        return "".join(
            _LOOKALIKES.get(char, char) if hit else char for char, hit in zip(text, hits, strict=True)
        )
    which = generator.integers(len(_INVISIBLE), size=len(text))
    return "".join(
        char + _INVISIBLE[choice] if hit else char
        for char, hit, choice in zip(text, hits, which, strict=True)
    )


def _typos(text: str, level: float, generator: np.random.Generator) -> str:
    hits = generator.random(len(text)) < level
    kinds = np.searchsorted(list(accumulate(TYPO_KINDS.values())), generator.random(len(text)))
    letters = generator.integers(len(_LETTERS), size=len(text))
    names = list(TYPO_KINDS)
    written: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        letter = _LETTERS[letters[position]]
        letter = letter.upper() if char.isupper() else letter
        kind = names[min(int(kinds[position]), len(names) - 1)] if hits[position] else None
        if kind == "transpose" and position + 1 < len(text):
            written += [text[position + 1], char]
            position += 1
        elif kind == "insert":
            written += [char, letter]
        elif kind == "replace":
            written.append(letter)
        elif kind != "delete":
            written.append(char)
        position += 1
    return "".join(written)


def _without_words(text: str, level: float, generator: np.random.Generator) -> str:
    """Drop words, the white space before them too; one word always stays."""
    words = re.findall(r"\s*\S+", text)
    kept = generator.random(len(words)) >= level
    if words and not kept.any():
        kept[int(generator.integers(len(words)))] = True
    tail = text[len("".join(words)) :]
    return "".join(word for word, keep in zip(words, kept, strict=True) if keep) + tail
