"""Was the model trained on the data that it is judged on?"""

from __future__ import annotations

from pathlib import PurePosixPath

from gradatim.lineage.record import Lineage


def leaks(lineage: Lineage, *, sha256: str, path: str) -> list[tuple[str, str]]:
    """The data sets of training or validation that are the evaluation data: by their bytes, or by where they lie.

    Args:
        lineage: what training recorded.
        sha256: hex digest of the evaluation data's bytes.
        path: where the evaluation data lies, relative to the project.

    Returns:
        name and ``training`` or ``validation`` of each.
    """
    return [
        (name, used.use)
        for name, used in lineage.data.items()
        if used.use != "evaluation" and (used.sha256 == sha256 or _same_place(used.path, path))
    ]


def _same_place(one: str | None, other: str) -> bool:
    return one is not None and PurePosixPath(one) == PurePosixPath(other)
