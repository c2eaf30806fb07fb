"""Speech recognition: how much of what was said was misheard."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.errors import InvalidInput, needs


def words(answer: str, references: Sequence[str]) -> tuple[float, float]:
    """Edits of words between the answer and the nearest reference, and that reference's words.

    Raises:
        InvalidInput: every reference is empty.
    """
    return _nearest(answer, references, "process_words")


def letters(answer: str, references: Sequence[str]) -> tuple[float, float]:
    """The same by letters."""
    return _nearest(answer, references, "process_characters")


def _nearest(answer: str, references: Sequence[str], by: str) -> tuple[float, float]:
    with needs("jiwer", "text", "The scorers `wer` and `cer`"):
        import jiwer
    pairs = []
    for reference in references:
        if reference.strip():
            found = getattr(jiwer, by)(reference, answer)
            edits = found.substitutions + found.deletions + found.insertions
            pairs.append((float(edits), float(found.hits + found.substitutions + found.deletions)))
    if not pairs:
        raise InvalidInput(
            "A reference of `wer` or `cer` is empty: there is nothing to mishear. Take the row out."
        )
    return min(pairs, key=lambda pair: pair[0] / pair[1])
