"""A copy of the package that a newcomer adds to: one file, and one row in a table. Nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]


@dataclass(frozen=True)
class Package:
    """The kit in a folder of its own.

    Attributes:
        top: what a checkout's top is: ``scripts`` and ``templates`` lie in it.
    """

    top: Path

    @classmethod
    def copied_to(cls, top: Path) -> Package:
        for name in ("scripts", "templates"):
            shutil.copytree(TOP / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
        return cls(top)

    def file(self, name: str, text: str) -> None:
        """Add the one file, at a path below the package."""
        path = self.top / "scripts" / "gradatim" / name
        assert not path.exists()
        path.write_text(text, encoding="utf-8")

    def row(self, name: str, after: str, row: str) -> None:
        """Add the one row, below a line that stands once in a file of the package."""
        path = self.top / "scripts" / "gradatim" / name
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines.count(after) == 1, f"{name} does not hold this line once: {after}"
        lines.insert(lines.index(after) + 1, row)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def run(self, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """``gradatim`` of this copy, in a project's folder."""
        return subprocess.run(
            [sys.executable, "-m", "gradatim", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(self.top / "scripts"), **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, folder: Path, *arguments: str, **variables: str) -> dict[str, Any]:
        """What a command says with ``--json``; it must end well."""
        done = self.run(folder, *arguments, "--json", **variables)
        assert done.returncode == 0, done.stderr + done.stdout
        found: dict[str, Any] = json.loads(done.stdout)
        return found
