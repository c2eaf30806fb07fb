"""The file in ``steps/`` behind a step, found by its name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Protocol, cast

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.pipeline.graph import STEPS
from gradatim.shard import Shard


class StepModule(Protocol):
    """What every file in ``steps/`` offers.

    ``still_holds(candidate, statement)`` may ask more of evidence to be skipped on; a step whose rows may be shared out
    has ``answers(candidate)`` and ``run_shard(candidate, shard)`` besides.
    """

    def depends_on(self, candidate: Candidate) -> Mapping[str, str]:
        """Hex digest by name of everything that the step's result rests on."""
        ...

    def run(self, candidate: Candidate) -> Outcome:
        """Do the work."""
        ...


class SharedStep(StepModule, Protocol):
    """A step whose rows several jobs may share."""

    def answers(self, candidate: Candidate) -> int:
        """How many answers to a row it asks models for, in all."""
        ...

    def run_shard(self, candidate: Candidate, shard: Shard) -> Outcome:
        """Do one part of the rows."""
        ...


def step_module(name: str) -> StepModule:
    """The file in ``steps/`` of this name; imported by name, so that no step is loaded that does not run."""
    return cast("StepModule", importlib.import_module(f"gradatim.steps.{name}"))


def inputs_of(name: str, candidate: Candidate) -> dict[str, str]:
    """Hex digest by name of everything that a step's evidence rests on, this kit among it."""
    found = {**step_module(name).depends_on(candidate), "gradatim": candidate.digests.kit}
    device = candidate.digests.device(candidate.device(name)) if STEPS[name].heavy else None
    return {**found, "device": device} if device else found
