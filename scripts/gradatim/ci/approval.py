"""Who let a release through: the one who started the run, and those who approved it, as the platform tells.

The platform enforces who may; this only asks it, so that the answer can be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Approval:
    """What is known about who let a release through.

    Attributes:
        by: who started the run; on a laptop whoever git knows.
        run: the run's page; None on a laptop.
        environment: the deployment environment that guards the stage.
        approvers: who approved the run for this environment, sorted; None where the platform does not tell.
        unknown: why it does not.
        tells: whether the platform would tell, were it asked with the right to know.
    """

    by: str
    run: str | None
    environment: str
    approvers: tuple[str, ...] | None
    unknown: str = ""
    tells: bool = False

    @property
    def text(self) -> str | None:
        """``approved by bob and carol in production``; None when nobody is known to have approved."""
        if not self.approvers:
            return None
        *others, last = self.approvers
        names = f"{', '.join(others)} and {last}" if others else last
        return f"approved by {names} in {self.environment}"

    @property
    def told(self) -> dict[str, str]:
        """For the message of the tag that gives the stage, which `status` and `history` read."""
        return {"by": self.by, "run": self.run or "", "approval": self.text or ""}

    def to_json(self) -> dict[str, Any]:
        """For evidence, which the tags' messages and the history quote."""
        return {
            "by": self.by,
            "run": self.run,
            "environment": self.environment,
            "approvers": None if self.approvers is None else list(self.approvers),
            "approval": self.text,
        }
