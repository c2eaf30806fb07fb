"""CircleCI: workflows of jobs, whose `.circleci/config.yml` this kit renders.

Variables: https://circleci.com/docs/variables/#built-in-environment-variables
"""

from __future__ import annotations

from gradatim.ci.job import LoggedJob
from gradatim.ci.platform import Place


class CircleCI(LoggedJob):
    """A job of CircleCI. It builds pushes, not pull requests; a fork's branch is called `pull/7` there."""

    name = "circleci"

    def place(self) -> Place:
        env = self._environment
        branch = env.get("CIRCLE_BRANCH") or None
        return Place(
            branch=branch,
            tag=env.get("CIRCLE_TAG") or None,
            fork=bool(env.get("CIRCLE_PR_REPONAME")) or (branch or "").startswith("pull/"),
            actor=env.get("CIRCLE_USERNAME"),
            url=env.get("CIRCLE_BUILD_URL"),
        )
