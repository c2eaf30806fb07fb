"""Travis CI: build stages, whose `.travis.yml` this kit renders.

Variables: https://docs.travis-ci.com/user/environment-variables/#default-environment-variables
"""

from __future__ import annotations

import secrets
import sys

from gradatim.ci.job import LoggedJob
from gradatim.ci.platform import Place


class Travis(LoggedJob):
    """A job of Travis CI. In a pull request `TRAVIS_BRANCH` is the branch that it would merge into."""

    name = "travis"

    def place(self) -> Place:
        env = self._environment
        pull = env.get("TRAVIS_PULL_REQUEST", "false") not in ("", "false")
        tag = env.get("TRAVIS_TAG") or None
        branch = env.get("TRAVIS_BRANCH") or None
        return Place(
            branch=env.get("TRAVIS_PULL_REQUEST_BRANCH") if pull else None if tag else branch,
            tag=tag,
            target=branch if pull else None,
            fork=pull and env.get("TRAVIS_PULL_REQUEST_SLUG") != env.get("TRAVIS_REPO_SLUG"),
            url=env.get("TRAVIS_JOB_WEB_URL"),
        )

    def show(self, title: str, text: str) -> None:
        """The marks by which Travis folds a part of its log; a name of its own lets nothing inside close it."""
        name = f"gradatim_{secrets.token_hex(8)}"
        began = f"travis_fold:start:{name}\r\x1b[0K{self.harmless(title)}"
        sys.stderr.write(f"{began}\n{self.harmless(text).rstrip()}\ntravis_fold:end:{name}\r\x1b[0K\n")

    def harmless(self, text: str) -> str:
        return text.replace("travis_fold:", "travis-fold:").replace("travis_time:", "travis-time:")
