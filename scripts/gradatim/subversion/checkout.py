"""What kind of checkout a folder lies in: git's own, one that git-svn made, or a working copy of Subversion.

The one door to this room. Whoever opens a checkout here gets a ``Repository`` and need not know which kind it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from gradatim.registry.git import Repository


def open(path: Path) -> Repository:  # noqa: A001 (called as `checkout.open`)
    """The repository that holds a path; a working copy of Subversion with the one that stands for it.

    Raises:
        EnvironmentLacks: git or svn is not installed, the path lies in no repository, or in no trunk, branch or tag
            of Subversion; or git does not trust its owner.
    """
    place = path if path.is_dir() else path.parent
    if _is_working_copy(place):
        from gradatim.subversion.working_copy import WorkingCopy

        return WorkingCopy.around(place)
    found = Repository.find(place)
    if _is_git_svn(found.git_dir):
        from gradatim.subversion.git_svn import GitSvn

        return GitSvn(found.root, found.git_dir, shallow=found.shallow)
    return found


def _is_working_copy(place: Path) -> bool:
    """Whether a working copy of Subversion is nearer than any git repository."""
    if "GIT_DIR" in os.environ:
        return False
    for folder in (place.absolute(), *place.absolute().parents):
        if (folder / ".git").exists():
            return False
        if (folder / ".svn").is_dir():
            return True
    return False


def _is_git_svn(git_dir: Path) -> bool:
    """Whether git-svn made the repository."""
    if not (git_dir / "svn").is_dir():
        return False
    return "[svn-remote " in (git_dir / "config").read_text(encoding="utf-8", errors="replace")
