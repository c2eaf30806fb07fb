"""What a CI system can be told, and what it tells about the commit it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gradatim.ci.approval import Approval


@dataclass(frozen=True)
class Place:
    """Where a run takes place.

    Attributes:
        branch: the branch under work; None on a detached head or a tag.
        tag: the tag that started the run, if one did.
        target: the branch that a pull request would merge into.
        fork: whether the code comes from a fork, or from a bot that is treated like one, and so must not be trusted with anything.
        bare: whether it gets no runner that the contract names, for its code is not reviewed yet; so it may have no GPU.
        actor: who started the run, to be recorded with promotions and rollbacks.
        url: the run's page.
    """

    branch: str | None = None
    tag: str | None = None
    target: str | None = None
    fork: bool = False
    bare: bool = False
    actor: str | None = None
    url: str | None = None


class Platform(Protocol):
    """One CI system, or a laptop."""

    name: str
    remote: str | None
    """What its checkouts call the remote that they came from; None where people name their remotes themselves."""

    def place(self) -> Place | None:
        """Where this run takes place; None when git itself should be asked."""
        ...

    def approval(self, by: str, environment: str) -> Approval:
        """Who let this run into a deployment environment, as the platform tells.

        Args:
            by: who started the run; on a laptop whom git knows.
            environment: the deployment environment of the stage.
        """
        ...

    def summarise(self, markdown: str) -> None:
        """Show a summary on the run's page."""
        ...

    def output(self, values: Mapping[str, str]) -> None:
        """Hand values to later jobs."""
        ...

    def refuse(self, message: str, *, file: str, line: int | None, title: str) -> None:
        """Mark a line of the contract as the reason for a refusal."""
        ...

    def show(self, title: str, text: str) -> None:
        """Show what a program of the team printed, folded where the page of the run can; nothing in it is obeyed."""
        ...

    def harmless(self, text: str) -> str:
        """Text as it may be printed: nothing in it is taken for a command to the CI system."""
        ...
