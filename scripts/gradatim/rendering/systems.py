"""The CI systems that files are rendered for: one row each, and one module that has ``render``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradatim.rendering.jobs import Consumer


@dataclass(frozen=True)
class System:
    """A CI system.

    Attributes:
        title: what people call it.
        path: where its file lies, from the top of the repository.
        module: renders it.
    """

    title: str
    path: str
    module: str

    def render(self, project: Consumer, there: str = "") -> str | None:
        """The file for a project.

        Args:
            there: what the file says now; empty where there is none.

        Returns:
            its text; None where what is there is a person's, to be changed by nobody else.
        """
        text: str | None = importlib.import_module(self.module).render(project, there)
        return text


SYSTEMS = {
    "github": System("GitHub", ".github/workflows/release.yml", "gradatim.rendering.workflows"),
    "gitlab": System("GitLab", ".gitlab-ci.yml", "gradatim.rendering.gitlab"),
    "jenkins": System("Jenkins", "Jenkinsfile", "gradatim.rendering.jenkins"),
    "circleci": System("CircleCI", ".circleci/config.yml", "gradatim.rendering.circleci"),
    "travis": System("Travis CI", ".travis.yml", "gradatim.rendering.travis"),
}
"""Every system by the name that ``gradatim render`` takes."""
