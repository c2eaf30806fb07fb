"""What of an input the answers that flipped hang on, and what such numbers cannot tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from gradatim.errors import InvalidInput
from gradatim.evidence.codec import decode
from gradatim.files import read_json
from gradatim.measurement import Measurement

EXPLANATION_FILE = "explanation.json"
"""Where `gradatim explain` leaves it, in the workspace."""

CANNOT_TELL = (
    "What each part adds to the score of the answer that a model gives, on average over orders in which the parts of the row are put in place of "
    "those of other rows (of a mean picture, of no words). It does not tell why the model learned that, nor what the world is "
    "like: parts that say the same share what they add, and a mixture of rows may be like none that the model has seen. Some orders "
    "were drawn of very many. A few rows are no proof: slices and gates are."
)


@dataclass(frozen=True)
class InputPart:
    """A part of an input: a column, a patch of a picture, a word.

    Attributes:
        name: ``x[3]``, ``image rows 2-3, columns 4-5``, ``the word "not"``.
        candidate, baseline: what the part adds to each model's score of its own answer.
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

    @property
    def told(self) -> str:
        """What each part adds to the candidate's score, the baseline's in brackets."""
        return "; ".join(f"{p.name} {p.candidate:+.3g} ({p.baseline:+.3g})" for p in self.parts)


@dataclass(frozen=True)
class Explanation:
    """What was explained, by which two models.

    Attributes:
        candidate, baseline: hex digests of their manifests.
        by: what found it, with its version.
        flips: rows, those that the candidate lost first.
        of: how many rows flipped in all, of ``rows`` that were looked at.
    """

    candidate: str
    baseline: str
    by: str
    flips: tuple[Flip, ...]
    of: int
    rows: int

    @property
    def told(self) -> str:
        """What the numbers are, and what they cannot tell."""
        return f"By {self.by}. {CANNOT_TELL}"


def read_explanation(path: Path, digests: Collection[str]) -> Explanation | None:
    """What was explained of one of these models; None where nothing was, or it was of another candidate."""
    try:
        found = decode(Explanation, read_json(path), path.name)
    except (OSError, InvalidInput):
        return None
    return found if found.candidate in digests else None


def not_explained(measurements: Iterable[Measurement], variant: str | None) -> list[str]:
    """How to learn what the answers hang on that a variant lost; nothing where it lost none."""
    lost = [
        m.successes
        for m in measurements
        if m.name == "negative_flips" and m.variant == variant and not m.where
    ]
    return [
        f"{rows} row{'s' if rows > 1 else ''} that the baseline has right {'are' if rows > 1 else 'is'} wrong now. What the answers hang "
        "on is told by `gradatim explain`, which needs the extra `explain` (SHAP)."
        for rows in lost
        if rows
    ]
