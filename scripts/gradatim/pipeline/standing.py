"""Which evidence of a candidate still holds: made from the same inputs by this kit, its outputs untouched."""

from __future__ import annotations

from gradatim.candidate.candidate import Candidate
from gradatim.errors import GradatimError
from gradatim.evidence.statement import Statement
from gradatim.pipeline.graph import STEPS
from gradatim.pipeline.module import inputs_of, step_module


class Standing:
    """The evidence of a candidate's steps, each asked once.

    Args:
        candidate: whose workspace is looked at.
    """

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._known: dict[tuple[str, bool], Statement | None] = {}

    def evidence(self, name: str, *, needed: bool = False) -> Statement | None:
        """The evidence of a step if it still holds, and that of every step that it needs does.

        Args:
            name: the step.
            needed: whether a later step reads it. What was measured on another machine, as in another CI job, is then
                as good; the step itself would measure again here.
        """
        if self.unproven(name):
            return None
        if (name, needed) not in self._known:
            self._known[name, needed] = self._find(name, needed=needed)
        return self._known[name, needed]

    def unproven(self, name: str) -> tuple[str, ...]:
        """The steps needed by a step whose evidence is missing or does not hold."""
        return tuple(need for need in STEPS[name].needs if self.evidence(need, needed=True) is None)

    def culprit(self, name: str) -> str:
        """The step that is the reason why a step's evidence does not hold: itself, or one that it rests on."""
        unproven = self.unproven(name)
        return self.culprit(unproven[0]) if unproven else name

    def _find(self, name: str, *, needed: bool) -> Statement | None:
        workspace = self._candidate.workspace
        try:
            inputs = inputs_of(name, self._candidate)
        except GradatimError:
            if needed:  # what a later step reads cannot be proven here; a pushed tag is published without it
                return None
            raise
        try:
            statement = workspace.statement(name)
            outputs = statement.outputs if statement else {}
        except GradatimError:
            return None
        if statement is None:
            return None
        if needed and "machine" in inputs:
            inputs["machine"] = statement.inputs.get("machine", "")
        if dict(statement.inputs) != inputs:
            return None
        still_holds = getattr(step_module(name), "still_holds", None)
        if still_holds is not None and not still_holds(self._candidate, statement):
            return None
        return statement if workspace.untouched(outputs) else None
