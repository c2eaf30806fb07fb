"""Where am I, and how do I speak here? Only this package knows the name of a CI system."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gradatim.ci.platform import Place, Platform

__all__ = ["Place", "Platform", "detect"]


def detect(environment: Mapping[str, str] | None = None) -> Platform:
    """The CI system that this process runs in."""
    env = os.environ if environment is None else environment
    if env.get("GITHUB_ACTIONS") == "true":
        from gradatim.ci.github import GitHub

        return GitHub(env)
    if env.get("GITLAB_CI") == "true":
        from gradatim.ci.gitlab import GitLab

        return GitLab(env)
    from gradatim.ci.laptop import Laptop

    return Laptop()
