"""Where the model's time goes, for every report: its dearest operators, where somebody asked for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.errors import BrokenEvidence
from gradatim.evidence.codec import decode
from gradatim.evidence.profile import DearOperator, Profile
from gradatim.files import read_json
from gradatim.report import numbers

if TYPE_CHECKING:
    from gradatim.candidate.workspace import Workspace
    from gradatim.evidence.statement import Statement

HEAD = ("operator", "calls", "time", "share")
ALIGNMENT = "lrrr"


def profile_from(workspace: Workspace, timed: Statement | None, variant: str | None) -> Profile | None:
    """What the profiler saw of the form that is released; None where nobody asked, or another model was seen."""
    path = workspace.profile(variant or "")
    if timed is None or not path.exists():
        return None
    try:
        found = decode(Profile, read_json(path), "it", newer=True)
    except BrokenEvidence as error:
        raise BrokenEvidence(
            f"{path} is not what the profiler left: {error} Run: gradatim benchmark --profile"
        ) from error
    return found if found.digest == timed.subjects.get(found.name) else None


def told(found: Profile) -> str:
    """What the table shows, in a sentence."""
    all_of_it = " and ".join(filter(None, (found.trace, found.beside)))
    return f"Of one call, each operator's own time on {found.device}, as {found.by}'s profiler saw it; all of it: {all_of_it}."


def cells(row: DearOperator) -> list[str]:
    """A row below ``HEAD``."""
    return [
        row.name,
        f"{row.calls:.3g}",
        numbers.seconds(row.seconds),
        f"{100 * row.share:.1f}{numbers.SPACE}%",
    ]
