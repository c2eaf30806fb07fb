"""Leaves in a wheel and a source archive which commit they were built from, so that `gradatim ci caller` pins that one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NOTE = "scripts/gradatim/commit"


class Commit(BuildHookInterface):
    """Notes the commit in builds of a clean clone whose commit others can fetch; an archive brings its note along."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        commit = self._git("rev-parse", "HEAD")
        if (
            not commit
            or self._git("status", "--porcelain")
            or not self._git("branch", "-r", "--contains", "HEAD")
        ):
            return
        note = Path(self.directory) / "commit"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(commit, encoding="ascii")
        build_data["force_include"][str(note)] = NOTE if self.target_name == "sdist" else "gradatim/commit"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        (Path(self.directory) / "commit").unlink(missing_ok=True)

    def _git(self, *arguments: str) -> str:
        top = Path(self.root)
        if not (top / ".git").exists():
            return ""  # an archive inside of another repository is none of its commits
        done = subprocess.run(["git", "-C", top, *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
