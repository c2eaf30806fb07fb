"""What of an input the answers that flipped hang on, and what such numbers cannot tell."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gradatim.errors import InvalidInput
from gradatim.evidence.codec import decode
from gradatim.files import read_json

EXPLANATION_FILE = "explanation.json"
"""Where `gradatim explain` leaves it, in the workspace."""

CANNOT_TELL = (
    "How much a score moves when a part is taken out, one part at a time. It does not tell why the model learned that, nor what "
    "the world is like: parts that say the same hide one another, parts that work only together look idle, and an input "
    "with a part taken out may be like none that the model has seen. A few rows are no proof: slices and gates are."
)


@dataclass(frozen=True)
class InputPart:
    """A part of an input: a column, a patch of a picture, a word.

    Attributes:
        name: ``x[3]``, ``image rows 2-3, columns 4-5``, ``the word "not"``.
        candidate, baseline: what each model's score of its own answer loses without the part.
    """

    name: str
    candidate: float
    baseline: float


@dataclass(frozen=True)
class Flip:
    """A row that candidate and baseline answer differently.

    Attributes:
        row: its position in the evaluation data, from 0.
        label: the true one; empty where the data have none.
        before, after: the baseline's answer and the candidate's.
        parts: those that matter most to either, first.
    """

    row: int
    label: str
    before: str
    after: str
    parts: tuple[InputPart, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """What was explained, by which two models.

    Attributes:
        candidate, baseline: hex digests of their manifests.
        flips: rows, those that the candidate lost first.
        of: how many rows flipped in all, of ``rows`` that were looked at.
    """

    candidate: str
    baseline: str
    flips: tuple[Flip, ...]
    of: int
    rows: int


def read_explanation(path: Path, digests: Collection[str]) -> Explanation | None:
    """What was explained of one of these models; None where nothing was, or it was of another candidate."""
    try:
        found = decode(Explanation, read_json(path), path.name)
    except (OSError, InvalidInput):
        return None
    return found if found.candidate in digests else None
