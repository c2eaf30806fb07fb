"""GitLab CI: a dotenv report carries outputs; the job log shows the rest."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from gradatim.ci.platform import Place
from gradatim.files import write_text


class GitLab:
    """GitLab CI, or a runner that speaks like it."""

    name = "gitlab"

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def place(self) -> Place:
        env = self._environment
        source = env.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
        return Place(
            branch=env.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or env.get("CI_COMMIT_BRANCH"),
            tag=env.get("CI_COMMIT_TAG"),
            target=env.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
            fork=source is not None and source != env.get("CI_PROJECT_ID"),
            actor=env.get("GITLAB_USER_LOGIN"),
            url=env.get("CI_JOB_URL"),
        )

    def summarise(self, markdown: str) -> None:
        """The report and its JUnit file travel as artifacts; GitLab has no summary page."""

    def output(self, values: Mapping[str, str]) -> None:
        lines = (
            f"{key.upper().replace('-', '_')}={' '.join(value.split())}" for key, value in values.items()
        )
        write_text(
            Path(self._environment.get("CI_PROJECT_DIR", ".")) / ".gradatim" / "outputs.env",
            "\n".join(lines) + "\n",
        )

    def refuse(self, message: str, *, file: str, line: int | None, title: str) -> None:
        """The job log says it; GitLab marks no lines."""

    def show(self, title: str, text: str) -> None:
        """Format: https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections"""
        now, name = int(time.time()), f"gradatim_{secrets.token_hex(8)}"
        began = f"\x1b[0Ksection_start:{now}:{name}[collapsed=true]\r\x1b[0K{self.harmless(title)}"
        ended = f"\x1b[0Ksection_end:{now}:{name}\r\x1b[0K"
        sys.stderr.write(f"{began}\n{self.harmless(text).rstrip()}\n{ended}\n")

    def harmless(self, text: str) -> str:
        return text.replace("section_start:", "section-start:").replace("section_end:", "section-end:")
