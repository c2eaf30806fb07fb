"""GitLab CI: a dotenv report carries outputs; the job log shows the rest."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatim.ci.approval import Approval
from gradatim.ci.job import LoggedJob
from gradatim.ci.platform import Place
from gradatim.errors import ANSWER_SECONDS
from gradatim.files import digest_of, read_json, write_json


class GitLab(LoggedJob):
    """GitLab CI, or a runner that speaks like it."""

    name = "gitlab"

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

    def approval(self, by: str, environment: str) -> Approval:
        """https://docs.gitlab.com/api/deployments: the deployment of this very job, and who approved it."""
        import json
        import urllib.error
        import urllib.parse
        import urllib.request

        env = self._environment
        project, job, token = env.get("CI_PROJECT_ID"), env.get("CI_JOB_ID"), env.get("CI_JOB_TOKEN")
        root = env.get("CI_API_V4_URL", "")
        unknown = Approval(
            by,
            env.get("CI_JOB_URL"),
            environment,
            None,
            "GitLab does not tell this job who approved its deployment",
        )
        if not (project and job and token and root.startswith(("https://", "http://"))):
            return unknown

        def get(path: str) -> Any:
            request = urllib.request.Request(  # noqa: S310 (the scheme was checked)
                f"{root}/projects/{project}/deployments{path}", headers={"JOB-TOKEN": token}
            )
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 (the scheme was checked)
                return json.loads(answer.read())

        query = urllib.parse.urlencode({"environment": environment, "order_by": "id", "sort": "desc"})
        try:
            mine = [d for d in get(f"?{query}") if str((d.get("deployable") or {}).get("id")) == job]
            given = get(f"/{mine[0]['id']}").get("approvals") if mine else None
        except (urllib.error.URLError, OSError, ValueError, AttributeError, KeyError, TypeError):
            return unknown
        if given is None:  # a GitLab without deployment approvals does not name them at all
            return unknown
        names = {
            str((entry.get("user") or {}).get("username"))
            for entry in given
            if entry.get("status") == "approved"
        }
        return Approval(by, env.get("CI_JOB_URL"), environment, tuple(sorted(names)))

    def output(self, values: Mapping[str, str]) -> None:
        super().output(values)
        if not self._marks().exists():  # without a report GitLab compares nothing
            write_json(self._marks(), [])

    def refuse(self, message: str, *, file: str, line: int | None, title: str) -> None:
        """Format: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format"""
        if not file:
            return
        mark = {
            "description": f"{title}: {message}",
            "check_name": title,
            "fingerprint": digest_of([title, message, file]).removeprefix("sha256:"),
            "severity": "blocker",
            "location": {"path": file, "lines": {"begin": line or 1}},
        }
        there = read_json(self._marks()) if self._marks().exists() else []
        write_json(self._marks(), [*there, *([mark] if mark not in there else [])])

    def _marks(self) -> Path:
        return self.folder() / ".gradatim" / "codequality.json"

    def show(self, title: str, text: str) -> None:
        """Format: https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections"""
        now, name = int(time.time()), f"gradatim_{secrets.token_hex(8)}"
        began = f"\x1b[0Ksection_start:{now}:{name}[collapsed=true]\r\x1b[0K{self.harmless(title)}"
        ended = f"\x1b[0Ksection_end:{now}:{name}\r\x1b[0K"
        sys.stderr.write(f"{began}\n{self.harmless(text).rstrip()}\n{ended}\n")

    def harmless(self, text: str) -> str:
        return text.replace("section_start:", "section-start:").replace("section_end:", "section-end:")

    def folder(self) -> Path:
        return Path(self._environment.get("CI_PROJECT_DIR", "."))
