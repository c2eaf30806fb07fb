"""What will surprise somebody who releases from a repository, as a checkup words it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Surprise:
    """One thing that will surprise somebody.

    Attributes:
        trap: its short name.
        where: the file, branch, tag or setting.
        text: what happens, and what to do.
        serious: whether a release would go wrong or unguarded; else it is worth knowing.
    """

    trap: str
    where: str
    text: str
    serious: bool = True
