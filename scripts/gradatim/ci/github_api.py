"""GitHub's REST API, as far as the kit needs it: JSON in, JSON out, refusals in words.

https://docs.github.com/en/rest
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gradatim.errors import ANSWER_SECONDS, EnvironmentLacks, UsageError

_VERSION = "2022-11-28"
_PAGE = 100


@dataclass(frozen=True)
class Call:
    """One call, as data: it can be shown, checked and made.

    Attributes:
        method: ``PUT``, ``POST``, ...
        path: below the API's root: ``/repos/acme/digits/rulesets``.
        body: the JSON body; None without one.
        purpose: what it is for, in a line.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    purpose: str = ""


class GitHubApi:
    """One repository, seen through the REST API.

    Attributes:
        repository: ``owner/name``.
    """

    def __init__(self, repository: str, token: str, root: str = "https://api.github.com") -> None:
        owner, slash, name = repository.partition("/")
        if not (slash and owner and name) or "/" in name:
            raise UsageError(f"A repository on GitHub is named OWNER/NAME, not {repository!r}.")
        if not root.startswith(("https://", "http://")):
            raise UsageError(f"The API's address must begin with https://, got {root!r}.")
        self.repository = repository
        self._token = token
        self._root = root.rstrip("/")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], repository: str | None = None) -> GitHubApi:
        """The API with the token and the address that the environment names.

        Raises:
            EnvironmentLacks: it names no token or no repository.
        """
        names = ("GH_TOKEN", "GITHUB_TOKEN")
        token = next((environment[name] for name in names if environment.get(name)), None)
        if token is None:
            raise EnvironmentLacks(
                "GitHub asks for a token and there is none. Set GH_TOKEN, for example: GH_TOKEN=$(gh auth token)"
            )
        found = repository or environment.get("GITHUB_REPOSITORY")
        if not found:
            raise EnvironmentLacks("Which repository on GitHub is meant? Set GITHUB_REPOSITORY=OWNER/NAME.")
        return cls(found, token, environment.get("GITHUB_API_URL") or "https://api.github.com")

    def make(self, call: Call) -> Any:
        """Make a call and return its answer, None where there is none.

        Raises:
            EnvironmentLacks: GitHub refuses or does not answer; with GitHub's own words.
        """
        data = None if call.body is None else json.dumps(call.body).encode()
        request = urllib.request.Request(  # noqa: S310 (the scheme was checked)
            f"{self._root}{call.path}",
            data=data,
            method=call.method,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "User-Agent": "gradatim",
                "X-GitHub-Api-Version": _VERSION,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 (the scheme was checked)
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(call, error.code, _words(error)) from error
        except (urllib.error.URLError, TimeoutError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise EnvironmentLacks(
                f"GitHub does not answer at {self._root}: {reason}. Try again later."
            ) from error
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise EnvironmentLacks(f"GitHub's answer to {call.method} {call.path} is no JSON.") from error

    def get(self, path: str) -> Any:
        """The answer to a GET, None where there is nothing of the kind."""
        try:
            return self.make(Call("GET", path))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def pages(self, path: str) -> Iterator[Any]:
        """Every entry of a list, page after page."""
        sign = "&" if "?" in path else "?"
        number = 1
        while True:
            found = self.get(f"{path}{sign}per_page={_PAGE}&page={number}") or []
            yield from found
            if len(found) < _PAGE:
                return
            number += 1

    def below(self, *parts: str | int) -> str:
        """A path below the repository's own, each part quoted."""
        quoted = [urllib.parse.quote(str(part), safe="") for part in parts]
        return "/".join(["/repos", *self.repository.split("/"), *quoted])


class Unseen(GitHubApi):
    """A repository that nobody here may look at: nothing of it is known, so that a plan holds all that would be set."""

    def __init__(self, repository: str) -> None:
        super().__init__(repository, "")

    def get(self, path: str) -> Any:
        return None


class Refused(EnvironmentLacks):
    """GitHub said no.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, call: Call, status: int, words: str) -> None:
        self.status = status
        hint = " The token lacks a permission for it." if status in (401, 403) else ""
        super().__init__(f"GitHub refused {call.method} {call.path} ({status}): {words}.{hint}")


def _words(error: urllib.error.HTTPError) -> str:
    try:
        said = json.loads(error.read())
    except (ValueError, OSError):
        return str(error.reason)
    if not isinstance(said, dict):
        return str(error.reason)
    more = "; ".join(
        str(item.get("message", item) if isinstance(item, dict) else item)
        for item in said.get("errors") or ()
    )
    return ": ".join(part for part in (str(said.get("message", error.reason)), more) if part)
