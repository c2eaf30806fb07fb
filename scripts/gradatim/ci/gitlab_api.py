"""GitLab's REST API as a job of a pipeline asks it, which has no python-gitlab: one project, one token."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gradatim.errors import ANSWER_SECONDS, EnvironmentLacks


@dataclass(frozen=True)
class GitLabApi:
    """One project, by the address of the API, its number and a token."""

    root: str
    project: str
    token: str = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], variable: str) -> GitLabApi | None:
        """The project of this job; None where no token lies in ``variable``.

        Raises:
            EnvironmentLacks: the address is none.
        """
        root, token = environment.get("CI_API_V4_URL", ""), environment.get(variable)
        if not token:
            return None
        if not root.startswith(("https://", "http://")):
            raise EnvironmentLacks(f"GitLab's address must begin with https://, got {root!r}.")
        return cls(root, environment.get("CI_PROJECT_ID", ""), token)

    def below(self, *parts: object) -> str:
        """A path below the project's own."""
        return "/".join(["/projects", self.project, *map(str, parts)])

    def ask(self, method: str, path: str, said: Mapping[str, Any] | None = None) -> Any:
        """Make a call and return its answer.

        Raises:
            EnvironmentLacks: GitLab refuses or does not answer.
        """
        return self._call(method, path, said)[0]

    def mine(self, path: str, **query: str) -> Iterator[Mapping[str, Any]]:
        """What the token's own user wrote, of a list: anybody could write the same."""
        me = str(self.ask("GET", "/user").get("id"))
        yield from (
            one for one in self.pages(path, **query) if str((one.get("author") or {}).get("id")) == me
        )

    def pages(self, path: str, /, **query: str) -> Iterator[Mapping[str, Any]]:
        """Every entry of a list, page after page: https://docs.gitlab.com/api/rest/#pagination"""
        page = "1"
        while page:
            asked = urllib.parse.urlencode({**query, "per_page": 100, "page": page})
            found, page = self._call("GET", f"{path}?{asked}")
            yield from found

    def _call(self, method: str, path: str, said: Mapping[str, Any] | None = None) -> tuple[Any, str]:
        """The answer, and which page is next; empty for the last."""
        data = None if said is None else json.dumps(said).encode()
        headers = {"PRIVATE-TOKEN": self.token, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.root}{path}", data, headers, method=method)  # noqa: S310 (the scheme was checked)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 (the scheme was checked)
                return json.load(answer), answer.headers.get("X-Next-Page", "")
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise EnvironmentLacks(f"GitLab refused {method} {self.root}{path}: {error}.") from error
