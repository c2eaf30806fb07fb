"""A job of a CI system that keeps its log, and takes values for later jobs from a file of `NAME=value` lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from gradatim.ci.approval import Approval
from gradatim.ci.platform import Place
from gradatim.files import write_text

OUTPUTS = Path(".gradatim") / "outputs.env"
"""Where the values lie that later jobs read, from the folder that was checked out."""


class LoggedJob:
    """What most CI systems have in common; each says in a class of its own what is different."""

    name = "job"
    remote: str | None = "origin"

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def place(self) -> Place | None:
        return None

    def approval(self, by: str, environment: str) -> Approval:
        place = self.place()
        unknown = f"{self.name} does not tell this job who approved it"
        return Approval(by, place.url if place else None, environment, None, unknown)

    def summarise(self, markdown: str) -> None:
        """There is no page for a summary: report and test results travel as artifacts."""

    def output(self, values: Mapping[str, str]) -> None:
        path = self.folder() / OUTPUTS
        there = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        said = dict(line.split("=", 1) for line in there if "=" in line)
        said |= {key.upper().replace("-", "_"): " ".join(value.split()) for key, value in values.items()}
        write_text(path, "".join(f"{key}={value}\n" for key, value in said.items()))

    def refuse(self, message: str, *, file: str, line: int | None, title: str) -> None:
        """The log says it; no line can be marked."""

    def show(self, title: str, text: str) -> None:
        sys.stderr.write(f"{self.harmless(title)}\n{self.harmless(text).rstrip()}\n")

    def harmless(self, text: str) -> str:
        return text

    def folder(self) -> Path:
        """What was checked out."""
        return Path()
