"""Is the answer, or a part of it, what was asked for?"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact(answer: str, references: Sequence[str]) -> bool:
    """Whether it is one of the references; spaces around it do not count."""
    return answer.strip() in {reference.strip() for reference in references}


def normalised(answer: str, references: Sequence[str]) -> bool:
    """The same without case, punctuation, articles and double spaces.

    Source: Rajpurkar et al. (2016), SQuAD, the evaluation script; Unicode is put into its form NFKC first.
    """
    return _plain(answer) in {_plain(reference) for reference in references}


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def extracted(answer: str, references: Sequence[str], *, regex: str, take: str = "first") -> bool:
    """Whether the part that the pattern finds (its first group, else all of it) is a reference.

    Of a reference in which the pattern is found that part counts, as of the answer. Numbers are compared as such: 1,000.0
    is 1000.
    """
    found = _found(answer, regex, take)
    if found is None:
        return False
    wanted = (_found(reference, regex, take) or reference for reference in references)
    return any(_same(found, one) for one in wanted)


def _found(text: str, regex: str, take: str) -> str | None:
    matches = list(re.finditer(regex, text))
    if not matches:
        return None
    match = matches[-1 if take == "last" else 0]
    return match[1] if match.re.groups else match[0]


def _same(one: str, other: str) -> bool:
    if one.strip() == other.strip():
        return True
    try:
        return float(one.replace(",", "")) == float(other.replace(",", ""))
    except ValueError:
        return False


def contains(answer: str, references: Sequence[str], *, words: Sequence[str] = ()) -> bool:
    """Whether one of the words, else of the references, stands in it, whatever the case."""
    text = answer.casefold()
    return any(word.casefold() in text for word in words or references)


def not_contains(answer: str, references: Sequence[str], *, words: Sequence[str] = ()) -> bool:
    """Whether none of them does."""
    return not contains(answer, references, words=words)
