"""What a first contract for a repository could say, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradatim.projects import ladder
from gradatim.projects.choosing import Choice
from gradatim.projects.finding import FoundModel
from gradatim.projects.reading import Reading, TaskGuess
from gradatim.projects.thresholds import gates_for, items_in_time


@dataclass(frozen=True)
class Proposal:
    """What a contract could say, and why.

    Attributes:
        root: the folder that the contract will lie in.
        name: of the model, in tags and reports.
        choice: the model to release and the data to evaluate it on.
        reading: what the model does; None when nothing points to it.
        question: what could not be told, with both answers; None when all could.
        builder: a script that may make the model; for a model that git ignores, or none at all.
        ignored: whether git ignores the model's path, so that CI will not have it.
        calibration: path of the calibration data, None when none was found.
        keep: what compression must keep; None where nothing is to be compressed.
        corruptions: robustness tests that suit the inputs.
        pytest: a folder of the user's own model tests, None when there is none.
        stages: (name, branch), lowest first.
        others: further models that were found.
        named: whether tags must bear the model's name, because the repository holds other contracts.
        versioned: whether the folder lies in a repository, without which nothing can be released.
        notes: sentences for the user: what was seen and could not be used, and what to do about it.
    """

    root: Path
    name: str
    choice: Choice = field(default_factory=Choice)
    reading: Reading | None = None
    question: str | None = None
    builder: str | None = None
    ignored: bool = False
    calibration: str | None = None
    keep: dict[str, str] | None = None
    corruptions: tuple[str, ...] = ()
    pytest: str | None = None
    stages: tuple[tuple[str, str], ...] = ladder.DEFAULT
    others: tuple[str, ...] = ()
    named: bool = False
    versioned: bool = True
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> FoundModel | None:
        return self.choice.model

    @property
    def evaluation(self) -> str | None:
        """Path of the evaluation data; None where nothing says what is right in them."""
        return self.choice.evaluation if self.reading else None

    @property
    def task(self) -> TaskGuess | None:
        return self.reading.task if self.reading else None

    @property
    def items(self) -> int | None:
        """How many items are corrupted, where as many as usual would take long."""
        seen, facts = self.choice.seen, self.choice.facts
        most = items_in_time(seen.seconds, len(self.corruptions)) if seen else None
        return most if most is not None and facts is not None and most < facts.rows else None

    @property
    def gates(self) -> dict[str, dict[str, Any]]:
        """Gate -> what it wants, in the contract's words."""
        return gates_for(self.reading, self.choice.facts, self.choice.size) if self.choice.exists else {}
