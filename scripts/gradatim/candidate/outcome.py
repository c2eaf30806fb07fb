"""What a step found, and the evidence that is made of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim import __version__
from gradatim.candidate.candidate import Candidate
from gradatim.candidate.environment import environment
from gradatim.evidence.found import Found
from gradatim.evidence.statement import Statement
from gradatim.gates.verdict import GateResult, Verdict

if TYPE_CHECKING:
    from gradatim.measurement import Measurement

KIT = __version__
"""The version of the kit, as evidence names it."""


@dataclass(frozen=True)
class Outcome:
    """What a step found, before it becomes evidence.

    Attributes:
        summary: one line for a person.
        subjects: hex manifest digest by variant: whose evidence this is.
        verdict: what was decided.
        measurements: what was measured.
        gates: what the gates said.
        found: what later steps and the report read; None where there was nothing to look for.
        outputs: files left in the workspace.
        elsewhere: what the record of the environment adds of other machines that did part of the work.
    """

    summary: str
    subjects: Mapping[str, str]
    verdict: Verdict = Verdict.PASS
    measurements: tuple[Measurement, ...] = ()
    gates: tuple[GateResult, ...] = ()
    found: Found | None = None
    outputs: tuple[Path, ...] = ()
    elsewhere: Mapping[str, Any] = field(default_factory=dict)

    def statement(
        self, candidate: Candidate, step: str, inputs: Mapping[str, str], seconds: float
    ) -> Statement:
        """The evidence of a step that found this."""
        details = {
            **(self.found.to_json() if self.found else {}),
            "summary": self.summary,
            "outputs": candidate.workspace.digests(self.outputs),
            "seconds": round(seconds, 3),
            "made": _now(),
        }
        surroundings = environment(
            candidate.platform.name, candidate.place_if_any(), *candidate.commit_if_any()
        )
        return Statement(
            step,
            dict(self.subjects),
            self.verdict,
            KIT,
            dict(inputs),
            self.measurements,
            self.gates,
            {**surroundings, **self.elsewhere},
            details,
        )


def _now() -> str:
    """The time, UTC; ``SOURCE_DATE_EPOCH`` sets the clock."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
