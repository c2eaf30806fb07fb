"""No CI system: the terminal has said it all already."""

from __future__ import annotations

from collections.abc import Mapping

from gradatim.ci.approval import Approval
from gradatim.ci.platform import Place


class Laptop:
    """A person's own machine."""

    name = "laptop"
    remote: str | None = None

    def place(self) -> Place | None:
        return None

    def approval(self, by: str, environment: str) -> Approval:
        return Approval(by, None, environment, None, "there is no environment here that could ask for one")

    def summarise(self, markdown: str) -> None:
        """A laptop has no summary page."""

    def output(self, values: Mapping[str, str]) -> None:
        """A laptop has no later jobs."""

    def refuse(self, message: str, *, file: str, line: int | None, title: str) -> None:
        """A laptop has no annotations."""

    def show(self, title: str, text: str) -> None:
        """On a laptop it lies in the workspace."""

    def harmless(self, text: str) -> str:
        return text
