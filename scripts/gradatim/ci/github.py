"""GitHub Actions: workflow commands, the step summary and outputs.

Formats: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatim.ci.approval import Approval
from gradatim.ci.platform import Place
from gradatim.errors import EnvironmentLacks

_SUMMARY_LIMIT = 1024 * 1024 - 1024  # GitHub refuses a step summary above 1 MiB

_COMMAND = re.compile(r"(?<!\S)::|##\[")
"""Where the runner may see a command: ``::`` with nothing but space before it on the line, or ``##[`` anywhere."""

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class GitHub:
    """GitHub Actions, or a runner that speaks like it."""

    name = "github"
    remote: str | None = "origin"

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def place(self) -> Place:
        env = self._environment
        event = self.event()
        pull = event.get("pull_request") or {}
        queued = str((event.get("merge_group") or {}).get("base_ref") or "")
        head = (pull.get("head") or {}).get("repo") or {}
        base = (pull.get("base") or {}).get("repo") or {}
        is_tag = env.get("GITHUB_REF_TYPE") == "tag"
        return Place(
            branch=env.get("GITHUB_HEAD_REF") or (None if is_tag else env.get("GITHUB_REF_NAME")),
            tag=env.get("GITHUB_REF_NAME") if is_tag else None,
            target=env.get("GITHUB_BASE_REF") or queued.removeprefix("refs/heads/") or None,
            fork=bool(pull) and (head.get("full_name") != base.get("full_name") or self.dependabot),
            bare=bool(pull or queued),
            actor=env.get("GITHUB_ACTOR"),
            url=self._run_url(),
        )

    def approval(self, by: str, environment: str) -> Approval:
        """https://docs.github.com/en/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run"""
        from gradatim.ci.github_api import GitHubApi

        env, run = self._environment, self._run_url()
        try:
            api = GitHubApi.from_environment(env)
            reviews = api.get(api.below("actions", "runs", env.get("GITHUB_RUN_ID", ""), "approvals"))
        except EnvironmentLacks as error:
            why = f"{error} The job needs `permissions: actions: read`."
            return Approval(by, run, environment, None, why, tells=True)
        if not isinstance(reviews, list):
            return Approval(by, run, environment, None, "GitHub knows no such run.", tells=True)
        names = {
            str((review.get("user") or {}).get("login"))
            for review in reviews
            if review.get("state") == "approved"
            and environment in (entry.get("name") for entry in review.get("environments") or ())
        }
        return Approval(by, run, environment, tuple(sorted(names)), tells=True)

    def unguarded(self, environment: str) -> str | None:
        """Why an environment holds nobody's code back until a reviewer approves; None where it does."""
        from gradatim.ci.github_api import GitHubApi
        from gradatim.ci.github_settings import reviewers_in

        try:
            api = GitHubApi.from_environment(self._environment)
            found = api.get(api.below("environments", environment))
        except EnvironmentLacks as error:
            return f"Whether the environment {environment} has reviewers cannot be told: {error} The job `plan` needs `actions: read`."
        if found is None:
            return f"There is no environment {environment}."
        return None if reviewers_in(found) else f"The environment {environment} has no required reviewers."

    @property
    def dependabot(self) -> bool:
        """Whether Dependabot started the run: GitHub treats it like a fork's, with a token that reads and no secrets."""
        return self._environment.get("GITHUB_ACTOR") == "dependabot[bot]"

    @property
    def event_name(self) -> str:
        """What started the run: ``push``, ``pull_request``, ..."""
        return self._environment.get("GITHUB_EVENT_NAME", "")

    def summarise(self, markdown: str) -> None:
        path = self._environment.get("GITHUB_STEP_SUMMARY")
        if path:
            data = markdown.encode()
            if len(data) > _SUMMARY_LIMIT:
                cut = data[:_SUMMARY_LIMIT].decode(errors="ignore")
                data = (cut + "\n\n*Cut here: the whole report is in the artifact.*\n").encode()
            with Path(path).open("ab") as file:
                file.write(data)

    def output(self, values: Mapping[str, str]) -> None:
        path = self._environment.get("GITHUB_OUTPUT")
        if path:
            with Path(path).open("a", encoding="utf-8") as file:
                for key, value in values.items():
                    end = f"end-{secrets.token_hex(16)}"  # random, so that no value can end itself early
                    file.write(f"{key}<<{end}\n{value}\n{end}\n")

    def refuse(self, message: str, *, file: str, line: int | None, title: str) -> None:
        place = f"file={_property(file)},line={line or 1}," if file else ""
        sys.stderr.write(f"::error {place}title={_property(title)}::{_data(message)}\n")

    def show(self, title: str, text: str) -> None:
        end = f"end-{secrets.token_hex(16)}"  # until this is said again, the runner obeys nothing
        sys.stderr.write(
            f"::group::{_data(title)}\n::stop-commands::{end}\n{text.rstrip()}\n::{end}::\n::endgroup::\n"
        )

    def harmless(self, text: str) -> str:
        plain = _STYLE.sub("", text)  # colours are not shown, and must not hide that a line begins
        return _COMMAND.sub(lambda found: f"{found[0][0]}\u200b{found[0][1:]}", plain)

    def event(self) -> dict[str, Any]:
        """The event's payload; empty where there is none."""
        path = self._environment.get("GITHUB_EVENT_PATH")
        if not path or not Path(path).is_file():
            return {}
        event = json.loads(Path(path).read_text(encoding="utf-8"))
        return event if isinstance(event, dict) else {}

    def _run_url(self) -> str | None:
        env = self._environment
        if not env.get("GITHUB_RUN_ID"):
            return None
        server = env.get("GITHUB_SERVER_URL", "https://github.com")
        return f"{server}/{env.get('GITHUB_REPOSITORY', '')}/actions/runs/{env['GITHUB_RUN_ID']}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
