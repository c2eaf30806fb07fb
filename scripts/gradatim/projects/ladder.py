"""Which branches of a repository could be the stages of its release ladder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gradatim.errors import GradatimError
from gradatim.subversion import checkout

_NAMES = (
    ("alpha", ("develop", "development", "dev", "alpha", "next", "integration")),
    ("beta", ("staging", "stage", "beta", "preprod", "pre-production", "uat", "qa", "testing")),
    ("canary", ("canary",)),
)
_PRODUCTION = ("main", "master", "production", "prod", "release", "stable", "trunk")
DEFAULT = (("alpha", "develop"), ("beta", "staging"), ("production", "main"))
"""The ladder of a repository that has none yet."""


def branches(root: Path) -> tuple[str, ...]:
    """The branches that exist here or on a remote, the one checked out first; none outside of any repository."""
    try:
        repository = checkout.open(root)
        current = repository.branch()
        listed = repository.branches()
    except GradatimError:
        return ()
    names = [current, *listed] if current else listed
    return tuple(name for name in dict.fromkeys(names) if name and name != "HEAD")


def climb(existing: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(stage, branch) for the branches there are, lowest first; the last one is always production."""
    names = list(existing)
    found = [
        (stage, branch)
        for stage, known in _NAMES
        for branch in [next((name for name in known if name in names), None)]
        if branch
    ]
    production = next((name for name in _PRODUCTION if name in names), None)
    if production is None:
        others = [name for name in names if name not in dict(found).values()]
        production = others[0] if others else "main"
    return (*found, ("production", production))
