"""Where am I, and how do I speak here? Only this package knows the name of a CI system."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

from gradatim.ci.laptop import Laptop
from gradatim.ci.platform import Place, Platform

__all__ = ["PLATFORMS", "Place", "Platform", "detect"]

PLATFORMS = {
    "GITHUB_ACTIONS": "gradatim.ci.github:GitHub",
    "GITLAB_CI": "gradatim.ci.gitlab:GitLab",
    "CIRCLECI": "gradatim.ci.circleci:CircleCI",
    "TRAVIS": "gradatim.ci.travis:Travis",
    "JENKINS_URL": "gradatim.ci.jenkins:Jenkins",
}
"""The variable that a CI system sets in each of its jobs, and the class that speaks to it."""


def detect(environment: Mapping[str, str] | None = None) -> Platform:
    """The CI system that this process runs in; a laptop where none says so."""
    env = os.environ if environment is None else environment
    for variable, reference in PLATFORMS.items():
        if env.get(variable, "false") not in ("", "false"):
            module, _, name = reference.partition(":")
            found: Platform = getattr(importlib.import_module(module), name)(env)
            return found
    return Laptop()
