"""One step: skipped when its evidence is already there, else run, its evidence written."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from gradatim import __version__
from gradatim.candidate.candidate import Candidate, Outcome
from gradatim.candidate.sharding import begin, left, name_of, save, statement_of
from gradatim.errors import BrokenEvidence, GradatimError
from gradatim.evidence.statement import Statement
from gradatim.files import sha256_bytes
from gradatim.gates.verdict import Verdict
from gradatim.pipeline.graph import STEPS
from gradatim.shard import Shard

EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 1, Verdict.INVALID: 3}


class StepModule(Protocol):
    """What every file in ``steps/`` offers.

    ``still_holds(release, statement)`` may ask more of evidence to be skipped on; a step whose rows may be shared out
    has ``run_shard(release, shard)`` besides.
    """

    def depends_on(self, candidate: Candidate) -> Mapping[str, str]:
        """Hex digest by name of everything that the step's result rests on."""
        ...

    def run(self, candidate: Candidate) -> Outcome:
        """Do the work."""
        ...


class SharedStep(StepModule, Protocol):
    """A step whose rows several jobs may share."""

    def run_shard(self, candidate: Candidate, shard: Shard) -> Outcome:
        """Do one part of the rows."""
        ...


@dataclass(frozen=True)
class StepRun:
    """A step that came to a verdict.

    Attributes:
        statement: its evidence.
        skipped: whether the evidence was already there.
        seconds: wall time of this call.
    """

    statement: Statement
    skipped: bool
    seconds: float

    @property
    def code(self) -> int:
        """The exit code of its command."""
        return EXIT_CODES[self.statement.verdict]

    @property
    def summary(self) -> str:
        return str(self.statement.details.get("summary", ""))

    def to_json(self, contract_name: str) -> dict[str, Any]:
        """What ``--json`` prints."""
        refusals = [
            {**gate.to_json(), "place": f"{contract_name}:{gate.line}" if gate.line else None}
            for gate in self.statement.gates
            if gate.refuses
        ]
        outputs = self.statement.details.get("ci", {})
        return {
            "step": self.statement.step,
            "verdict": self.statement.verdict.value,
            "skipped": self.skipped,
            "summary": self.summary,
            "seconds": round(self.seconds, 3),
            "refusals": refusals,
            "gates": [gate.verdict.value for gate in self.statement.gates],
            **outputs,
        }


def step_module(name: str) -> StepModule:
    """The file in ``steps/`` of this name; imported by name, so that no step is loaded that does not run."""
    return cast("StepModule", importlib.import_module(f"gradatim.steps.{name}"))


def standing_evidence(name: str, candidate: Candidate, *, needed: bool = False) -> Statement | None:
    """The evidence of a step if it still holds: made from the same inputs by this kit, its outputs untouched.

    It holds only as long as the evidence of every step that it needs does.

    Args:
        needed: whether a later step reads it. What was measured on another machine, as in another CI job, is then as
            good; the step itself would measure again here.
    """
    if any(standing_evidence(need, candidate, needed=True) is None for need in STEPS[name].needs):
        return None
    key = ("standing", name, "needed" if needed else "own")
    return candidate.remembered(key, lambda: _standing(name, candidate, needed=needed))


def _standing(name: str, candidate: Candidate, *, needed: bool) -> Statement | None:
    try:
        inputs = _inputs(name, candidate)
    except GradatimError:
        if needed:  # what a later step reads cannot be proven here; a pushed tag is published without it
            return None
        raise
    try:
        statement = candidate.workspace.statement(name)
    except GradatimError:
        return None
    if statement is None:
        return None
    if needed and "machine" in inputs:
        inputs["machine"] = statement.inputs.get("machine", "")
    if dict(statement.inputs) != inputs:
        return None
    still_holds = getattr(step_module(name), "still_holds", None)
    if still_holds is not None and not still_holds(candidate, statement):
        return None
    return statement if candidate.workspace.untouched(statement.details.get("outputs", {})) else None


def run_step(name: str, candidate: Candidate, *, force: bool = False) -> StepRun:
    """Run a step, or find that its evidence is already there.

    Raises:
        GradatimError: it came to no verdict; no evidence is left then.
    """
    began = time.monotonic()
    candidate.workspace.prepare()
    standing = None if force else standing_evidence(name, candidate)
    if standing is not None:
        return StepRun(standing, skipped=True, seconds=time.monotonic() - began)
    candidate.unproven = tuple(
        need for need in STEPS[name].needs if standing_evidence(need, candidate, needed=True) is None
    )
    if candidate.unproven and STEPS[name].outward and not candidate.place.tag:
        culprit = _first_unproven(candidate.unproven[0], candidate)
        candidate.workspace.statement(culprit)  # broken evidence says itself what is wrong with it
        raise BrokenEvidence(
            f"The evidence of `{culprit}` is missing, or something it rests on has changed since. "
            f"Run: gradatim run --until {candidate.unproven[0]}"
        )
    candidate.forget_remembered()
    inputs = _inputs(name, candidate)
    candidate.workspace.forget(name)
    outcome = step_module(name).run(candidate)
    seconds = time.monotonic() - began
    statement = candidate.statement(name, outcome, inputs, seconds)
    candidate.workspace.save(statement)
    return StepRun(statement, skipped=False, seconds=seconds)


def run_shard(name: str, candidate: Candidate, shard: Shard, *, force: bool = False) -> StepRun:
    """Do one part of a step's rows and leave it for the step itself to merge, or find that it is already there.

    Where the contract gives the step no rows to go over, an empty part is left.

    Raises:
        GradatimError: it came to no end; nothing that can be merged is left then.
    """
    began = time.monotonic()
    candidate.workspace.prepare()
    inputs = _inputs(name, candidate)
    standing = None if force else _standing_shard(name, candidate, shard, inputs)
    if standing is not None:
        return StepRun(standing, skipped=True, seconds=time.monotonic() - began)
    candidate.forget_remembered()
    inputs = _inputs(name, candidate)
    if candidate.contract.parts.can_share(name):
        outcome = cast("SharedStep", step_module(name)).run_shard(candidate, shard)
    else:
        outcome = left(candidate, shard, begin(candidate, name, shard), 0, 0, 0)
    seconds = time.monotonic() - began
    statement = candidate.statement(name_of(name, shard), outcome, inputs, seconds)
    save(candidate.workspace, name, shard, statement)
    return StepRun(statement, skipped=False, seconds=seconds)


def _standing_shard(
    name: str, candidate: Candidate, shard: Shard, inputs: Mapping[str, str]
) -> Statement | None:
    try:
        statement = statement_of(candidate.workspace, name, shard)
    except GradatimError:
        return None
    if statement is None or dict(statement.inputs) != dict(inputs):
        return None
    return statement if candidate.workspace.untouched(statement.details.get("outputs", {})) else None


def _first_unproven(name: str, candidate: Candidate) -> str:
    """The step that is the reason why a step's evidence does not hold: itself, or one that it rests on."""
    return next(
        (
            _first_unproven(need, candidate)
            for need in STEPS[name].needs
            if standing_evidence(need, candidate, needed=True) is None
        ),
        name,
    )


def _inputs(name: str, candidate: Candidate) -> dict[str, str]:
    return {**step_module(name).depends_on(candidate), "gradatim": sha256_bytes(__version__.encode())}
