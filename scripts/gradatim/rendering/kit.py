"""Which kit a rendered file calls: the very one that renders it."""

from __future__ import annotations

from collections.abc import Iterable

from gradatim import __version__

REPOSITORY = "gradatim/gradatim"
"""The repository on GitHub that holds the kit, its actions and its reusable workflows."""

REF = f"v{__version__}"
"""The kit's own version."""


def requirement(extras: Iterable[str], ref: str = REF) -> str:
    """What pip is given: the kit with extras, at a tag or a commit."""
    named = ",".join(extras)
    return f"gradatim{f'[{named}]' if named else ''} @ git+https://github.com/{REPOSITORY}@{ref}"
