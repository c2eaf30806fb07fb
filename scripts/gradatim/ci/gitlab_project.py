"""One project on GitLab, seen through python-gitlab, which knows tokens, pages and errors."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from gradatim.ci.github_api import Call
from gradatim.errors import ANSWER_SECONDS, EnvironmentLacks, UsageError, install_command

_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?|ssh)://(?:[^@/]*@)?|[^@/:]+@)(?P<host>[\w.-]+)(?P<port>:\d+)?[:/](?P<path>.+?)(?:\.git)?/?"
)


class GitLabProject:
    """A project; without a client nothing of it is known, so that a plan holds all that would be set.

    Args:
        path: with its groups: ``acme/models/digits``.
        client: of python-gitlab; None where nobody may look.
    """

    def __init__(self, path: str, client: Any = None) -> None:
        self.path = path
        self._client = client

    @classmethod
    def found(cls, environment: Mapping[str, str], url: str | None, path: str | None) -> GitLabProject:
        """The project that a remote leads to, or the one that is named, on the server of either.

        Args:
            environment: ``GITLAB_TOKEN``, and ``CI_SERVER_URL`` for a server of another name than the remote's.
            url: of the git remote.
            path: as somebody named it.

        Raises:
            UsageError: neither says which project is meant.
            EnvironmentLacks: there is a token, and python-gitlab is not installed.
        """
        said = _ADDRESS.fullmatch(url or "")
        where = path or environment.get("CI_PROJECT_PATH") or (said["path"].strip("/") if said else "")
        if "/" not in where:
            raise UsageError("Which project on GitLab is meant? Name it: --repository GROUP/NAME")
        token = environment.get("GITLAB_TOKEN")
        if not token:
            return cls(where)
        try:
            import gitlab
        except ImportError as error:
            raise EnvironmentLacks(
                f"Asking GitLab takes python-gitlab. Install it with: {install_command('gitlab')}"
            ) from error
        scheme = said["scheme"] if said and said["scheme"] in ("http", "https") else "https"
        port = (said["port"] or "") if said and said["scheme"] in ("http", "https") else ""
        server = environment.get("CI_SERVER_URL") or (
            f"{scheme}://{said['host']}{port}" if said else "https://gitlab.com"
        )
        return cls(where, gitlab.Gitlab(server, private_token=token, timeout=ANSWER_SECONDS))

    @property
    def seen(self) -> bool:
        """Whether anything can be asked."""
        return self._client is not None

    def below(self, *parts: str) -> str:
        """A path below the project's own, each part quoted."""
        return "/".join(["/projects", *(urllib.parse.quote(part, safe="") for part in (self.path, *parts))])

    def get(self, path: str) -> Any:
        """The answer to a GET, None where there is nothing of the kind, or nobody to ask.

        Raises:
            EnvironmentLacks: GitLab refuses or does not answer.
        """
        if self._client is None:
            return None
        return self.make(Call("GET", path), missing=(404,))

    def offers(self, path: str) -> bool:
        """Whether the server knows a thing at all: not every GitLab has every one. Unasked, it is taken to."""
        return self._client is None or self.make(Call("GET", path), missing=(403, 404)) is not None

    def number(self, kind: str, name: str) -> int:
        """GitLab's own number of a user or a group; 0 where nobody can be asked.

        Args:
            kind: ``users`` or ``groups``.

        Raises:
            UsageError: there is nobody of that name.
        """
        if self._client is None:
            return 0
        quoted = urllib.parse.quote(name, safe="")
        found = self.get(f"/users?username={quoted}" if kind == "users" else f"/groups/{quoted}")
        one = found[0] if isinstance(found, list) and found else found
        if not one:
            raise UsageError(f"There is no {kind.removesuffix('s')} {name!r} on GitLab.")
        return int(one["id"])

    def make(self, call: Call, missing: tuple[int, ...] = ()) -> Any:
        """Make a call and return its answer.

        Args:
            missing: statuses that mean None.

        Raises:
            EnvironmentLacks: GitLab refuses or does not answer; with GitLab's own words.
        """
        import gitlab
        import requests

        body = {} if call.body is None else {"post_data": dict(call.body)}
        try:
            answer = self._client.http_request(call.method.lower(), call.path, **body)
            return answer.json() if answer.content else {}
        except gitlab.GitlabError as error:
            if error.response_code in missing:
                return None
            raise EnvironmentLacks(
                f"GitLab refuses {call.method} {call.path}: {error.error_message} ({error.response_code}). The token needs the "
                "scope `api` and, to change settings, the role Maintainer."
            ) from error
        except (requests.RequestException, ValueError) as error:
            raise EnvironmentLacks(
                f"GitLab does not answer as it should: {error}. Try again later."
            ) from error
