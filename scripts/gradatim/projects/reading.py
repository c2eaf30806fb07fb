"""One way to read what a model says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradatim.signature import Signature

Label = str | int

_SPELLED_OUT = 40  # longer lists of mere numbers stay out of the contract: the outputs hold them


@dataclass(frozen=True)
class TaskGuess:
    """A task as the contract states it: what goes without saying is empty."""

    type: str
    labels: tuple[Label, ...] = ()
    output: str | None = None
    history: str | None = None
    scorers: tuple[str, ...] = ()


ASKED_FOR_TEXT = TaskGuess("generation", scorers=("contains",))
"""Of a model that takes requests, which is for nothing else."""


def is_asked_for_text(signature: Signature | None) -> bool:
    """Whether a model takes requests."""
    return signature is not None and [spec.name for spec in signature.inputs] == ["request"]


@dataclass(frozen=True)
class Reading:
    """What a model may be for.

    Attributes:
        task: what the contract would state.
        why: what speaks for it, in a few words that follow "since".
        sure: whether nothing speaks for another reading.
        classes: of a classification, how many there are; 0 where that is not known.
        right: of a classification, the share of right answers on the rows looked at; None where none were.
        ordered: whether the order of the labels is known to be that of the scores.
    """

    task: TaskGuess
    why: str
    sure: bool = True
    classes: int = 0
    right: float | None = None
    ordered: bool = True


def spelled(classes: Sequence[Label]) -> tuple[Label, ...]:
    """A list worth writing down: names always, mere numbers from 0 on only while they are few."""
    numbers = list(classes) == list(range(len(classes)))
    return () if numbers and len(classes) > _SPELLED_OUT else tuple(classes)
