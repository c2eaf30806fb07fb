"""Jenkins: a multibranch pipeline, whose `Jenkinsfile` this kit renders.

Variables: https://www.jenkins.io/doc/book/pipeline/multibranch/#additional-environment-variables
"""

from __future__ import annotations

import re
from pathlib import Path

from gradatim.ci.approval import Approval
from gradatim.ci.job import LoggedJob
from gradatim.ci.platform import Place

_NOTE = re.compile(r"\x1b\[8mha:")
"""Where a console note begins, which Jenkins decodes and shows as what it says it is."""


class Jenkins(LoggedJob):
    """A build of Jenkins; the plugin of its branch source says what it is of."""

    name = "jenkins"

    def place(self) -> Place:
        env = self._environment
        tag = env.get("TAG_NAME")
        branch = env.get("CHANGE_BRANCH") or env.get("BRANCH_NAME") or env.get("GIT_BRANCH", "")
        return Place(
            branch=None if tag else branch.removeprefix("origin/") or None,
            tag=tag,
            target=env.get("CHANGE_TARGET"),
            fork=bool(env.get("CHANGE_FORK")),
            actor=env.get("BUILD_USER_ID") or env.get("CHANGE_AUTHOR"),
            url=env.get("BUILD_URL"),
        )

    def approval(self, by: str, environment: str) -> Approval:
        """Who answered the question that the pipeline asks before a stage that wants an approval."""
        said = self._environment.get("GRADATIM_APPROVER", "")
        approvers = tuple(sorted(filter(None, said.split(",")))) or None
        return Approval(
            by, self._environment.get("BUILD_URL"), environment, approvers, "nobody was asked for it"
        )

    def harmless(self, text: str) -> str:
        return _NOTE.sub("\x1b[8m ha:", text)

    def folder(self) -> Path:
        return Path(self._environment.get("WORKSPACE", "."))
