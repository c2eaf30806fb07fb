"""One step: skipped when its evidence is already there, else run, its evidence written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.sharding import begin, left, name_of, save, statement_of
from gradatim.errors import BrokenEvidence, GradatimError
from gradatim.evidence.codec import encode
from gradatim.evidence.found import outputs_for_ci
from gradatim.evidence.statement import Statement
from gradatim.gates.verdict import Verdict
from gradatim.pipeline.cores import merged, share_out
from gradatim.pipeline.graph import STEPS
from gradatim.pipeline.module import SharedStep, inputs_of, step_module
from gradatim.pipeline.standing import Standing
from gradatim.progress import about
from gradatim.shard import Shard

EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 1, Verdict.INVALID: 3}


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
        return self.statement.summary

    @property
    def outputs(self) -> Mapping[str, str]:
        """What the CI system is told, by the names of its outputs."""
        return outputs_for_ci(self.statement)

    def to_json(self, contract_name: str) -> dict[str, Any]:
        """What ``--json`` prints."""
        refusals = [
            {**encode(gate), "place": f"{contract_name}:{gate.line}" if gate.line else None}
            for gate in self.statement.gates
            if gate.refuses
        ]
        return {
            "step": self.statement.step,
            "verdict": self.statement.verdict.value,
            "skipped": self.skipped,
            "summary": self.summary,
            "seconds": round(self.seconds, 3),
            "refusals": refusals,
            "gates": [gate.verdict.value for gate in self.statement.gates],
            **self.outputs,
        }


def run_step(name: str, candidate: Candidate, *, force: bool = False) -> StepRun:
    """Run a step, or find that its evidence is already there.

    Raises:
        GradatimError: it came to no verdict; no evidence is left then.
    """
    began = time.monotonic()
    candidate = candidate.anew(same_registry=True, step=name)
    candidate.workspace.prepare()
    known = Standing(candidate)
    standing = None if force else known.evidence(name)
    if standing is not None:
        return StepRun(standing, skipped=True, seconds=time.monotonic() - began)
    candidate.unproven = {need: known.culprit(need) for need in known.unproven(name)}
    if STEPS[name].outward and not candidate.place.tag:
        _refuse(name, candidate, known)
    inputs = inputs_of(name, candidate)
    earlier = _earlier(name, candidate)
    candidate.workspace.forget(name)
    if not (STEPS[name].shared and share_out(candidate, name)) and earlier:
        with candidate.progress.task(name, None) as advance:
            advance(0, earlier)
    outcome = step_module(name).run(candidate)
    seconds = time.monotonic() - began
    statement = outcome.statement(candidate, name, inputs, seconds)
    candidate.workspace.save(statement)
    if STEPS[name].shared:
        merged(candidate, name)
    return StepRun(statement, skipped=False, seconds=seconds)


def _earlier(name: str, candidate: Candidate) -> str:
    """How long a step took before, here or for the last release; empty where nobody knows, or the step knows better.

    What is timed beside a release takes six times the rounds of what is timed alone: `benchmark` tells by how long a call takes.
    """
    if STEPS[name].alone:
        return ""
    try:
        statement = candidate.workspace.statement(name)
        last = statement.seconds if statement else None
    except GradatimError:  # broken evidence is made again
        last = None
    if last is not None:
        return f"{about(last)}, as last time"
    released = candidate.versions(1) if STEPS[name].heavy else ()
    for label, _, statements in released:
        seconds = next((s.seconds for s in statements if s.step == name), None)
        if seconds is not None:
            return f"{about(seconds)}, as for {label}"
    return ""


def refuse_unproven(name: str, candidate: Candidate) -> None:
    """Refuse a step that leads outside while something that it needs is not proven.

    Raises:
        BrokenEvidence: evidence is missing, broken or stale; names the command that makes it anew.
    """
    _refuse(name, candidate, Standing(candidate))


def _refuse(name: str, candidate: Candidate, known: Standing) -> None:
    if not (unproven := known.unproven(name)):
        return
    culprit = known.culprit(name)
    candidate.workspace.statement(culprit)  # broken evidence says itself what is wrong with it
    raise BrokenEvidence(
        f"The evidence of `{culprit}` is missing, or something it rests on has changed since. "
        f"Run: gradatim run --until {unproven[0]}"
    )


def run_shard(name: str, candidate: Candidate, shard: Shard, *, force: bool = False) -> StepRun:
    """Do one part of a step's rows and leave it for the step itself to merge, or find that it is already there.

    Where the contract gives the step no rows to go over, an empty part is left.

    Raises:
        GradatimError: it came to no end; nothing that can be merged is left then.
    """
    began = time.monotonic()
    candidate = candidate.anew(same_registry=True, step=name)
    candidate.workspace.prepare()
    inputs = inputs_of(name, candidate)
    standing = None if force else _standing_shard(name, candidate, shard, inputs)
    if standing is not None:
        return StepRun(standing, skipped=True, seconds=time.monotonic() - began)
    if candidate.contract.parts.can_share(name):
        outcome = cast("SharedStep", step_module(name)).run_shard(candidate, shard)
    else:
        outcome = left(candidate, shard, begin(candidate, name, shard), 0, 0, 0)
    seconds = time.monotonic() - began
    statement = outcome.statement(candidate, name_of(name, shard), inputs, seconds)
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
    return statement if candidate.workspace.untouched(statement.outputs) else None
